"""What is compared in a report: the samples, real held-out images, and the training images drawn again."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from d2c.artifacts import Artifact, Build
from d2c.data.store import labels_of
from d2c.device import pick
from d2c.evaluate.classifier import FEATURES, read
from d2c.evaluate.fitting import open_classifier
from d2c.evaluate.images import READ, Pictures, real_images, sample_images
from d2c.select.made import ids_in_dataset

if TYPE_CHECKING:
    from d2c.evaluate.verb import EvaluateConfig

CONTROL = 10_000  # held-out images at most whose nearest training image is looked for
Ids = NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Subjects:
    """What a report is about. `trained_on` is the condensed set, or the data set itself."""

    run: Artifact
    samples: Artifact
    judge: Artifact
    dataset: Artifact
    trained_on: Artifact

    @property
    def whole(self) -> bool:
        """Whether the run was trained on the data set itself."""
        return self.trained_on.kind == "datasets"


@dataclasses.dataclass(frozen=True)
class Group:
    """Images [n, C, s, s] with labels [n], features [n, 128] and the class that the judge reads in each [n].

    The images of all that is real are [n, 0]: they are not kept.
    """

    images: Pictures
    labels: Ids
    features: NDArray[np.float32]
    read_as: Ids

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[Any]) -> Group:
        """The same of some rows (indices or a mask)."""
        return Group(self.images[rows], self.labels[rows], self.features[rows], self.read_as[rows])


@dataclasses.dataclass(frozen=True)
class Drawn:
    """Which rows are compared: `held_out` and `control` of the data set, `copies` of what was trained on."""

    ids: Ids
    labels: Ids
    train_ids: Ids
    train_labels: Ids
    held_out: Ids
    copies: Ids
    control: Ids


def draw_rows(subjects: Subjects, table: pd.DataFrame, seed: int) -> Drawn:
    """As many of each class as there are samples, by a seed; held out: what was not trained on, at most half of it."""
    ids, labels = labels_of(subjects.dataset)
    train_ids, train_labels = labels_of(subjects.trained_on)
    in_train = np.isin(ids, seen_in_training(subjects.trained_on))
    wanted, draw = table["label"].to_numpy(np.int64), np.random.default_rng(seed)
    held_out = draw_like(wanted, np.where(in_train, -1, labels), draw, most=_halves(labels))
    copies = draw_like(wanted, train_labels, draw, again=True)
    control = np.sort(draw.permutation(np.flatnonzero(~in_train))[:CONTROL])
    return Drawn(ids, labels, train_ids, train_labels, held_out, copies, control)


def read_groups(
    build: Build, subjects: Subjects, table: pd.DataFrame, drawn: Drawn, config: EvaluateConfig
) -> tuple[Group, Group, Group, Group]:
    """Samples, all real images (without their pictures), the control, and the training images, as the judge reads them.

    Real images are read a few thousand at a time; pictures are kept of the control and of the training images alone.
    """
    device = pick(config.device)
    build.used(device, int(device.type == "cuda"))
    facts = subjects.judge.facts
    size, channels, side = facts["image_size"], facts["channels"], facts["side"]
    model = open_classifier(subjects.judge, device)
    own = 0 if subjects.whole else len(drawn.train_ids)
    build.progress.stage("features", len(table) + len(drawn.ids) + own)

    def group(images: Pictures, of: Ids) -> Group:
        return Group(images, of, *read(model, images, device=device, each=build.progress.advance))

    samples = group(sample_images(subjects.samples, table, channels, side), table["label"].to_numpy(np.int64))
    n = len(drawn.ids)
    features, read_as = np.zeros((n, FEATURES), np.float32), np.zeros(n, np.int64)
    kept = np.arange(n) if subjects.whole else drawn.control
    pictures = np.empty((len(kept), channels, side, side), np.uint8)
    for start in range(0, n, READ):
        rows = slice(start, start + READ)
        part = group(real_images(subjects.dataset, drawn.ids[rows], size, channels, side), drawn.labels[rows])
        features[rows], read_as[rows] = part.features, part.read_as
        first, last = np.searchsorted(kept, [start, start + READ])
        pictures[first:last] = part.images[kept[first:last] - start]
    real = Group(np.empty((n, 0), np.uint8), drawn.labels, features, read_as)
    if subjects.whole:
        train = dataclasses.replace(real, images=pictures)
        return samples, real, train.take(drawn.control), train
    control = dataclasses.replace(real.take(drawn.control), images=pictures)
    images = real_images(subjects.trained_on, drawn.train_ids, size, channels, side)
    return samples, real, control, group(images, drawn.train_labels)


def seen_in_training(trained_on: Artifact) -> Ids:
    """The data set's images that were trained on, or, where a strategy made the images, of which a part was."""
    return labels_of(trained_on)[0] if trained_on.kind == "datasets" else ids_in_dataset(trained_on)


def draw_like(
    wanted: Ids,
    pool: Ids,
    draw: np.random.Generator,
    *,
    again: bool = False,
    most: dict[int, int] | None = None,
) -> Ids:
    """Rows of a pool of labels, as many of each class as `wanted` has: with replacement, or while they last.

    `most` is a limit by class. A class that the pool has not is left out.
    """
    rows = []
    for label, n in zip(*np.unique(wanted, return_counts=True), strict=True):
        of = np.flatnonzero(pool == label)
        limit = n if most is None else min(n, most.get(int(label), 0))
        if len(of):
            rows.append(draw.choice(of, n) if again else draw.permutation(of)[:limit])
    return np.concatenate(rows) if rows else np.zeros(0, np.int64)


def _halves(labels: Ids) -> dict[int, int]:
    """Half of each class: what the held-out row may take, so that a reference is left to compare it with."""
    return {int(label): int(n) // 2 for label, n in zip(*np.unique(labels, return_counts=True), strict=True)}


def without(n: int, rows: Ids) -> NDArray[np.bool_]:
    """A mask [n] of all but some rows."""
    kept = np.ones(n, bool)
    kept[rows] = False
    return kept
