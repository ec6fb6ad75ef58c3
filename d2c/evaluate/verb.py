"""run → report."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from d2c.artifacts import Artifact, Build, Workspace, produce
from d2c.config import configure, option
from d2c.diffusion.config import SOLVERS
from d2c.diffusion.sample import SampleConfig, sample
from d2c.errors import D2CError
from d2c.evaluate.extractors.names import extractors_of, files_of, plain, ready
from d2c.evaluate.judge import classifier
from d2c.train.snapshots import settled

_DRAWN = SampleConfig()  # what a report is made of unless asked otherwise is what `sample` draws


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """How many images are judged, and how they are drawn."""

    count: int = option(
        500, "Images judged, spread evenly over the classes", unit="images", minimum=2, maximum=10_000_000
    )
    guidance: float = option(_DRAWN.guidance, "Classifier-free guidance scale (1: none)", minimum=0.0, maximum=20.0)
    steps: int = option(
        _DRAWN.steps, "Steps of the solver; heun asks the network twice in each", minimum=1, maximum=1000
    )
    solver: str = option(_DRAWN.solver, "How the noise is carried to images, as `d2c sample` does", choices=SOLVERS)
    step: int = option(
        0, "Training step of the snapshot to judge (0: the run's end)", minimum=0, advanced=True, late=True
    )
    seed: int = option(0, "Seed of the samples and of every random choice here", minimum=0)
    flips: bool = option(False, "Look for mirror images of the training images too", advanced=True)
    batch_size: int = option(64, "Images at once", unit="images", minimum=1, identity=False, advanced=True)
    device: str = option("auto", "Where to run: auto, cpu, cuda, cuda:1 …", identity=False)
    precision: str = option("auto", "Arithmetic of sampling", choices=("auto", "fp32", "bf16"), advanced=True)
    extractors: str = option(
        "classifier",
        "Networks whose features distances are taken on, by commas: classifier, inception (FID), inception:FILE, "
        "timm:NAME, timm:NAME=FILE",
        late=True,
        advanced=True,
    )
    intervals: int = option(
        100,
        "Bootstrap repeats behind each 95 % interval; 0 leaves them out",
        minimum=0,
        maximum=10_000,
        late=True,
        advanced=True,
    )
    reference: str = option(
        "",
        "ADM reference file (npz) that Inception's numbers are taken against, instead of the data set",
        late=True,
        advanced=True,
    )


def evaluate(
    parent: Artifact | Path | str,
    config: EvaluateConfig | None = None,
    *,
    workspace: Workspace | Path | str | None = None,
    name: str | None = None,
    force: bool = False,
    quiet: bool = False,
    **options: Any,
) -> Artifact:
    """Judge what a run draws by a classifier of ours, trained once on the full data set, and by what else is asked.

    `parent` is a run. Gives kind "reports":
    `report.json`: extractor and extractors, reference, samples (how drawn), metrics (every number of the samples, of
    real held-out images = the floor, and of the training images drawn again = a copy machine: name, value, low and
    high, images, extractor, which way is better), intervals (what low and high are), rows (FD-classifier,
    KID-classifier and accuracy by row), nearest (how near training images lie, beside held-out ones), warnings in
    plain words;
    `per_class.parquet`: label, class, samples, accuracy, nearest_pixels, nearest_features, hit, and FD-classifier
    within the class: fd, fd_held_out (of as many real images, `held_out`, as far as half of them go);
    `nearest.parquet`: index, label, and of the nearest training image sample_id and distance_pixels (root mean
    square, pixels in 0…1), sample_id_features and distance_features (Euclidean);
    `grid.webp`: the closest pairs, sample on the left, training image on the right.
    Facts: accuracy, fd, fd_name, kid, precision, recall, density, coverage, vendi (on the classifier's features),
    is, fid_10k, fd_dinov2 … of other extractors, fd_held_out, fd_copies, nearest_ratio, count, warnings.

    The extractor is named on every number; FID, sFID and IS are what Inception of 2015-12-05 gives, of 10,000 or
    50,000 samples by name. The samples and the classifier are artifacts
    of their own, found when they are there; `force` makes the report alone again.

    Raises D2CError when the run is no generator, its data set is not in the workspace, or what an extractor needs is
    missing, which is looked at before anything is drawn.
    """
    if isinstance(parent, Artifact) and workspace is None:
        workspace = parent.workspace
    ws = Workspace.at(workspace)
    run = ws.resolve(parent, "runs")
    config = configure(EvaluateConfig, config, options)
    if run.facts.get("task", "generate") != "generate":
        raise D2CError(
            f"runs/{run.name} is no diffusion model, so there is nothing to judge: choose a run of d2c train"
        )
    config = dataclasses.replace(config, step=settled(run, config.step), extractors=plain(config.extractors))
    dataset, trained_on = sources_of(run)
    if run.json("classes.json") != dataset.json("classes.json"):
        raise D2CError(f"runs/{run.name} and datasets/{dataset.name} name other classes: train on this data set again")
    asked = extractors_of(config.extractors)
    files = files_of(asked, config.reference)
    ready(asked, config.reference)
    drawn = {f.name: getattr(config, f.name) for f in dataclasses.fields(SampleConfig) if hasattr(config, f.name)}
    samples = sample(run, workspace=ws, quiet=quiet, **drawn)
    image_size = int(samples.facts["image_size"])
    judge = classifier(dataset, workspace=ws, quiet=quiet, image_size=image_size, device=config.device)

    def write(build: Build) -> None:
        from d2c.evaluate.report import Subjects, write_report

        write_report(build, Subjects(run, samples, judge, dataset, trained_on), config)

    return produce(
        ws,
        "reports",
        config,
        write,
        stem=run.name.removesuffix(f"-{run.fingerprint[:6]}"),
        name=name,
        parents=[run, samples, judge],
        extra={"precision": samples.recipe["precision"], **({"files": files} if files else {})},
        force=force,
        quiet=quiet,
    )


def sources_of(run: Artifact) -> tuple[Artifact, Artifact]:
    """The full data set behind a run, and what the run was trained on: a condensed set, or that data set itself."""
    dataset = run.parent("datasets")
    condensed = any(p["kind"] == "condensed" for p in run.record["parents"])
    return dataset, run.parent("condensed") if condensed else dataset
