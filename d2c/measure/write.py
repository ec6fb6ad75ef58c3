"""Filling the folder of measures: images decoded once, then one training after another, each kept when it is done."""

from __future__ import annotations

import contextlib
import itertools
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from d2c.artifacts import Artifact, Build
from d2c.data.loader import load
from d2c.data.store import labels_of
from d2c.device import pick
from d2c.evaluate.classifier import read
from d2c.measure.history import History, tdds
from d2c.measure.training import Plan, train
from d2c.measure.verb import MEASURES, TABLE, MeasureConfig
from d2c.score.reliability import spearman

if TYPE_CHECKING:
    from d2c.progress import Progress

SLAB = 512  # images decoded at a time
AT_A_TIME = 4096  # held-out images in memory
PAIRS = 10  # pairs of seeds that are compared at most
_PIXELS, _LAST = "pixels.u8", "last.f32"


def write_measures(build: Build, dataset: Artifact, config: MeasureConfig) -> None:
    """Fill the folder; see `d2c.measure.verb.measure` for what is in it. `config` has no 0 or auto left in it."""
    device = pick(config.device)
    build.used(device, int(device.type == "cuda"))
    ids, labels = labels_of(dataset)
    classes, channels = len(dataset.json("classes.json")), int(dataset.facts["channels"])
    done = [build.folder / f"seed-{number}.json" for number in range(config.seeds)]
    images = np.empty((0, channels, config.image_size, config.image_size), np.uint8)
    if not all(file.is_file() for file in done):
        images = decoded(build.folder / _PIXELS, dataset, ids, config, channels, build.progress)
    notes: list[dict[str, Any]] = []
    for number, file in enumerate(done):
        if not file.is_file():
            note = _seed(build, number, config, images, labels, classes)
            file.with_suffix(".new").write_text(json.dumps(note))
            file.with_suffix(".new").replace(file)  # the table lies there already, so this says that both are whole
        notes.append(json.loads(file.read_text()))
    parts = [pd.read_parquet(file.with_suffix(".parquet")) for file in done]
    table = {"sample_id": ids, "label": labels.astype(np.int32)}
    for name in MEASURES:
        table[name] = _mean([part[name].to_numpy(np.float32) for part in parts])
    pd.DataFrame(table).to_parquet(build.folder / TABLE, index=False)
    curves = [{"seed": i, **row} for i, note in enumerate(notes) for row in note["curve"]]
    pd.DataFrame(curves).to_parquet(build.folder / "training.parquet", index=False)
    learnt = np.logical_or.reduce([part["learnt"].to_numpy() for part in parts])
    agreement = {name: _agreement([part[name].to_numpy() for part in parts]) for name in MEASURES}
    held = [note["held_out_accuracy"] for note in notes]
    known = [value for value in held if value is not None]
    early = [note["curve"][config.early - 1]["accuracy"] for note in notes]
    build.note(
        images=len(ids),
        classes=classes,
        epochs=config.epochs,
        seeds=config.seeds,
        early=config.early,
        gradients=config.gradients,
        image_size=config.image_size,
        batch=config.batch,
        parameters=notes[0]["parameters"],
        accuracy=float(np.mean(known)) if known else None,
        held_out_accuracy=held,
        early_accuracy=early,
        train_accuracy=[note["curve"][-1]["accuracy"] for note in notes],
        seconds=[note["seconds"] for note in notes],
        never_learned=int((~learnt).sum()),
        agreement=agreement,
        warnings=_warnings(known, early, classes, config, int((~learnt).sum()), len(ids)),
    )
    for file in (build.folder / _PIXELS, build.folder / _LAST, *done, *(f.with_suffix(".parquet") for f in done)):
        file.unlink(missing_ok=True)


