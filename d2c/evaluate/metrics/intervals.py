"""95 % intervals: of a number by resampling the images it is a number of, and of several seeds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from d2c.evaluate.copying.measures import wilson

LEVEL = 0.95
Interval = tuple[float, float]


def draws(n: int, repeats: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """`repeats` times n rows out of n with replacement; draw i comes from (seed, i) alone."""
    for i in range(repeats):
        yield np.random.default_rng((seed, 1, i)).integers(0, n, n)


def around(value: float, resampled: ArrayLike, least: float = -np.inf, most: float = np.inf) -> Interval | None:
    """The interval about a value: the quantiles of its resampled values, moved so that their mean is the value.

    Rows drawn twice make distances larger and diversity smaller than they are; the move takes that out, and leaves how
    far the number swings at this number of images. (Efron & Tibshirani 1993, ch. 10 and 13.) Kept in least … most.
    Draws that say nothing (nan: of one image alone) are left out; None where nothing is left.
    """
    found = np.asarray(resampled, np.float64)
    found = found[np.isfinite(found)]
    if not len(found):
        return None
    low, high = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) - found.mean() + value
    return float(np.clip(low, least, most)), float(np.clip(high, least, most))


def of_mean(values: ArrayLike, repeats: int, seed: int, most: float = np.inf) -> Interval | None:
    """The interval of the mean of values [n] ≥ 0 by the bootstrap; of a share (yes or no, `most` is 1) Wilson's (1927).

    Resampled, 64 of 64 would be sure to be everything.
    """
    rows = np.asarray(values, np.float64)
    if most == 1.0 and np.isin(rows, (0.0, 1.0)).all():
        return wilson(int(rows.sum()), len(rows))
    return around(float(rows.mean()), [rows[d].mean() for d in draws(len(rows), repeats, seed)], 0.0, most)


def of_seeds(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean, lower and upper end over independent seeds by Student's t; both ends are nan for a single one."""
    from scipy.special import stdtrit

    rows = np.asarray(values, np.float64)
    mean, n = float(rows.mean()), len(rows)
    if n < 2:
        return mean, float("nan"), float("nan")
    reach = float(stdtrit(n - 1, (1 + LEVEL) / 2) * rows.std(ddof=1) / np.sqrt(n))
    return mean, mean - reach, mean + reach
