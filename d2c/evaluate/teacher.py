"""The judge as a teacher: our own small classifier of a data set, trained once and opened wherever one is needed."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from d2c.artifacts import Artifact
from d2c.device import pick
from d2c.evaluate.classifier import Classifier, scaled
from d2c.evaluate.fitting import open_classifier
from d2c.evaluate.images import real_images
from d2c.evaluate.judge import LARGEST, ClassifierConfig, classifier


@dataclasses.dataclass(frozen=True, eq=False)
class Teacher:
    """A trained classifier of a data set, and images as it sees them.

    `model` is in eval mode and takes float32 [n, channels, side, side] in [−1, 1]; class c of its scores is label c.
    `run` is the artifact that holds it: what is made with its help names it as a parent.
    """

    run: Artifact
    model: Classifier
    device: torch.device
    image_size: int  # px to which images are squared
    side: int  # px that the network sees
    channels: int
    classes: int

    @property
    def accuracy(self) -> float | None:
        """Share of held-out images that it reads right; None where no class has two images."""
        return self.run.facts.get("held_out_accuracy")

    def images(self, dataset: Artifact, sample_ids: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Images [n, channels, side, side] of a data set or a condensed set, in the order of `sample_ids`."""
        return real_images(dataset, sample_ids, self.image_size, self.channels, self.side)

    def input(self, images: NDArray[np.uint8] | Tensor) -> Tensor:
        """uint8 images as the network takes them: float32 in [−1, 1], on its device."""
        return scaled(images, self.device)


def teacher(
    dataset: Artifact,
    *,
    image_size: int = 0,
    passes: int = 16,
    seed: int = 0,
    device: str = "auto",
    quiet: bool = False,
) -> Teacher:
    """The classifier of a data set: found where it was trained already (for judging, say), trained where not.

    `image_size` 0 is the median of the images' shorter sides, at most 64 px; the network never sees more than that.
    Raises D2CError for a data set of one class, or when the stored weights cannot be read.
    """
    config = ClassifierConfig(image_size=image_size or usual_side(dataset), passes=passes, seed=seed, device=device)
    run = classifier(dataset, config, quiet=quiet)
    facts, where = run.facts, pick(device)
    return Teacher(
        run=run,
        model=open_classifier(run, where),
        device=where,
        image_size=config.image_size,
        side=facts["side"],
        channels=facts["channels"],
        classes=facts["classes"],
    )


def usual_side(dataset: Artifact, most: int = LARGEST) -> int:
    """The median of the images' shorter sides [px], from 2 to `most`."""
    sizes = dataset.table("samples.parquet", ["width", "height"]).to_numpy()
    return int(min(max(np.median(sizes.min(axis=1)), 2), most))
