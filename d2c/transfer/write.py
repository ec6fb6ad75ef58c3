"""Training the classifiers of a transfer one after the other, and writing down how well each reads real images."""

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
from d2c.evaluate.classifier import fit, read
from d2c.evaluate.images import Pictures, real_images, sample_images
from d2c.evaluate.judge import LARGEST
from d2c.transfer.means import INTERVALS, mean_of
from d2c.transfer.split import Split, split
from d2c.transfer.tuning import Tuned, write_tuned

if TYPE_CHECKING:
    from d2c.transfer.verb import Subjects, TransferConfig

LINES = "classifiers.jsonl"  # one a classifier that is done; gone when all are
ARMS = ("real", "condensed", "random", "generated", "generated_more")
STREAM = 37  # of the draw of the random images


@dataclasses.dataclass(frozen=True)
class Pool:
    """What a classifier learns from: uint8 images [n, C, s, s] and labels [n]."""

    images: Pictures
    labels: NDArray[np.int64]


def write_transfer(build: Build, subjects: Subjects, tuned: Tuned | None, config: TransferConfig) -> None:
    """Fill the folder of a transfer; see `d2c.transfer.transfer` for what is in it."""
    device = pick(config.device)
    build.used(device, int(device.type == "cuda"))
    names = [str(n) for n in subjects.dataset.json("classes.json")]
    parted = split(subjects.dataset, subjects.condensed, config.held_out, config.seed)
    real, pools = _pools(build, subjects, parted)
    test = Pool(real[parted.test], parted.labels[parted.test])
    whole = Pool(real[parted.learn], parted.labels[parted.learn])
    seeds = range(config.seed, config.seed + config.seeds)
    arms = [arm for arm in ARMS if arm in pools or arm == "real" or (arm == "random" and "condensed" in pools)]
    done = _done(build)
    left = [(arm, seed) for arm in arms for seed in seeds if (arm, seed) not in done]
    build.progress.stage(
        "train classifiers", len(arms) * len(seeds) * config.steps, "step", done=len(done) * config.steps
    )
    for arm, seed in left:
        pool = _pool(arm, whole, pools, seed)
        model = fit(
            pool.images,
            pool.labels,
            len(names),
            steps=config.steps,
            batch=config.batch,
            seed=seed,
            device=device,
            each=lambda step, loss, arm=arm: build.progress.advance(1, loss=loss, images=arm.replace("_", " ")),  # type: ignore[misc]
        )
        right = read(model, test.images, device=device)[1] == test.labels
        line = {"arm": arm, "seed": seed, "images": len(pool.labels), "right": np.flatnonzero(right).tolist()}
        with (build.folder / LINES).open("a") as file:
            file.write(json.dumps(line) + "\n")
        done[arm, seed] = line
    table = per_class(done, test.labels, names)
    table.to_parquet(build.folder / "per_class.parquet", index=False)
    rows = [_row(arm, [done[arm, seed] for seed in seeds], len(test.labels)) for arm in arms]
    warnings = [*parted.warnings, *_thin(subjects, names)]
    to, more = write_tuned(build, tuned, config) if tuned is not None else (None, [])
    warnings += more
    said = {
        "held_out": {"images": len(test.labels), "how": parted.how, "dataset": subjects.dataset.name},
        "training": subjects.condensed.name if subjects.condensed is not None else subjects.dataset.name,
        "steps": config.steps,
        "batch": config.batch,
        "seeds": config.seeds,
        "intervals": INTERVALS,
        "samples": {arm: made.name for arm, made in subjects.drawn.items()},
        "arms": rows,
        "to": to,
        "warnings": warnings,
    }
    (build.folder / "transfer.json").write_text(json.dumps(said, indent=1, ensure_ascii=False, allow_nan=False))
    (build.folder / LINES).unlink()
    values = {row["arm"]: row["accuracy"]["value"] for row in rows}
    build.note(**{f"accuracy_{arm}": values.get(arm) for arm in ARMS})
    build.note(held_out_images=len(test.labels), seeds=config.seeds, steps=config.steps, warnings=warnings)
    if to is not None:
        by_arm = {each["arm"]: each for each in to["arms"]}
        build.note(
            to=to["dataset"], **{f"{k}_{arm}": by_arm[arm][k]["value"] for k in ("loss", "fd") for arm in by_arm}
        )


