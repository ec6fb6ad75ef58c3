"""Judging a run where its held-out gap is best: known only where training keeps snapshots."""

from __future__ import annotations

import importlib
import importlib.util

from d2c.artifacts import Artifact
from d2c.config import options_of


def possible() -> bool:
    """Whether this d2c keeps snapshots of a run and can judge one of them."""
    from d2c.evaluate.verb import EvaluateConfig
    from d2c.train.verb import TrainConfig

    known = {o.name for o in options_of(TrainConfig)} >= {"snapshots"}
    return known and any(o.name == "step" for o in options_of(EvaluateConfig)) and _room() is not None


def best_of(run: Artifact) -> int:
    """The step with the lowest held-out loss; 0 where that is the end, or where no snapshot was kept."""
    if _room() is None:
        return 0
    rooms = importlib.import_module("d2c.train.snapshots")
    best = int(rooms.best_snapshot(run))
    return 0 if best >= int(run.facts.get("steps") or 0) else best


def _room() -> object | None:
    return importlib.util.find_spec("d2c.train.snapshots")
