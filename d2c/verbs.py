"""The verbs: one function, one configuration, one command and one kind of artifact each.

The table names modules instead of importing them, so that `d2c --help` and the app stay quick.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Verb:
    """One stage of the way. `takes` is what the argument names, `makes` the kind of artifact that comes out."""

    name: str
    argument: str
    takes: tuple[str, ...]
    makes: str
    module: str
    function: str
    config: str
    help: str
    many: bool = False  # takes one or more of `takes`

    def run(self) -> Callable[..., Any]:
        """The library function."""
        return getattr(importlib.import_module(self.module), self.function)  # type: ignore[no-any-return]

    def options(self) -> type:
        """The configuration class."""
        return getattr(importlib.import_module(self.module), self.config)  # type: ignore[no-any-return]


_TABLE = (
    Verb(
        "ingest",
        "SOURCE",
        (),
        "datasets",
        "d2c.data.ingest",
        "ingest",
        "IngestConfig",
        "Read a labelled set of images once: a folder, a .parquet, wds:, hf: or demo:digits",
    ),
    Verb(
        "score",
        "DATASET",
        ("datasets",),
        "scores",
        "d2c.score.verb",
        "score",
        "ScoreConfig",
        "Measure how hard a frozen diffusion model finds each image to denoise",
    ),
    Verb(
        "select",
        "SCORES",
        ("scores",),
        "subsets",
        "d2c.select.verb",
        "select",
        "SelectConfig",
        "Choose a small, spread-out subset of each class",
    ),
    Verb(
        "attach",
        "SUBSET",
        ("subsets",),
        "condensed",
        "d2c.attach.verb",
        "attach",
        "AttachConfig",
        "Store text embeddings and visual features beside the chosen images",
    ),
    Verb(
        "train",
        "CONDENSED",
        ("condensed", "datasets"),
        "runs",
        "d2c.train.verb",
        "train",
        "TrainConfig",
        "Train a SiT or DiT on a condensed set, or on a full data set for a scorer",
    ),
    Verb(
        "sample",
        "RUN",
        ("runs",),
        "samples",
        "d2c.diffusion.sample",
        "sample",
        "SampleConfig",
        "Generate images with a trained run",
    ),
    Verb(
        "evaluate",
        "RUN",
        ("runs",),
        "reports",
        "d2c.evaluate.verb",
        "evaluate",
        "EvaluateConfig",
        "Judge a run's samples beside real images and a copy machine, and say whether it copies",
    ),
    Verb(
        "transfer",
        "RUN",
        ("runs",),
        "transfers",
        "d2c.transfer.verb",
        "transfer",
        "TransferConfig",
        "Judge a run by what classifiers learn from it, and by what it brings to another data set",
    ),
    Verb(
        "map",
        "DATASET",
        ("datasets",),
        "maps",
        "d2c.explore.map",
        "map_",
        "MapConfig",
        "Lay a data set out in two dimensions, with neighbours",
    ),
    Verb(
        "measure",
        "DATASET",
        ("datasets",),
        "measures",
        "d2c.measure.verb",
        "measure",
        "MeasureConfig",
        "Train our own small classifier and keep how each image fared: EL2N, GraNd, forgetting, TDDS",
    ),
    Verb(
        "compare",
        "SUBJECT",
        ("scores", "runs"),
        "comparisons",
        "d2c.compare.verb",
        "compare",
        "CompareConfig",
        "Run a grid of experiments on scores, or put runs side by side, in one table",
        many=True,
    ),
)

VERBS = {verb.name: verb for verb in _TABLE}
