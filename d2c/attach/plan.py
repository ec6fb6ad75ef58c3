"""What attaching will do, found out before anything heavy is loaded: images, grid, scorer, bytes. Free of torch."""

from __future__ import annotations

import dataclasses
import platform
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from d2c.artifacts import Artifact, Workspace
from d2c.attach.check import check_recipe
from d2c.attach.names import names_of
from d2c.attach.templates import prompts_of, read_templates
from d2c.attach.text import TextInfo, describe_text
from d2c.attach.vision import VisionInfo, default_grid, describe_vision
from d2c.attach.weights import local_file
from d2c.errors import D2CError, UsageError
from d2c.rates import rate_of
from d2c.score.scorers import Located, locate
from d2c.select.made import holder_of

if TYPE_CHECKING:
    import pandas as pd

    from d2c.attach.verb import AttachConfig

HALF = 2  # bytes of a float16 or bfloat16


@dataclasses.dataclass(frozen=True)
class Plan:
    """The parts, resolved. `grid` is the side of the vision tokens, 0 for none; `sides` are short sides [px].

    `dataset` is what holds the images: the data set, or the subset where its strategy made them.
    """

    subset: Artifact
    dataset: Artifact
    sample_ids: np.ndarray  # [M] int64, in the order of subset.parquet
    sides: np.ndarray  # [M]
    classes: tuple[str, ...]
    text: TextInfo
    vision: VisionInfo
    grid: int
    text_weights: Path | None
    vision_weights: Path | None
    scorer: Located | None
    templates: tuple[str, ...]  # of the prompts
    names: tuple[str, ...]  # of the classes in them
    origin: str  # where the data set came from
    licence: str  # of the images
    scorer_licence: str


def plan_of(subset: Artifact, config: AttachConfig) -> Plan:
    """Resolve a checked configuration on a subset.

    Raises D2CError when the data set, a weights file or the scorer is not there.
    """
    check_recipe(subset)
    dataset = holder_of(subset)
    if dataset is not subset:
        check_recipe(dataset)
    samples = dataset.table("samples.parquet", ["sample_id", "label", "width", "height"]).set_index("sample_id")
    ids = _ids(subset, samples["label"], dataset)
    sizes = samples[["width", "height"]].min(axis=1)
    vision, text = describe_vision(config.vision), describe_text(config.text)
    if vision.dim and config.components > vision.dim:
        raise UsageError(f"{config.components} components of {vision.name}'s {vision.dim} channels: at most that many")
    scorer = find_scorer(subset, config.scorer) if config.vision == "scorer" else None
    if scorer is not None:
        grid = scorer.config.grid
    elif vision.reference:
        grid = config.vision_grid or default_grid(float(sizes.median()))  # of all images: one grid a data set
    else:
        grid = 0
    classes = tuple(str(name) for name in dataset.json("classes.json"))
    origin = str(dataset.facts.get("origin") or "a source that is not recorded")
    origin = Path(origin).name if Path(origin).is_absolute() else origin  # the card goes to other machines
    return Plan(
        subset,
        dataset,
        ids,
        sizes.loc[ids].to_numpy(),
        classes,
        text,
        vision,
        grid,
        local_file(config.text_weights, "--text-weights"),
        local_file(config.vision_weights, "--vision-weights"),
        scorer,
        tuple(read_templates(config.templates) if config.templates else [config.prompt]),
        tuple(names_of(classes)),
        origin,
        str(dataset.facts.get("licence") or f"that of their source ({origin}), not recorded"),
        _scorer_licence(subset),
    )


def _ids(subset: Artifact, label: pd.Series[int], dataset: Artifact) -> np.ndarray:
    """The subset's images, int64 [M]. Raises D2CError for a table that does not belong to the data set."""
    table = subset.table("subset.parquet", ["sample_id", "label"])
    ids = table["sample_id"].to_numpy(np.int64)
    if not len(ids):
        raise D2CError(f"subsets/{subset.name} holds no image: select again")
    whose = f"subset.parquet of subsets/{subset.name} was edited, or belongs to another data set: "
    if len(np.unique(ids)) != len(ids):
        raise D2CError(f"{whose}it names an image twice; copy it again, or select again")
    known = np.isin(ids, label.index.to_numpy())
    if not known.all():
        raise D2CError(f"{whose}datasets/{dataset.name} has no sample {ids[~known][0]}; copy it again, or select again")
    if not np.array_equal(label.loc[ids].to_numpy(), table["label"].to_numpy()):
        raise D2CError(f"{whose}its labels are not those of datasets/{dataset.name}; copy it again, or select again")
    return ids


def _scorer_licence(subset: Artifact) -> str:
    """Licence of the scorer whose difficulty chose the images; "" where it is not known here."""
    try:
        return str(dict(subset.parent("scores").facts.get("scorer") or {}).get("licence") or "")
    except D2CError:
        return ""


