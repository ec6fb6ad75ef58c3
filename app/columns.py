"""The columns of maps, read once and shared by the pages and by the routes that send them to a browser."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from d2c.artifacts import Artifact
from d2c.explore import points as on_map
from d2c.explore.neighbours import near_duplicates
from d2c.explore.points import Points
from d2c.explore.view import View, mask
from d2c.select.made import ids_in_dataset

T = TypeVar("T")
_SAMPLES = ["sample_id", "label"]


class _Kept:
    """A few results by artifact (path and fingerprint) and further words; the one not asked for longest goes.

    A page and a route that want the same at once wait for one making of it.
    """

    def __init__(self, most: int) -> None:
        @functools.lru_cache(maxsize=most)
        def kept(key: tuple[Any, ...], make: _Once) -> Any:
            return make.call()

        self._kept, self._lock = kept, threading.RLock()

    def get(self, artifacts: tuple[Artifact | None, ...], words: tuple[Any, ...], make: Callable[[], T]) -> T:
        key = (*((a.path, a.fingerprint) for a in artifacts if a is not None), *words)
        with self._lock:
            found: T = self._kept(key, _Once(make))
        return found


class _Once:
    """A call that does not take part in a key."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.call = call

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Once)

    def __hash__(self) -> int:
        return 0


_POINTS, _COLUMNS, _MASKS, _FILES = _Kept(3), _Kept(16), _Kept(16), _Kept(6)


def points(made: Artifact) -> Points:
    """The points of a map with their labels."""

    def make() -> Points:
        samples = made.parent("datasets").table("samples.parquet", _SAMPLES)
        return on_map.points_of(made.table("map.parquet"), samples)

    return _POINTS.get((made,), (), make)


def percent(made: Artifact, scores: Artifact) -> np.ndarray:
    """Each point's place from the easiest (0) to the hardest (100), NaN where it was not scored."""
    return _COLUMNS.get(
        (made, scores), ("percent",), lambda: on_map.read_only(on_map.percent_from_easy(points(made), _table(scores)))
    )


def chosen(made: Artifact, subset: Artifact) -> np.ndarray:
    """Whether each point is in a chosen set."""

    def make() -> np.ndarray:
        rows = points(made).rows_of(ids_in_dataset(subset))
        held = np.zeros(len(points(made)), bool)
        held[rows[rows >= 0]] = True
        return np.asarray(on_map.read_only(held))

    return _COLUMNS.get((made, subset), ("chosen",), make)


def pairs(made: Artifact, threshold: float) -> pd.DataFrame:
    """Pairs of images nearer than a threshold on 1 − cosine, the closest first."""
    found: pd.DataFrame = _COLUMNS.get((made,), ("pairs", threshold), lambda: near_duplicates(made, threshold))
    return found


def twins(made: Artifact, threshold: float) -> np.ndarray:
    """Whether each point has another that near."""

    def make() -> np.ndarray:
        near = pairs(made, threshold)
        rows = points(made).rows_of(np.concatenate([near["sample_id"], near["other"]]))
        held = np.zeros(len(points(made)), bool)
        held[rows[rows >= 0]] = True
        return np.asarray(on_map.read_only(held))

    return _COLUMNS.get((made,), ("twins", threshold), make)


def difficulty(made: Artifact, scores: Artifact) -> np.ndarray:
    """How hard each point is, NaN where it was not scored."""
    return _COLUMNS.get(
        (made, scores), ("difficulty",), lambda: on_map.read_only(on_map.aligned(points(made), _table(scores)))
    )


def seen(
    made: Artifact, view: View, scores: Artifact | None, subset: Artifact | None, second: Artifact | None = None
) -> np.ndarray:
    """Which points a view holds; `subset` and `second` are the chosen sets A and B."""

    def make() -> np.ndarray:
        found = mask(
            points(made),
            view,
            percent=percent(made, scores) if view.ranged and scores is not None else None,
            chosen=chosen(made, subset) if view.among != "all" and subset is not None else None,
            second=chosen(made, second) if view.paired and second is not None else None,
            twins=twins(made, view.alike) if view.alike is not None else None,
        )
        return np.asarray(on_map.read_only(found))

    # A chosen set that is not asked for must not part what is the same; which is A and which B is in the order.
    read = (scores if view.ranged else None, subset if view.among != "all" else None, second if view.paired else None)
    return _MASKS.get((made, *read), (view,), make)


def compared(artifacts: tuple[Artifact | None, ...], make: Callable[[], T]) -> T:
    """What is made of a map, two chosen sets and scores (None: without), kept by all of them."""
    return _COLUMNS.get(artifacts, ("compared", artifacts[-1] is None), make)


def packed(made: Artifact) -> bytes:
    """The points of a map as a browser reads them."""
    names = made.parent("datasets").json("classes.json")
    return _FILES.get((made,), ("points",), lambda: on_map.pack(points(made), [str(n) for n in names]))


def packed_levels(made: Artifact, scores: Artifact) -> bytes:
    """How hard each point is, as a browser reads it."""

    def make() -> bytes:
        return on_map.pack_levels(percent(made, scores), difficulty(made, scores))

    return _FILES.get((made, scores), ("levels",), make)


def version(*artifacts: Artifact | None) -> str:
    """What an address carries so that a browser may keep what it gives: the fingerprints of what it is made from."""
    return ".".join(a.fingerprint[:12] for a in artifacts if a is not None)


def _table(scores: Artifact) -> Any:
    return scores.table("scores.parquet", ["sample_id", "difficulty"])
