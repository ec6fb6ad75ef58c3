"""dataset → scores."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from d2c.artifacts import Artifact, Build, Workspace, produce, slugify
from d2c.config import configure, option, recipe_of
from d2c.data.captions import ALL
from d2c.errors import D2CError
from d2c.score.grid import GRIDS
from d2c.score.labels import fit
from d2c.score.scorers import Located, locate
from d2c.score.weighting import WEIGHTINGS
from d2c.team import Team, gather

if TYPE_CHECKING:
    from d2c.diffusion.autoencoders import Autoencoder
    from d2c.score.stream import Job


@dataclasses.dataclass(frozen=True)
class ScoreConfig:
    """How difficulty is measured. K = 8: the ranking a budget needs is no finer (see the reliability)."""

    scorer: str = option(
        "digits", "Frozen model: a shipped scorer, a release, a run, a file, a diffusers folder or hf:"
    )
    evaluations: int = option(8, "Timesteps K at which each image is judged", minimum=1, maximum=1000)
    weighting: str = option(
        "eps", "Quantity whose squared error counts; zscore lets every timestep count alike", choices=WEIGHTINGS
    )
    contrast: bool = option(False, "Score what the class (or caption) explains: s(x, c) − s(x, ∅); twice the cost")
    grid: str = option(
        "pilot", "Timesteps: where a pilot finds images to differ, or uniform", choices=GRIDS, advanced=True
    )
    seed: int = option(0, "Seed of the shared noise", minimum=0, advanced=True)
    reliability_images: int = option(
        64, "Images per class scored twice to measure reliability; 0 = off", unit="images", minimum=0, advanced=True
    )
    weights: str = option("", "A local file in place of a release's download", identity=False, advanced=True)
    path: str = option(
        "", "Convention of a foreign checkpoint: dit, sit or repa", choices=("", "dit", "sit", "repa"), advanced=True
    )
    autoencoder: str = option(
        "", "Autoencoder in place of the one that the scorer names: a folder, a file or a hub's name", advanced=True
    )
    class_map: str = option(
        "", "CSV or JSON that says which of the scorer's classes each class is", identity=False, advanced=True
    )
    batch_size: int = option(0, "Images per forward pass at most; 0 = found", minimum=0, identity=False, advanced=True)
    workers: int = option(
        0, "Processes or threads that decode images; 0 = auto", minimum=0, identity=False, advanced=True
    )
    device: str = option("auto", "Where to run: auto, cpu, cuda, cuda:1 …", identity=False)
    precision: str = option(
        "auto",
        "Arithmetic of the forward pass; fp8 is held against bf16 before it is used",
        choices=("auto", "fp32", "bf16", "fp8"),
        advanced=True,
    )


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

    `parent` is a data set; with captions, for a text-to-image scorer. Gives kind "scores":
    `scores.parquet`: sample_id int64, label int32, difficulty float32, rows by sample_id;
    `errors.safetensors`: errors float32 [N, K] (row i = row i of the table) in the scorer's own weighting
    (metadata "weighting"), with a contrast errors_null [N, K] of the null class; timesteps float32 [K] on its clock,
    alpha, sigma and quadrature [K]; of the second noise bank errors_b float32 [n, K] (errors_null_b), sample_ids_b
    int64 [n]; jpeg_bytes int32 [N] (of the cropped image at quality 90), total_variation float32 [N] (of what the
    model sees).
    Facts: images, evaluations, grid, weighting, contrast, scorer, autoencoder, reliability (mean over classes) and
    reliability_by_class (Spearman between the banks within a class), rank_check, overlap, controls,
    images_per_second and evaluations_per_second (of the first process, under the first noise bank), idle_share,
    devices.

    Started by torchrun or `accelerate launch`, each process scores its share of the shards on its own GPU; the result
    is that of one process. An interrupted call goes on after the last complete shard, with any number of processes.
    Another weighting of a table that is in the workspace already costs no forward pass.
    """
    if isinstance(parent, Artifact) and workspace is None:
        workspace = parent.workspace
    ws = Workspace.at(workspace)
    dataset = ws.resolve(parent, "datasets")
    config = configure(ScoreConfig, config, options)
    scorer = locate(config.scorer, ws, config.weights, config.path)
    if scorer.described:
        targets_of(scorer, dataset, config.class_map, config.autoencoder)  # before a download of gigabytes
    with gather() as team:
        if team.first:
            scorer = scorer.ready(quiet)
            team.wait()
        else:
            team.wait()
            scorer, quiet = scorer.ready(quiet=True), True
        job = _job(dataset, scorer, config, team)
        if not team.first:
            return _follow(ws, job, team)
        return _lead(ws, job, config, team, name, force, quiet)


