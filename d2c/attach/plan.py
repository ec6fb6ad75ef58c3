"""What attaching will do, found out before anything heavy is loaded: images, grid, scorer, bytes. Free of torch."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from d2c.artifacts import Artifact, Workspace
from d2c.attach.text import TextInfo, describe_text
from d2c.attach.vision import VisionInfo, default_grid, describe_vision
from d2c.attach.weights import local_file
from d2c.errors import D2CError
from d2c.score.scorers import Located, locate
from d2c.select.made import holder_of

if TYPE_CHECKING:
    from d2c.attach.verb import AttachConfig

HALF = 2  # bytes of a float16


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


def plan_of(subset: Artifact, config: AttachConfig) -> Plan:
    """Resolve a checked configuration on a subset.

    Raises D2CError when the data set, a weights file or the scorer is not there.
    """
    dataset = holder_of(subset)
    ids = subset.table("subset.parquet", ["sample_id"])["sample_id"].to_numpy(np.int64)
    if not len(ids):
        raise D2CError(f"subsets/{subset.name} holds no image: select again")
    sizes = dataset.table("samples.parquet", ["sample_id", "width", "height"]).set_index("sample_id").min(axis=1)
    vision = describe_vision(config.vision)
    scorer = find_scorer(subset, config.scorer) if config.vision == "scorer" else None
    if scorer is not None:
        grid = scorer.config.grid
    elif vision.reference:
        grid = config.vision_grid or default_grid(float(sizes.median()))  # of all images: one grid a data set
    else:
        grid = 0
    return Plan(
        subset,
        dataset,
        ids,
        sizes.loc[ids].to_numpy(),
        tuple(str(name) for name in dataset.json("classes.json")),
        describe_text(config.text),
        vision,
        grid,
        local_file(config.text_weights, "--text-weights"),
        local_file(config.vision_weights, "--vision-weights"),
        scorer,
    )


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


def estimate(subset: Artifact, config: AttachConfig | None = None) -> dict[str, Any]:
    """What attaching would store, before it is done. Free of torch, and quick enough for a page.

    Gives images, classes, grid, text and vision {encoder, note, shape [C, L, D] or [M, grid², D]}, and bytes
    {images, text, vision, total}. A size that only the weights would tell is None, and so is the total then.
    Raises UsageError and D2CError as `attach` does.
    """
    from d2c.attach.verb import AttachConfig, relevant

    config = relevant(config or AttachConfig())
    plan = plan_of(subset, config)
    width = plan.scorer.config.width if plan.scorer else plan.vision.dim
    text_bytes, text_shape = _size((len(plan.classes), config.text_tokens, plan.text.dim))
    vision_bytes, vision_shape = _size((len(plan.sample_ids), plan.grid**2, width))
    if text_bytes:
        text_bytes += len(plan.classes) * config.text_tokens  # the mask
    encoded = plan.dataset.table("images.parquet", ["sample_id", "length"]).set_index("sample_id")["length"]
    image_bytes = int(encoded.loc[plan.sample_ids].sum())
    parts = {"images": image_bytes, "text": text_bytes, "vision": vision_bytes}
    known = [size for size in parts.values() if size is not None]
    return {
        "images": len(plan.sample_ids),
        "classes": len(plan.classes),
        "grid": plan.grid,
        "text": {
            "encoder": config.text,
            "meaningful": plan.text.meaningful,
            "note": plan.text.note,
            "shape": text_shape,
        },
        "vision": {"encoder": config.vision, "note": plan.vision.note, "shape": vision_shape},
        "bytes": {**parts, "total": sum(known) if len(known) == len(parts) else None},
    }


def _size(shape: tuple[int, int, int | None]) -> tuple[int | None, list[int] | None]:
    """Bytes and shape of fp16 tokens; 0 and None for none at all, None and None while the width is unknown."""
    if shape[2] is None:
        return None, None
    if 0 in shape:
        return 0, None
    return HALF * shape[0] * shape[1] * shape[2], [shape[0], shape[1], shape[2]]
