"""Two chosen sets of one data set beside each other: what they share, how hard each is, what each covers."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from d2c.errors import UsageError

NEAREST = 5  # the neighbour whose distance is an image's radius, as in `d2c.select.auto`
Bools = NDArray[np.bool_]
Doubles = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Overlap:
    """Two chosen sets A and B in numbers. Means are over their images, NaN where there is none.

    `jaccard` is |A ∩ B| / |A ∪ B| (Jaccard 1901), NaN where both are empty.
    """

    first: int
    second: int
    both: int
    neither: int
    difficulty_first: float
    difficulty_second: float

    @property
    def either(self) -> int:
        """Images in A, B or both."""
        return self.first + self.second - self.both

    @property
    def jaccard(self) -> float:
        """Shared images over all that either has."""
        return self.both / self.either if self.either else float("nan")


def overlap(first: Bools, second: Bools, difficulty: NDArray[Any] | None = None) -> Overlap:
    """What two sets of the same N images share; `first` and `second` mark them [N], `difficulty` is [N] or None.

    An image without a difficulty (NaN) takes no part in the means. Float64.

    Raises UsageError when the lengths differ.
    """
    _check(first, second, difficulty)
    both = int(np.count_nonzero(first & second))
    sizes = int(np.count_nonzero(first)), int(np.count_nonzero(second))
    means = [_mean(difficulty, marked) for marked in (first, second)]
    return Overlap(*sizes, both, len(first) - sum(sizes) + both, *means)


def by_class(
    first: Bools, second: Bools, label: NDArray[Any], classes: int, difficulty: NDArray[Any] | None = None
) -> pd.DataFrame:
    """The same class by class: a row for each label 0 … classes − 1.

    Columns: label, images, first, second, both (int64), jaccard, difficulty_first, difficulty_second (float64;
    NaN where there is nothing to divide by).
    """
    _check(first, second, difficulty, label)

    def count(marked: Bools) -> NDArray[np.int64]:
        return np.bincount(label[marked], minlength=classes).astype(np.int64)

    def mean(marked: Bools) -> Doubles:
        if difficulty is None:
            return np.full(classes, np.nan)
        known = marked & np.isfinite(difficulty)
        sums = np.bincount(label[known], difficulty[known].astype(np.float64), minlength=classes)
        return _ratio(sums, count(known))

    a, b, both = count(first), count(second), count(first & second)
    return pd.DataFrame(
        {
            "label": np.arange(classes),
            "images": count(np.ones(len(label), bool)),
            "first": a,
            "second": b,
            "both": both,
            "jaccard": _ratio(both, a + b - both),
            "difficulty_first": mean(first),
            "difficulty_second": mean(second),
        }
    )


def coverage(
    features: Any, label: NDArray[Any], classes: int, *sets: Bools, most: int = 0, nearest: int = NEAREST
) -> Doubles:
    """The share of each class that each chosen set covers [classes, sets], float64.

    An image is covered by a set when one of the set's images of its class is no farther from it than its
    `nearest`-th nearest other image of the class (Naeem et al. 2020, as in `prdc`; here the chosen are of the
    class, so each covers itself). `features` [N, d] may be a memory map; row i belongs to `label[i]`. Distances
    are Euclidean. Of each class at most `most` images are asked whether they are covered (0: all), spread evenly
    over it; radii and sets are whole. NaN for a class that is empty, 0 where a set has none of a class.

    Cost: most · n · d multiplications a class of n; a class is read at once, 8·n·d bytes.
    """
    _check(*sets, label)
    order = np.argsort(label, kind="stable")
    starts = np.searchsorted(label[order], np.arange(classes + 1))
    found = np.full((classes, len(sets)), np.nan)
    for index in range(classes):
        rows = np.sort(order[starts[index] : starts[index + 1]])
        if len(rows):
            x = np.asarray(features[rows], np.float64)
            found[index] = _covered(x, [marked[rows] for marked in sets], most, nearest)
    return found


def _covered(x: Doubles, sets: list[Bools], most: int, nearest: int) -> Doubles:
    n = len(x)
    x = x - x.mean(axis=0)  # fewer digits are lost in the difference below
    square = (x * x).sum(axis=1)
    slack = 1e-12 * float(square.max())
    asked = np.arange(n) if not 0 < most < n else np.linspace(0, n - 1, most).astype(np.int64)
    at = min(nearest, n - 1)
    covered = np.zeros(len(sets))
    for begin in range(0, len(asked), 1024):
        some = asked[begin : begin + 1024]
        far = square[some, None] + square - 2 * x[some] @ x.T
        own = np.arange(len(some)), some
        far[own] = 0
        closest = [far[:, marked].min(axis=1) if marked.any() else np.inf for marked in sets]
        far[own] = -np.inf  # itself stands first, whatever lies upon it
        radius = np.maximum(np.partition(far, at, axis=1)[:, at], 0) + slack  # alone in its class: 0
        covered += [np.count_nonzero(near <= radius) for near in closest]
    return np.asarray(covered / len(asked))


def _mean(difficulty: NDArray[Any] | None, marked: Bools) -> float:
    if difficulty is None:
        return float("nan")
    values = difficulty[marked].astype(np.float64)
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else float("nan")


def _ratio(part: NDArray[Any], whole: NDArray[Any]) -> Doubles:
    found: Doubles = np.divide(part, whole, out=np.full(len(part), np.nan), where=np.asarray(whole) > 0)
    return found


def _check(*columns: NDArray[Any] | None) -> None:
    lengths = {len(c) for c in columns if c is not None}
    if len(lengths) > 1:
        raise UsageError(f"two sets are compared over the same images, not over {sorted(lengths)} of them")
