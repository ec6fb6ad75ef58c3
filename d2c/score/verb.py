"""dataset → scores."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from d2c.artifacts import Artifact, Build, Workspace, produce, slugify
from d2c.config import configure, option, recipe_of
from d2c.diffusion.config import ModelConfig
from d2c.errors import D2CError
from d2c.score.scorers import Located, locate
from d2c.score.weighting import WEIGHTINGS


@dataclasses.dataclass(frozen=True)
class ScoreConfig:
    """How difficulty is measured. K = 8: the ranking a budget needs is no finer (see the reliability)."""

    scorer: str = option("digits", "Frozen model: a shipped scorer, a run, or a path to .safetensors")
    evaluations: int = option(8, "Timesteps K at which each image is judged", minimum=1, maximum=1000)
    weighting: str = option("eps", "Quantity whose squared error counts", choices=WEIGHTINGS)
    seed: int = option(0, "Seed of the shared noise", minimum=0, advanced=True)
    reliability_images: int = option(
        64, "Images per class scored twice to measure reliability; 0 = off", unit="images", minimum=0, advanced=True
    )
    batch_size: int = option(0, "Images per forward pass; 0 = auto", minimum=0, identity=False, advanced=True)
    workers: int = option(0, "Threads that decode images; 0 = auto", minimum=0, identity=False, advanced=True)
    device: str = option("auto", "Where to run: auto, cpu, cuda, cuda:1 …", identity=False)
    precision: str = option("auto", "Arithmetic of the forward pass", choices=("auto", "fp32", "bf16"), advanced=True)


def score(
    parent: Artifact | Path | str,
    config: ScoreConfig | None = None,
    *,
    workspace: Workspace | Path | str | None = None,
    name: str | None = None,
    force: bool = False,
    quiet: bool = False,
    **options: Any,
) -> Artifact:
    """Score every image of a data set by a frozen diffusion model's denoising error. Higher = harder.

    `parent` is a data set. Gives kind "scores":
    `scores.parquet`: sample_id int64, label int32, difficulty float32, rows by sample_id;
    `errors.safetensors`: errors float32 [N, K] (row i = row i of the table) in the scorer's own weighting
    (metadata "weighting"), timesteps float32 [K] on its clock, alpha and sigma [K]; and of the second noise
    bank errors_b float32 [n, K], sample_ids_b int64 [n].
    Facts: images, evaluations, banks, weighting, scorer, reliability (mean over classes) and
    reliability_by_class (Spearman between the banks within a class), rank_check, images_per_second.

    An interrupted call goes on after the last complete part. Another weighting of a table that is in the
    workspace already costs no forward pass.
    """
    if isinstance(parent, Artifact) and workspace is None:
        workspace = parent.workspace
    ws = Workspace.at(workspace)
    dataset = ws.resolve(parent, "datasets")
    config = configure(ScoreConfig, config, options)
    scorer = locate(config.scorer, ws)
    check_fit(scorer, dataset)

    from d2c.device import pick, precision

    device = pick(config.device)
    resolved = precision(config.precision, device)

    def write(build: Build) -> None:
        from d2c.score.table import write_scores

        write_scores(build, dataset, scorer, config, device, resolved, None if force else twin)

    parents = [dataset, *([scorer.run] if scorer.run else [])]
    extra = {"scorer": scorer.name, "scorer_digest": scorer.digest, "precision": resolved}
    twin = _same_table(ws, {**recipe_of(config), **extra}, parents)
    return produce(
        ws,
        "scores",
        config,
        write,
        stem=f"{slugify(dataset.name.removesuffix(f'-{dataset.fingerprint[:6]}'))}-k{config.evaluations}",
        name=name,
        parents=parents,
        extra=extra,
        force=force,
        quiet=quiet,
    )


def check_fit(scorer: Located, dataset: Artifact) -> ModelConfig:
    """The scorer's configuration. Raises D2CError when it cannot judge this data set's images."""
    model, names = scorer.config, dataset.json("classes.json")
    if model.num_classes != len(names):
        raise D2CError(
            f"scorer {scorer.name} knows {model.num_classes} classes, datasets/{dataset.name} has {len(names)}: "
            "train a scorer on this data set (d2c train) and give its run"
        )
    if scorer.classes and list(scorer.classes) != list(names):
        label = next(i for i, (a, b) in enumerate(zip(scorer.classes, names, strict=True)) if a != b)
        raise D2CError(
            f"scorer {scorer.name} was trained with {scorer.classes[label]!r} as class {label}, which is "
            f"{names[label]!r} in datasets/{dataset.name}: train a scorer on this data set (d2c train) and give its run"
        )
    if model.autoencoder == "identity" and model.channels not in (1, 3):
        raise D2CError(
            f"scorer {scorer.name} takes {model.channels} channels, images have 1 or 3: "
            "it was trained on latents, so its checkpoint must name the autoencoder"
        )
    return model


def _same_table(ws: Workspace, recipe: dict[str, Any], parents: list[Artifact]) -> Artifact | None:
    """Scores whose errors are those of this recipe, whatever their weighting."""
    wanted = recipe | {"weighting": ""}, [p.fingerprint for p in parents]
    for there in ws.list("scores"):
        if ({**there.recipe, "weighting": ""}, [p["fingerprint"] for p in there.record["parents"]]) == wanted:
            return there
    return None