def targets_of(scorer: Located, dataset: Artifact, class_map: str = "", autoencoder: str = "") -> np.ndarray | None:
    """The scorer's class of each label, int64 [C]; None for a text-to-image scorer, which is told captions.

    Raises D2CError when the scorer cannot judge this data set.
    """
    if scorer.kind == "text":
        if not dataset.facts.get("captions"):
            raise D2CError(
                f"scorer {scorer.name} is told captions, datasets/{dataset.name} has none: ingest it with captions "
                "(--caption-column, or IMAGE.txt beside each image)"
            )
        return None
    names = dataset.json("classes.json")
    if dataset.facts.get("captions") and names == [ALL] and not class_map and ALL not in scorer.classes:
        raise D2CError(
            f"scorer {scorer.name} is told classes, datasets/{dataset.name} has captions and no classes: give a "
            "text-to-image pipeline as the scorer (a diffusers folder or hf:ORG/NAME)"
        )
    return fit(scorer, names, class_map, autoencoder)


def _job(dataset: Artifact, scorer: Located, config: ScoreConfig, team: Team) -> Job:
    from d2c.device import pick, precision
    from d2c.diffusion.autoencoders import load
    from d2c.score.stream import Job

    targets = targets_of(scorer, dataset, config.class_map, config.autoencoder)
    device = pick(team.device(config.device))
    resolved = config.precision
    if resolved != "fp8":
        resolved = precision(config.precision, device)
    elif scorer.kind == "text":
        raise D2CError("fp8 is for DiT and SiT scorers: use --precision bf16")
    elif device.type != "cuda":
        raise D2CError(f"fp8 needs a GPU that multiplies it, not {device}: use --precision bf16")
    return Job(
        dataset=dataset,
        scorer=scorer,
        targets=targets,
        autoencoder=load(config.autoencoder or scorer.model.autoencoder),
        evaluations=config.evaluations,
        grid=config.grid,
        seed=config.seed,
        contrast=config.contrast,
        reliability_images=config.reliability_images,
        batch_size=config.batch_size,
        workers=config.workers,
        device=device,
        precision=resolved,
    )


def _lead(
    ws: Workspace, job: Job, config: ScoreConfig, team: Team, name: str | None, force: bool, quiet: bool
) -> Artifact:
    """The first process: makes the artifact, and tells the others what it finds."""

    def write(build: Build) -> None:
        from d2c.score.table import write_scores

        write_scores(build, job, config.weighting, None if force else twin, team)

    dataset, scorer = job.dataset, job.scorer
    parents = [dataset, *([scorer.run] if scorer.run else [])]
    extra: dict[str, Any] = {"scorer": scorer.name, "scorer_digest": scorer.digest, "precision": job.precision}
    if job.targets is not None and not np.array_equal(job.targets, np.arange(scorer.config.num_classes)):
        extra["targets"] = job.targets.tolist()
    extra["autoencoder"] = _known(job.autoencoder)
    twin = _same_table(ws, {**recipe_of(config), **extra}, parents)
    made = produce(
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
    team.tell({"made": made.name})
    return made


def _follow(ws: Workspace, job: Job, team: Team) -> Artifact:
    """Every other process: its share, when the first one says so."""
    from d2c.score.table import assist

    said = team.tell(None)
    if "folder" in said:
        assist(dataclasses.replace(job, precision=said["precision"]), Path(said["folder"]), team, quiet=True)
        said = team.tell(None)
    return ws.resolve(f"scores/{said['made']}", "scores")


def _known(autoencoder: Autoencoder) -> str:
    """What latents depend on: the weights, and how they are scaled and shifted; not where they lie."""
    from d2c.diffusion.autoencoders import weights_digest

    if autoencoder.name == "identity":
        return "identity"
    scale, shift = (getattr(autoencoder, name, None) for name in ("scale", "shift"))
    return f"{weights_digest(autoencoder)} × {scale} + {shift}"


def _same_table(ws: Workspace, recipe: dict[str, Any], parents: list[Artifact]) -> Artifact | None:
    """Scores whose errors are those of this recipe, whatever their weighting."""
    from d2c.score.parts import is_table

    wanted = recipe | {"weighting": ""}, [p.fingerprint for p in parents]
    for there in ws.list("scores"):
        of = {**there.recipe, "weighting": ""}, [p["fingerprint"] for p in there.record["parents"]]
        if of == wanted and is_table(there.path / "errors.safetensors"):  # a damaged one is made anew
            return there
    return None
