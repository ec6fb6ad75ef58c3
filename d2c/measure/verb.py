"""dataset → measures: how each image fared while a small classifier was trained."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from d2c.artifacts import Artifact, Build, Workspace, produce, slugify
from d2c.config import configure, option
from d2c.errors import D2CError, UsageError

MEASURES = ("el2n", "grand", "forgetting", "tdds")
TABLE = "measures.parquet"


@dataclasses.dataclass(frozen=True)
class MeasureConfig:
    """How the classifier is trained and when it is read. Every seed trains one from the start."""

    epochs: int = option(30, "Passes over the images, of each seed", minimum=3)
    seeds: int = option(4, "Classifiers trained; a measure is the mean over them", minimum=1, maximum=100)
    early: int = option(3, "Epoch after which EL2N and GraNd are read", minimum=1)
    gradients: str = option(
        "all", "GraNd of all weights, or of the last layer's alone, which costs nothing", choices=("all", "last")
    )
    window: int = option(10, "TDDS: epochs in a window", unit="epochs", minimum=3, advanced=True)
    trajectory: int = option(
        0, "TDDS: so many first epochs are looked at; 0 = all", unit="epochs", minimum=0, advanced=True
    )
    decay: float = option(
        0.9, "TDDS: share of the last window in the moving average", minimum=0.01, maximum=1, advanced=True
    )
    held_out: float = option(
        0.1,
        "Share of each class that a seed is tested on, another for each seed",
        minimum=0,
        maximum=0.5,
        advanced=True,
    )
    image_size: int = option(
        0, "Side of what the network sees; 0 = the images' own, at most 64", unit="px", minimum=0, advanced=True
    )
    batch: int = option(0, "Images in a step; 0 = by the number of images", unit="images", minimum=0, advanced=True)
    lr: float = option(3e-3, "Highest learning rate", minimum=1e-7, maximum=1, advanced=True)
    seed: int = option(0, "Seed of weights, order and folds", minimum=0, advanced=True)
    workers: int = option(
        0, "Processes or threads that decode images; 0 = auto", minimum=0, identity=False, advanced=True
    )
    device: str = option("auto", "Where to run: auto, cpu, cuda, cuda:1 …", identity=False)
    precision: str = option(
        "auto",
        "Arithmetic of the training; auto is bf16 on a GPU that has it",
        choices=("auto", "fp32", "bf16"),
        advanced=True,
    )


def measure(
    parent: Artifact | Path | str,
    config: MeasureConfig | None = None,
    *,
    workspace: Workspace | Path | str | None = None,
    name: str | None = None,
    force: bool = False,
    quiet: bool = False,
    **options: Any,
) -> Artifact:
    """Train our own small classifier and keep how each image fared: EL2N, GraNd, forgetting, TDDS. Higher = harder.

    `parent` is a data set of N images. Gives kind "measures":
    `measures.parquet`: sample_id int64, label int32, and float32 each el2n, grand, forgetting and tdds, the means over
    the seeds that trained on the image (see `d2c.measure.history` and `d2c.measure.gradients` for the equations), rows
    as in the data set; `training.parquet`: seed, epoch, loss, accuracy on the images as they are trained on.
    Facts: images, classes, epochs, seeds, early, gradients, image_size, batch, parameters, accuracy (mean over seeds,
    on held-out images), by seed held_out_accuracy, early_accuracy and train_accuracy (as trained on, in the early and
    the last epoch) and seconds, never_learned (images that no seed ever read right), agreement (Spearman between two
    seeds, by measure, mean over pairs), warnings.

    Each seed keeps another `held_out` of each class from training, so that accuracy is measured on unseen images and
    still every image is measured; a single seed trains on all, and has no accuracy. The images are decoded once, into
    a file of N·C·S² bytes that goes when all is done. The same options give the same numbers on the same device. An
    interrupted call goes on with the first seed that is not finished.

    Raises D2CError for a data set of one class, or whose classes have one image each; UsageError where `early`,
    `window` or `trajectory` do not fit into the epochs.
    """
    if isinstance(parent, Artifact) and workspace is None:
        workspace = parent.workspace
    ws = Workspace.at(workspace)
    dataset = ws.resolve(parent, "datasets")
    config = resolved(configure(MeasureConfig, config, options))
    count = _images_of(dataset)
    extra = _decided(dataset, config, count)

    def write(build: Build) -> None:
        from d2c.measure.write import write_measures

        write_measures(build, dataset, dataclasses.replace(config, **extra))

    return produce(
        ws,
        "measures",
        config,
        write,
        stem=f"{slugify(dataset.name.removesuffix(f'-{dataset.fingerprint[:6]}'))[:40]}-measures",
        name=name,
        parents=[dataset],
        extra=extra,
        force=force,
        quiet=quiet,
    )


def resolved(config: MeasureConfig) -> MeasureConfig:
    """The same with TDDS's trajectory said. Raises UsageError where early, window or trajectory do not fit."""
    if config.early > config.epochs:
        raise UsageError(f"early = {config.early} is after the last of {config.epochs} epochs: lower it")
    trajectory = config.trajectory or config.epochs
    if not config.window <= trajectory <= config.epochs:
        raise UsageError(
            f"window = {config.window} has to fit into a trajectory of {trajectory}, and that into {config.epochs} "
            "epochs: lower the window or train longer"
        )
    return dataclasses.replace(config, trajectory=trajectory)


def batch_for(images: int) -> int:
    """Images in a step: 64, from 20,000 on 256, and fewer where an epoch would not have 8 steps."""
    return max(2, min(64 if images <= 20_000 else 256, images // 8))


def _images_of(dataset: Artifact) -> int:
    """How many images there are. Raises D2CError where no classifier can be trained, or nothing be chosen."""
    from d2c.data.store import labels_of

    sizes = np.bincount(labels_of(dataset)[1])
    there = sizes[sizes > 0]
    if len(there) < 2:
        raise D2CError(
            f"datasets/{dataset.name} has one class, and a classifier needs two: ingest more classes, or choose by "
            "difficulty"
        )
    if there.max() < 2:
        raise D2CError(f"datasets/{dataset.name} has one image a class, so there is nothing to choose among")
    return int(sizes.sum())


def _decided(dataset: Artifact, config: MeasureConfig, count: int) -> dict[str, Any]:
    """What 0 and auto stand for here; it joins the recipe."""
    from d2c.device import pick, precision
    from d2c.evaluate.teacher import usual_side

    device = pick(config.device)
    chosen = config.precision
    if chosen == "auto":
        chosen = precision("auto", device) if device.type == "cuda" else "fp32"
    return {
        "image_size": config.image_size or usual_side(dataset),
        "batch": config.batch or batch_for(count),
        "precision": chosen,
    }
