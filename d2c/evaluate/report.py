"""Everything a report says: three rows of numbers, nearness to the training images, and warnings."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from d2c.artifacts import Artifact, Build
from d2c.device import pick
from d2c.errors import D2CError
from d2c.evaluate.classifier import FEATURES
from d2c.evaluate.copying.judge import facts_of as facts_of_copying
from d2c.evaluate.copying.judge import judge_copying, nearest_of
from d2c.evaluate.extractors import extractors_of
from d2c.evaluate.groups import Drawn, Group, Subjects, draw_like, draw_rows, read_groups, seen_in_training, without
from d2c.evaluate.measuring import Entry, Label, Measure, reference_of, said_of_intervals
from d2c.evaluate.metrics import frechet_of_features
from d2c.evaluate.warn import warnings_of

if TYPE_CHECKING:
    from d2c.evaluate.verb import EvaluateConfig

__all__ = ["Group", "Subjects", "draw_like", "seen_in_training", "write_report"]

NAME = "classifier"


def write_report(build: Build, subjects: Subjects, config: EvaluateConfig) -> None:
    """Fill the folder of a report; see `d2c.evaluate.evaluate` for what is in it."""
    table = subjects.samples.table("samples.parquet")
    drawn = draw_rows(subjects, table, config.seed)
    samples, real, control, train = read_groups(build, subjects, table, drawn, config)
    metrics = of_classifier(build, samples, real, train, drawn, config)
    extractors = [_extractor(subjects.judge)]
    metrics += _further(build, subjects, table, drawn, config, extractors)
    copying = judge_copying(build, subjects, samples, control, train, config)
    names = [str(n) for n in subjects.dataset.json("classes.json")]
    pairs = pd.read_parquet(build.folder / "nearest.parquet")
    by_class = per_class(samples, pairs, names).merge(distances_by_class(samples, real, drawn, len(names)), on="label")
    by_class.to_parquet(build.folder / "per_class.parquet", index=False)
    rows = [row_of(name, metrics) for name in ("samples", "held_out", "copies")]
    report = {
        "extractor": extractors[0],
        "extractors": extractors,
        "reference": {"dataset": subjects.dataset.name, "images": len(real), "splits": "all"}
        | ({"file": config.reference} if config.reference else {}),
        "training": {"artifact": f"{subjects.trained_on.kind}/{subjects.trained_on.name}", "images": len(train)},
        "samples": _drawn(subjects),
        "rows": rows,
        "metrics": metrics,
        "intervals": said_of_intervals(config.intervals),
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
        warnings=report["warnings"],
        **facts_of(metrics),
        **facts_of_copying(copying),
    )


def of_classifier(
    build: Build, samples: Group, real: Group, train: Group, drawn: Drawn, config: EvaluateConfig
) -> list[Entry]:
    """The numbers on our own classifier's features. Held-out images are compared with the other real ones."""
    build.progress.stage("distances", 3, "row")
    measure = Measure(Label(NAME), config.intervals, config.seed, pick(config.device))
    every = reference_of(real.features)
    others = reference_of(real.features[without(len(real), drawn.held_out)])
    told = []
    for name, group, reference in (
        ("samples", samples, every),
        ("held_out", real.take(drawn.held_out), others),
        ("copies", train.take(drawn.copies), every),
    ):
        told.append(measure.accuracy(name, group.read_as == group.labels))
        told += measure.of(name, {"features": group.features}, reference)
        build.progress.advance()
    return told


def _further(
    build: Build,
    subjects: Subjects,
    table: pd.DataFrame,
    drawn: Drawn,
    config: EvaluateConfig,
    extractors: list[dict[str, Any]],
) -> list[Entry]:
    """The same on other networks' features; what they are is added to `extractors`."""
    from d2c.evaluate.extracting import Work, measured_by
    from d2c.evaluate.extractors.base import open_extractor

    device, told = pick(config.device), []
    work = Work(build, subjects, table, drawn, config)
    for asked in extractors_of(config.extractors)[1:]:
        extractor = open_extractor(asked, device)
        label = Label(extractor.label, extractor.kind == "inception" and extractor.published)
        told += measured_by(work, extractor, Measure(label, config.intervals, config.seed, device))
        extractors.append({"name": extractor.label, "kind": extractor.kind, **extractor.about})
    return told


def row_of(name: str, metrics: list[Entry]) -> dict[str, Any]:
    """FD, KID (mean and spread over subsets) and accuracy of a group; None where there are too few images.

    KID is unbiased for independent images; groups balanced over classes vary less, so that real ones come out
    below zero.
    """
    of = {e["metric"]: e for e in metrics if e["of"] == name and e["extractor"] == NAME}
    return {
        "row": name,
        "images": of["fd"]["images"],
        "fd": of["fd"]["value"],
        "kid": of["kid"]["value"],
        "kid_spread": of["kid"].get("spread"),
        "accuracy": of["accuracy"]["value"],
    }


def facts_of(metrics: list[Entry]) -> dict[str, float | None]:
    """The samples' numbers as facts: by metric those of the classifier, by their whole name those of others."""
    told = {}
    for entry in metrics:
        if entry["of"] != "samples":
            continue
        if entry["extractor"] != NAME:
            told[re.sub(r"[^a-z0-9]+", "_", entry["name"].lower()).strip("_")] = entry["value"]
        if entry["metric"] not in ("accuracy", "fd", "kid", *told) and (
            entry["extractor"] == NAME or entry["metric"] == "is"
        ):
            told[entry["metric"]] = entry["value"]
    return told


def distances_by_class(samples: Group, real: Group, drawn: Drawn, classes: int) -> pd.DataFrame:
    """FD-classifier of each class, a row each, and of as many of its real held-out images: its floor.

    A class has few images, so both are biased upwards: one is read beside the other. None below two images.
    """
    rows = []
    rest = without(len(real), drawn.held_out)
    for label in range(classes):
        mine, of = samples.features[samples.labels == label], real.labels == label
        held_out = drawn.held_out[of[drawn.held_out]]
        rows.append(
            {
                "label": label,
                "fd": _distance(mine, real.features[of]),
                "fd_held_out": _distance(real.features[held_out], real.features[of & rest]),
                "held_out": len(held_out),
            }
        )
    return pd.DataFrame(rows).astype({"label": np.int32, "fd": np.float64, "fd_held_out": np.float64})


def _distance(x: NDArray[np.float32], y: NDArray[np.float32]) -> float | None:
    try:
        return frechet_of_features(x, y)
    except D2CError:  # too few
        return None


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
    return found.reset_index(drop=True)


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