def find_scorer(subset: Artifact, reference: str) -> Located:
    """The scorer meant; "auto" is the one that made the subset's scores, checked by its digest.

    Raises D2CError when that one is not here any more, or has become another.
    """
    ws: Workspace = subset.workspace
    if reference != "auto":
        return locate(reference, ws)
    scores = subset.parent("scores")
    name, wanted = str(scores.recipe.get("scorer")), str(scores.recipe.get("scorer_digest"))
    runs = [p for p in scores.record["parents"] if p["kind"] == "runs"]
    run = ws.by_fingerprint("runs", runs[0]["fingerprint"]) if runs else None
    try:
        found = locate(run if run is not None else name, ws)
    except D2CError:
        found = None
    if found is None or found.digest != wanted:
        state = "is not here" if found is None else "is another model now"
        raise D2CError(
            f"scorer {name} ({wanted[:12]}) that made scores/{scores.name} {state}: "
            "give its file or a run with --scorer, or another --vision encoder"
        )
    return found


def estimate(subset: Artifact, config: AttachConfig | None = None, *, rate: float | None = None) -> dict[str, Any]:
    """What attaching would store and how long it would take, before it is done. Free of torch, quick, writes nothing.

    Gives images, classes, grid, prompts (the first three), text and vision {encoder, note, shape [C, L, D] or
    [M, grid², d]}, and bytes {images, text, vision, total, free (on the workspace's disk)}. A size that only the
    weights would tell is None, and so is the total then. `seconds` of encoding images at `rate` [images/s], by
    default the one last measured here (see `d2c.rates`), and on which `device`; None where none was.
    Raises UsageError and D2CError as `attach` does.
    """
    from d2c.attach.verb import AttachConfig, relevant

    config = relevant(config or AttachConfig())
    plan = plan_of(subset, config)
    dim = plan.scorer.config.width if plan.scorer else plan.vision.dim
    sides = 2 if config.flip else 1
    text_bytes, text_shape = _size((len(plan.classes), config.text_tokens, plan.text.dim))
    vision_bytes, vision_shape = _size((len(plan.sample_ids), plan.grid**2, config.components or dim))
    if text_bytes:
        text_bytes += len(plan.classes) * config.text_tokens  # the mask
    if vision_bytes:
        vision_bytes = sides * vision_bytes + 12 * len(plan.sample_ids)  # ids and cosines
        vision_bytes += 4 * (config.components + 1) * (dim or 0) if config.components else 0  # the basis
    encoded = plan.dataset.table("images.parquet", ["sample_id", "length"]).set_index("sample_id")["length"]
    image_bytes = int(encoded.loc[plan.sample_ids].sum())
    parts = {"images": image_bytes, "text": text_bytes, "vision": vision_bytes}
    known = [size for size in parts.values() if size is not None]
    measured = rate_of(subset.workspace, "condensed", rate_key(plan, config)) if rate is None and plan.grid else None
    speed = rate or (measured.images_per_second if measured else None)
    return {
        "images": len(plan.sample_ids),
        "classes": len(plan.classes),
        "grid": plan.grid,
        "prompts": prompts_of(plan.templates[0], plan.names[:3]) if plan.text.dim != 0 else [],
        "templates": len(plan.templates) if plan.text.dim != 0 else 0,
        "text": {
            "encoder": config.text,
            "meaningful": plan.text.meaningful,
            "note": plan.text.note,
            "licence": plan.text.licence,
            "shape": text_shape,
        },
        "vision": {
            "encoder": config.vision,
            "note": plan.vision.note,
            "licence": plan.vision.licence,
            "shape": vision_shape,
            "dim": dim,
            "sides": sides,
        },
        "bytes": {**parts, "total": sum(known) if len(known) == len(parts) else None, "free": free(subset.workspace)},
        "rate": speed,
        "seconds": 0.0 if not plan.grid else sides * len(plan.sample_ids) / speed if speed else None,
        "device": measured.device if measured else "",
    }


def free(ws: Workspace) -> int:
    """Bytes that are free on the workspace's disk."""
    return shutil.disk_usage(next(p for p in (ws.root, *ws.root.parents) if p.exists())).free


def _size(shape: tuple[int, int, int | None]) -> tuple[int | None, list[int] | None]:
    """Bytes and shape of tokens of two bytes a number; 0, None for none at all; None, None while a width is unknown."""
    if shape[2] is None:
        return None, None
    if 0 in shape:
        return 0, None
    return HALF * shape[0] * shape[1] * shape[2], [shape[0], shape[1], shape[2]]


def rate_key(plan: Plan, config: AttachConfig) -> str:
    """What the time of an image depends on: machine, encoder, grid and arithmetic."""
    where = [platform.node(), config.device, config.precision, config.vision, plan.grid, config.preprocess]
    return " ".join(map(str, [*where, plan.scorer.digest[:12] if plan.scorer else ""])).strip()
