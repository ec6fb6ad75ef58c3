"""Everything a report says: three rows of numbers, nearness to the training images, and warnings."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from d2c.artifacts import Artifact, Build
from d2c.data.store import labels_of
from d2c.device import pick
from d2c.evaluate.classifier import FEATURES, read
from d2c.evaluate.copying.judge import facts_of, judge_copying, nearest_of
from d2c.evaluate.fitting import open_classifier
from d2c.evaluate.images import Pictures, real_images, sample_images
from d2c.evaluate.metrics import frechet_distance, kid, moments
from d2c.evaluate.warn import warnings_of
from d2c.select.made import ids_in_dataset

if TYPE_CHECKING:
    from d2c.evaluate.verb import EvaluateConfig

NAME = "classifier"
SUBSETS, SUBSET = 50, 1000  # of KID
CONTROL = 10_000  # held-out images at most whose nearest training image is looked for


@dataclasses.dataclass(frozen=True)
class Subjects:
    """What a report is about. `trained_on` is the condensed set, or the data set itself."""

    run: Artifact
    samples: Artifact
    judge: Artifact
    dataset: Artifact
    trained_on: Artifact


@dataclasses.dataclass(frozen=True)
class Group:
    """Images [n, C, s, s] with labels [n], features [n, 128] and the class that the judge reads in each [n]."""

    images: Pictures
    labels: NDArray[np.int64]
    features: NDArray[np.float32]
    read_as: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[Any]) -> Group:
        """The same of some rows (indices or a mask)."""
        return Group(self.images[rows], self.labels[rows], self.features[rows], self.read_as[rows])


def write_report(build: Build, subjects: Subjects, config: EvaluateConfig) -> None:
    """Fill the folder of a report; see `d2c.evaluate.evaluate` for what is in it."""
    table = subjects.samples.table("samples.parquet")
    samples, real, train, in_train = _groups(build, subjects, table, config)
    build.progress.stage("distances", 3, "row")
    draw = np.random.default_rng(config.seed)
    held_out = draw_like(samples.labels, np.where(in_train, -1, real.labels), draw, most=_halves(real.labels))
    copies = draw_like(samples.labels, train.labels, draw, again=True)
    rows = []
    for name, group, reference in (
        ("samples", samples, real),
        ("held_out", real.take(held_out), real.take(_without(len(real), held_out))),
        ("copies", train.take(copies), real),
    ):
        rows.append({"row": name, **row_of(group, reference, config.seed)})
        build.progress.advance()
    control = real.take(_some(np.flatnonzero(~in_train), draw))
    copying = judge_copying(build, subjects, samples, control, train, config)
    names = [str(n) for n in subjects.dataset.json("classes.json")]
    pairs = pd.read_parquet(build.folder / "nearest.parquet")
    per_class(samples, pairs, names).to_parquet(build.folder / "per_class.parquet", index=False)
    report = {
        "extractor": _extractor(subjects.judge),
        "reference": {"dataset": subjects.dataset.name, "images": len(real), "splits": "all"},
        "training": {"artifact": f"{subjects.trained_on.kind}/{subjects.trained_on.name}", "images": len(train)},
        "samples": _drawn(subjects),
        "rows": rows,
        "nearest": nearest_of(copying),
        "copying": copying,
        "step": copying["step"],
    }
    report["warnings"] = warnings_of(report, names, np.bincount(samples.labels, minlength=len(names)))
    (build.folder / "report.json").write_text(json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False))
    by_row = {row["row"]: row for row in rows}
    build.note(
        count=len(samples),
        accuracy=by_row["samples"]["accuracy"],
        fd=by_row["samples"]["fd"],
        fd_name=f"FD-{NAME}",
        kid=by_row["samples"]["kid"],
        fd_held_out=by_row["held_out"]["fd"],
        fd_copies=by_row["copies"]["fd"],
        **facts_of(copying),
        warnings=report["warnings"],
    )


def _groups(
    build: Build, subjects: Subjects, table: pd.DataFrame, config: EvaluateConfig
) -> tuple[Group, Group, Group, NDArray[np.bool_]]:
    """Samples, all real images, training images; and which real images were trained on."""
    device = pick(config.device)
    build.used(device, int(device.type == "cuda"))
    facts, whole = subjects.judge.facts, subjects.trained_on.kind == "datasets"
    size, channels, side = facts["image_size"], facts["channels"], facts["side"]
    ids, labels = labels_of(subjects.dataset)
    train_ids, train_labels = labels_of(subjects.trained_on)
    build.progress.stage("read images", len(ids) + (0 if whole else len(train_ids)))
    drawn = sample_images(subjects.samples, table, channels, side)
    real = real_images(subjects.dataset, ids, size, channels, side, build.progress)
    model = open_classifier(subjects.judge, device)

    def group(images: Pictures, of: NDArray[np.int64]) -> Group:
        return Group(images, of, *read(model, images, device=device, each=build.progress.advance))

    own = real if whole else real_images(subjects.trained_on, train_ids, size, channels, side, build.progress)
    build.progress.stage("features", len(drawn) + len(real) + (0 if whole else len(own)))
    every = group(real, labels)
    train = every if whole else group(own, train_labels)
    return (
        group(drawn, table["label"].to_numpy(np.int64)),
        every,
        train,
        np.isin(ids, seen_in_training(subjects.trained_on)),
    )


def seen_in_training(trained_on: Artifact) -> NDArray[np.int64]:
    """The data set's images that were trained on, or, where a strategy made the images, of which a part was."""
    return labels_of(trained_on)[0] if trained_on.kind == "datasets" else ids_in_dataset(trained_on)