def _pools(build: Build, subjects: Subjects, parted: Split) -> tuple[Pictures, dict[str, Pool]]:
    """All images of the data set, and by arm what was chosen and drawn, at the size of the samples."""
    any_drawn: Artifact = next(iter(subjects.drawn.values()))
    size = int(any_drawn.facts["image_size"])
    side, channels = min(size, LARGEST), int(subjects.dataset.facts["channels"])
    condensed = subjects.condensed
    own, own_labels = labels_of(condensed) if condensed is not None else (np.zeros(0, np.int64),) * 2
    build.progress.stage("read images", len(parted.ids) + len(own))
    real = real_images(subjects.dataset, parted.ids, size, channels, side, build.progress)
    pools = {}
    if condensed is not None:
        pools["condensed"] = Pool(real_images(condensed, own, size, channels, side, build.progress), own_labels)
    for arm, samples in subjects.drawn.items():
        table = samples.table("samples.parquet")
        pools[arm] = Pool(sample_images(samples, table, channels, side), table["label"].to_numpy(np.int64))
    return real, pools


def _pool(arm: str, whole: Pool, pools: dict[str, Pool], seed: int) -> Pool:
    """What a classifier of an arm and a seed learns from; random images are other ones for every seed."""
    if arm == "real":
        return whole
    if arm != "random":
        return pools[arm]
    rows = []
    for label, n in zip(*np.unique(pools["condensed"].labels, return_counts=True), strict=True):
        of = np.flatnonzero(whole.labels == label)
        rows.append(np.random.default_rng((seed, STREAM, int(label))).permutation(of)[:n])
    chosen = np.sort(np.concatenate(rows))
    return Pool(whole.images[chosen], whole.labels[chosen])


def _done(build: Build) -> dict[tuple[str, int], dict[str, Any]]:
    """The classifiers that an earlier attempt finished."""
    found = {}
    file = build.folder / LINES
    for text in file.read_text().splitlines() if file.is_file() else []:
        try:
            line = json.loads(text)
        except ValueError:  # cut off
            continue
        found[line["arm"], line["seed"]] = line
    return found


def _row(arm: str, lines: list[dict[str, Any]], tested: int) -> dict[str, Any]:
    accuracy = mean_of([len(line["right"]) / tested for line in lines], share=True)
    return {"arm": arm, "images": lines[0]["images"], "accuracy": accuracy}


def per_class(done: dict[tuple[str, int], dict[str, Any]], labels: NDArray[np.int64], names: list[str]) -> pd.DataFrame:
    """A row an arm, seed and class that has test images: how many, and the share read right."""
    tested = np.bincount(labels, minlength=len(names))
    rows = []
    for (arm, seed), line in sorted(done.items(), key=lambda each: (ARMS.index(each[0][0]), each[0][1])):
        right = np.bincount(labels[np.asarray(line["right"], np.int64)], minlength=len(names))
        for label in np.flatnonzero(tested):
            share = float(right[label] / tested[label])
            rows.append((arm, seed, int(label), names[label], int(tested[label]), share))
    return pd.DataFrame(rows, columns=["arm", "seed", "label", "class", "images", "accuracy"]).astype(
        {"label": np.int32, "seed": np.int64}
    )


def _thin(subjects: Subjects, names: list[str]) -> list[str]:
    """Classes that a classifier had nothing to learn from."""
    said = []
    for arm, samples in subjects.drawn.items():
        there = set(samples.table("samples.parquet", ["label"])["label"].tolist())
        if len(there) < len(names) and arm == "generated":
            said.append(
                f"{len(names) - len(there)} of {len(names)} classes have no generated image: draw at least one a class"
            )
    if subjects.condensed is not None:
        there = set(labels_of(subjects.condensed)[1].tolist())
        if len(there) < len(names):
            said.append(f"{len(names) - len(there)} of {len(names)} classes have no image in the condensed set")
    return said