def decoded(
    file: Path, dataset: Artifact, ids: NDArray[np.int64], config: MeasureConfig, channels: int, progress: Progress
) -> NDArray[np.uint8]:
    """All images as uint8 [N, C, S, S] in a file, mapped; what an earlier call has written is not decoded again."""
    shape = (len(ids), channels, config.image_size, config.image_size)
    row = int(np.prod(shape[1:]))
    there = min(file.stat().st_size // row if file.is_file() else 0, len(ids))
    progress.stage("read images", len(ids), done=there)
    with file.open("ab") as out:
        out.truncate(there * row)
        slabs = (ids[first : first + SLAB] for first in range(there, len(ids), SLAB))
        reading = load(
            dataset, slabs, config.image_size, channels, workers=config.workers, total=max(len(ids) - there, 1)
        )
        with contextlib.closing(reading):
            for slab in reading:
                out.write(slab.images.tobytes())
                progress.advance(len(slab.images))
    return np.memmap(file, np.uint8, "r", shape=shape)


def fold(labels: NDArray[np.int64], share: float, number: int, seeds: int, seed: int) -> NDArray[np.bool_]:
    """Which images [N] the seed `number` of `seeds` is tested on: of each class the next `share` in a drawn order.

    Rounded, at least one and at most half of a class that has two images. With two seeds or more every image is trained
    on by one at least; a single seed leaves nothing out.
    """
    held = np.zeros(len(labels), bool)
    if share <= 0 or seeds < 2:
        return held
    order = np.argsort(labels, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(labels[order])) + 1):
        n = len(rows)
        if n > 1:
            size = min(max(round(share * n), 1), n // 2)
            drawn = np.random.default_rng((seed, int(labels[rows[0]]))).permutation(rows)
            held[drawn[(number * size + np.arange(size)) % n]] = True
    return held


def _seed(
    build: Build,
    number: int,
    config: MeasureConfig,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    classes: int,
) -> dict[str, Any]:
    """Train one classifier and write its measures, NaN where it did not train on the image."""
    began = time.monotonic()
    held = fold(labels, config.held_out, number, config.seeds, config.seed)
    rows = np.flatnonzero(~held)
    plan = Plan(
        config.epochs,
        config.early,
        config.batch,
        config.lr,
        config.seed + 1000 * number,
        config.gradients,
        config.precision,
        pick(config.device),
    )
    history = History(len(rows), classes, config.epochs, config.trajectory, build.folder / _LAST)
    curve: list[dict[str, float]] = []

    def epoch_done(epoch: int, loss: float, accuracy: float) -> None:
        curve.append({"epoch": epoch + 1, "loss": loss, "accuracy": accuracy})

    build.progress.stage(f"train classifier {number + 1} of {config.seeds}", config.epochs * len(rows))
    model, early = train(
        images,
        rows,
        labels[rows],
        classes,
        plan,
        history,
        each=lambda n, loss: build.progress.advance(n, loss=loss),
        epoch_done=epoch_done,
    )
    values = {
        "el2n": early.el2n,
        "grand": early.grand,
        "forgetting": history.forgetting(),
        "tdds": tdds(history.changes, config.window, config.decay),
    }
    table: dict[str, Any] = {name: np.full(len(labels), np.nan, np.float32) for name in MEASURES}
    for name in MEASURES:
        table[name][rows] = values[name]
    table["learnt"] = np.zeros(len(labels), bool)
    table["learnt"][rows] = history.learnt
    pd.DataFrame(table).to_parquet(build.folder / f"seed-{number}.parquet", index=False)
    accuracy = None
    if held.any():
        unseen = np.array_split(np.flatnonzero(held), -(-int(held.sum()) // AT_A_TIME))
        right = sum(int((read(model, images[r], device=plan.device)[1] == labels[r]).sum()) for r in unseen)
        accuracy = right / int(held.sum())
    return {
        "held_out_accuracy": accuracy,
        "curve": curve,
        "seconds": round(time.monotonic() - began, 3),
        "parameters": sum(p.numel() for p in model.parameters()),
    }


def _mean(seeds: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """The mean over the seeds that trained on an image, one sum at a time: N may be large."""
    total, count = np.zeros(len(seeds[0])), np.zeros(len(seeds[0]))
    for values in seeds:
        there = ~np.isnan(values)
        total[there] += values[there]
        count += there
    return (total / count).astype(np.float32)


def _agreement(seeds: list[NDArray[Any]]) -> float | None:
    """Rank correlation between two seeds over the images both trained on, mean over pairs; None where it has none."""
    found = []
    for a, b in itertools.islice(itertools.combinations(seeds, 2), PAIRS):
        both = ~(np.isnan(a) | np.isnan(b))
        found.append(spearman(a[both], b[both]))
    known = [value for value in found if value is not None]
    return float(np.mean(known)) if known else None


def _warnings(
    accuracy: list[float], early: list[float], classes: int, config: MeasureConfig, never_learned: int, images: int
) -> list[str]:
    lines, chance = [], 1 / classes
    if not accuracy:
        why = "a single seed trains on all images" if config.seeds < 2 else "nothing was held out"
        lines.append(f"{why}, so how well the classifier reads unseen ones is not known")
    elif float(np.mean(accuracy)) < min(2 * chance, (1 + chance) / 2):
        lines.append(
            f"the classifier reads {np.mean(accuracy):.0%} of unseen images right, hardly more than chance: its "
            "measures say little; train longer"
        )
    elif (begun := float(np.mean(early))) < chance + (1 - chance) / 4:
        lines.append(
            f"after epoch {config.early} the classifier read {begun:.0%} right and had hardly begun: EL2N and GraNd "
            "say little; read them later (early)"
        )
    if never_learned > images / 2:
        lines.append(f"{never_learned:,} of {images:,} images were never read right: forgetting cannot order them")
    return lines