def draw_like(
    wanted: NDArray[np.int64],
    pool: NDArray[np.int64],
    draw: np.random.Generator,
    *,
    again: bool = False,
    most: dict[int, int] | None = None,
) -> NDArray[np.int64]:
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


def _halves(labels: NDArray[np.int64]) -> dict[int, int]:
    """Half of each class: what the held-out row may take, so that a reference is left to compare it with."""
    return {int(label): int(n) // 2 for label, n in zip(*np.unique(labels, return_counts=True), strict=True)}


def _without(n: int, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    kept = np.ones(n, bool)
    kept[rows] = False
    return kept


def _some(rows: NDArray[np.int64], draw: np.random.Generator) -> NDArray[np.int64]:
    return np.sort(draw.permutation(rows)[:CONTROL])


def row_of(group: Group, reference: Group, seed: int) -> dict[str, Any]:
    """FD, KID (mean and spread over subsets) and accuracy of a group; None where fewer than two images are.

    KID is unbiased for independent images; groups balanced over classes vary less, so that real ones come out
    below zero.
    """
    if min(len(group), len(reference)) < 2:
        return {"images": len(group), "fd": None, "kid": None, "kid_spread": None, "accuracy": _accuracy(group)}
    distance, spread = kid(group.features, reference.features, subsets=SUBSETS, size=SUBSET, seed=seed)
    fd = frechet_distance(*moments(group.features), *moments(reference.features))
    return {"images": len(group), "fd": fd, "kid": distance, "kid_spread": spread, "accuracy": _accuracy(group)}


def _accuracy(group: Group) -> float | None:
    return float((group.read_as == group.labels).mean()) if len(group) else None


def per_class(samples: Group, pairs: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """A row a class; one without samples has 0 of them and nothing (null) to say."""
    right = pairs.assign(right=samples.read_as == samples.labels).groupby("label")
    found = pd.DataFrame(
        {
            "samples": right.size(),
            "accuracy": right["right"].mean(),
            "nearest_pixels": right["distance_pixels"].median(),
            "nearest_features": right["distance_features"].median(),
            "hit": right["sample_id"].nunique(),
        }
    ).reindex(range(len(names)))
    found[["samples", "hit"]] = found[["samples", "hit"]].fillna(0).astype(np.int64)
    found.insert(0, "class", names)
    found.insert(0, "label", np.arange(len(names), dtype=np.int32))
    return found


def _extractor(judge: Artifact) -> dict[str, Any]:
    facts = judge.facts
    return {
        "name": NAME,
        "what": f"penultimate layer ({FEATURES}) of a residual CNN trained on the full data set",
        "run": judge.name,
        "fingerprint": judge.fingerprint,
        "image_size": facts["image_size"],
        "side": facts["side"],
        "held_out_accuracy": facts["held_out_accuracy"],
        "held_out_images": facts["held_out_images"],
    }


def _drawn(subjects: Subjects) -> dict[str, Any]:
    recipe, facts = subjects.samples.recipe, subjects.samples.facts
    kept = {k: recipe[k] for k in ("count", "solver", "steps", "guidance", "seed", "precision")}
    more = {k: facts[k] for k in ("nfe", "model", "autoencoder", "uint8", "labels") if k in facts}
    return {"artifact": subjects.samples.name, "run": subjects.run.name, **kept, **more}
