"""run → transfer: what its condensed set and its samples teach a classifier, and what it brings to another data set."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from d2c.artifacts import Artifact, Build, Workspace, produce
from d2c.config import configure, option
from d2c.diffusion.config import SOLVERS
from d2c.diffusion.sample import SampleConfig, sample
from d2c.errors import D2CError, UsageError
from d2c.evaluate.verb import EvaluateConfig, sources_of
from d2c.transfer.split import split

_DRAWN = EvaluateConfig()  # the same images that a report judges, so that they are found


@dataclasses.dataclass(frozen=True)
class TransferConfig:
    """Which classifiers are trained, on how much, and what for a run is fine-tuned."""

    count: int = option(
        _DRAWN.count,
        "Generated images to learn from, beside as many as the run was trained on",
        unit="images",
        minimum=0,
        maximum=10_000_000,
    )
    steps: int = option(400, "Steps of each classifier, the same for all", unit="steps", minimum=10)
    batch: int = option(64, "Images per step of a classifier", unit="images", minimum=2, advanced=True)
    seeds: int = option(3, "Classifiers trained on each, from seeds of their own", minimum=1, maximum=10)
    held_out: float = option(
        0.1,
        "Share of each class to test on, where the data set has no test split",
        minimum=0.01,
        maximum=0.5,
        advanced=True,
    )
    to: str = option("", "Another data set, on which the run is fine-tuned against the same model from scratch")
    to_steps: int = option(200, "Steps on that data set, the same for both", unit="steps", minimum=2)
    to_seeds: int = option(1, "Pairs of runs trained there", minimum=1, maximum=10)
    to_count: int = option(
        300, "Images drawn of each there, for FD-classifier", minimum=2, maximum=10_000_000, advanced=True
    )
    guidance: float = option(
        _DRAWN.guidance, "Classifier-free guidance of what is drawn (1: none)", minimum=0, maximum=20, advanced=True
    )
    solver: str = option(_DRAWN.solver, "How it is drawn", choices=SOLVERS, advanced=True)
    solver_steps: int = option(_DRAWN.steps, "Steps of the solver", minimum=1, maximum=1000, advanced=True)
    seed: int = option(0, "The first of the seeds, and that of the samples", minimum=0, advanced=True)
    device: str = option("auto", "Where to run: auto, cpu, cuda, cuda:1 …", identity=False, advanced=True)
    precision: str = option(
        "auto", "Arithmetic of sampling and of training there", choices=("auto", "fp32", "bf16"), advanced=True
    )


@dataclasses.dataclass(frozen=True)
class Subjects:
    """What a transfer is about. `condensed` is None where the run was trained on the whole data set."""

    run: Artifact
    dataset: Artifact
    condensed: Artifact | None
    drawn: dict[str, Artifact]  # arm → samples: generated (as many as chosen), generated_more


def transfer(
    parent: Artifact | Path | str,
    config: TransferConfig | None = None,
    *,
    workspace: Workspace | Path | str | None = None,
    name: str | None = None,
    force: bool = False,
    quiet: bool = False,
    **options: Any,
) -> Artifact:
    """Judge a run by what others learn from it. `parent` is a run. Gives kind "transfers".

    Our small classifier (`d2c.evaluate.classifier`) is trained at equal steps, from several seeds, on the whole
    data set, on the run's condensed set, on as many real images drawn at random, and on images that the run draws; all
    are tested on the same real images, which none of them learnt from and the run was not trained on. With `to`, the
    run is fine-tuned on another data set (`d2c train --start-from`) against the same model from scratch: the loss on
    images left out, by step at the same timesteps and noises, and FD-classifier of what both draw.

    Files: `transfer.json` (held_out, arms, to, warnings), `per_class.parquet` (arm, seed, label, class, images,
    accuracy), and with `to` `curves.parquet` (arm, seed, step, images_seen, loss). Facts: accuracy_real,
    accuracy_condensed, accuracy_random, accuracy_generated, accuracy_generated_more (means over seeds, None where there
    is no such arm), held_out_images, seeds; to, loss_tuned, loss_scratch, fd_tuned, fd_scratch; warnings.

    Samples, runs and the classifier of the other data set are artifacts of their own, found when they are there; an
    interrupted call goes on after the classifiers that are trained.

    Raises D2CError when the run is no generator, its data set is not in the workspace, or no real image is left to test
    on; UsageError when `to` is the data set it came from.
    """
    if isinstance(parent, Artifact) and workspace is None:
        workspace = parent.workspace
    ws = Workspace.at(workspace)
    run = ws.resolve(parent, "runs")
    config = configure(TransferConfig, config, options)
    if run.facts.get("task", "generate") != "generate":
        raise D2CError(f"runs/{run.name} is no diffusion model: choose a run of d2c train")
    dataset, trained_on = sources_of(run)
    names = [str(n) for n in dataset.json("classes.json")]
    if [str(n) for n in run.json("classes.json")] != names:
        raise D2CError(f"runs/{run.name} and datasets/{dataset.name} name other classes: train on this data set again")
    if len(names) < 2:
        raise D2CError(f"datasets/{dataset.name} has one class, and a classifier needs two")
    target = _target(ws, config, dataset)
    condensed = trained_on if trained_on.kind == "condensed" else None
    split(dataset, condensed, config.held_out, config.seed)  # refuses before anything is drawn
    drawn = _draw(ws, run, condensed, config, quiet)
    subjects = Subjects(run, dataset, condensed, drawn)
    tuned = None
    if target is not None:
        from d2c.transfer.tuning import tune

        tuned = tune(ws, run, target, config, quiet)

    def write(build: Build) -> None:
        from d2c.transfer.write import write_transfer

        write_transfer(build, subjects, tuned, config)

    made = {a.fingerprint: a for a in (*drawn.values(), *(tuned.artifacts if tuned is not None else ()))}
    kept = dataclasses.replace(config, to=target.fingerprint[:12] if target is not None else "")
    return produce(
        ws,
        "transfers",
        kept,
        write,
        stem=run.name.removesuffix(f"-{run.fingerprint[:6]}"),
        name=name,
        parents=[run, *made.values()],
        force=force,
        quiet=quiet,
    )


def _target(ws: Workspace, config: TransferConfig, dataset: Artifact) -> Artifact | None:
    """The other data set. Raises D2CError when it is not here, UsageError when it is the same."""
    if not config.to:
        return None
    target = ws.resolve(config.to, "datasets")
    if target.fingerprint == dataset.fingerprint:
        raise UsageError(f"--to datasets/{target.name} is what the run came from: give another data set")
    return target


def _draw(
    ws: Workspace, run: Artifact, condensed: Artifact | None, config: TransferConfig, quiet: bool
) -> dict[str, Artifact]:
    """Samples of the run: as many as it was trained on (where that is a chosen set), and `count`."""
    own: dict[str, Any] = {"guidance": config.guidance, "solver": config.solver, "steps": config.solver_steps}
    own |= {"seed": config.seed, "device": config.device, "precision": config.precision}
    few = int(run.facts.get("images", 0)) if condensed is not None else 0
    counts = {"generated": few, "generated_more": config.count if config.count != few else 0}
    if not few:
        counts = {"generated": config.count or SampleConfig().count}
    found = {}
    # The larger first: the smaller takes its images over, image i being the same whatever the count.
    for arm, count in sorted(counts.items(), key=lambda each: -each[1]):
        if count:
            found[arm] = sample(run, workspace=ws, quiet=quiet, count=count, **own)
    return found
