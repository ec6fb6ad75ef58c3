"""dataset → the classifier that judges its samples, kept as a run that every report of the data set shares."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from d2c.artifacts import Artifact, Build, Workspace, produce, slugify
from d2c.config import configure, option
from d2c.errors import D2CError

LARGEST = 64  # px: larger images are shrunk to it before they are read


@dataclasses.dataclass(frozen=True)
class ClassifierConfig:
    """How the judge is trained. Nothing here depends on the run that it judges but the size of its images."""

    image_size: int = option(32, "Side of the samples it will read", unit="px", minimum=2)
    passes: int = option(16, "Passes over the training images (at least 400 steps)", minimum=1)
    held_out: float = option(0.1, "Share of each class kept from training, to test it on", minimum=0.01, maximum=0.5)
    seed: int = option(0, "Seed of weights, split and order", minimum=0)
    device: str = option("auto", "Where to run: auto, cpu, cuda, cuda:1 …", identity=False)

    @property
    def side(self) -> int:
        """Side of what the network sees [px]."""
        return min(self.image_size, LARGEST)


def classifier(
    parent: Artifact | Path | str,
    config: ClassifierConfig | None = None,
    *,
    workspace: Workspace | Path | str | None = None,
    name: str | None = None,
    force: bool = False,
    quiet: bool = False,
    **options: Any,
) -> Artifact:
    """Train the small residual CNN that reads samples, on the full data set (all splits) in fp32.

    `parent` is a data set. Gives kind "runs" with facts.task "classifier": `classifier.safetensors`,
    `classes.json`, `metrics.parquet` (step, images_seen, wall_seconds, name, value), `held_out.parquet`
    (sample_id, label, read_as). Facts: held_out_accuracy (None where no class has two images),
    held_out_images, image_size, side, channels, features, parameters, steps, images, classes, warnings.

    Raises D2CError for a data set of one class. An interrupted call starts over: it takes seconds.
    """
    if isinstance(parent, Artifact) and workspace is None:
        workspace = parent.workspace
    ws = Workspace.at(workspace)
    dataset = ws.resolve(parent, "datasets")
    config = configure(ClassifierConfig, config, options)
    names = [str(n) for n in dataset.json("classes.json")]
    if len(names) < 2:
        raise D2CError(f"datasets/{dataset.name} has one class, and a classifier needs two: ingest more classes")

    def write(build: Build) -> None:
        from d2c.evaluate.fitting import write_classifier

        write_classifier(build, dataset, config, names)

    stem = f"{slugify(dataset.name.removesuffix(f'-{dataset.fingerprint[:6]}'))[:40]}-classifier"
    return produce(
        ws,
        "runs",
        config,
        write,
        stem=stem,
        name=name,
        parents=[dataset],
        extra={"task": "classifier", "side": config.side},
        force=force,
        quiet=quiet,
    )
