"""Measures of copying, each a short function of distances.

What they need: the nearest training images of each sample, and the same of real images that were not trained on,
without which no number says whether it is far from what real images give. Sources and what each misses:
docs/judging.md.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
ENOUGH = 100  # held-out images below which their 1st percentile is not one
THIRD = 1 / 3  # of the distance to the second nearest
ALPHA, FIFTY = 0.5, 50
CELL = 20  # samples and held-out images that a class must have to be a cell of its own


@dataclasses.dataclass(frozen=True)
class Closeness:
    """Distances of samples to the training images beside those of real held-out images.

    `ratio` = median / held_out_median: 1 for a sampler of the real distribution, near 0 for a copy machine.
    `share_below` is the share of samples nearer than the held-out images' 1st percentile: about 0.01 by
    definition for real images, and None with fewer than 100 held-out ones. `hit` counts the distinct training
    images that are nearest to some sample.
    None where there are no held-out images, or where they coincide with training images.
    """

    median: float
    held_out_median: float | None
    ratio: float | None
    first_percentile: float | None
    share_below: float | None
    hit: int


def closeness(samples: Floats, held_out: Floats, hit: Ints) -> Closeness:
    """Compare distances of samples [N] and of held-out images [H] to their nearest training image."""
    median = float(np.median(samples))
    distinct = len(np.unique(hit))
    if len(held_out) == 0:
        return Closeness(median, None, None, None, None, distinct)
    usual = float(np.median(held_out))
    ratio = median / usual if usual > 0 else None
    if len(held_out) < ENOUGH:
        return Closeness(median, usual, ratio, None, None, distinct)
    first = float(np.quantile(held_out, 0.01))
    return Closeness(median, usual, ratio, first, float(np.mean(samples < first)), distinct)


def singled_out(first: Floats, second: Floats) -> Floats:
    """d1/d2 [N]: how much nearer the nearest training image is than the second nearest. 0 for an exact copy.

    1 where there is no second.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(np.isinf(second), 1, first / second)
    return np.where(first > 0, ratio, 0).astype(np.float32)


def memorised(first: Floats, second: Floats) -> Bools:
    """Which samples [N] are memorised: d1/d2 < 1/3 (Yoon et al. 2023; Gu et al., TMLR 2025, both on pixels).

    A sample at distance 0 is, even of an image that is in the training set twice.
    """
    return singled_out(first, second) < THIRD


def relative_distance(distances: Floats, alpha: float = ALPHA) -> Floats:
    """d1 / (α · mean distance of the n nearest) [N], of distances [N, n] (Carlini et al. 2023, 2301.13188).

    n = 50 and α = ½ there, and below 1 is an extraction: nearer than half of what is usual around there.
    """
    usual = alpha * distances.mean(axis=1, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(usual > 0, distances[:, 0] / usual, 0).astype(np.float32)


def authenticity(first: Floats, index: Ints, own: Floats) -> float:
    """AuthPct: per cent of samples further from their training image than that is from its nearest other one.

    `first` [N] and `index` [N] are of the samples, `own` [M] the training images' distances to each other (Alaa et
    al. 2022, 2102.08921; as dgm-eval has it, 2306.04675). Low is copying; what is high depends on M and on the
    data, so real held-out images stand beside.
    """
    return float(100 * np.mean(own[index] < first))


def mann_whitney_z(samples: ArrayLike, held_out: ArrayLike) -> float:
    """The z of the Mann–Whitney U of distances [N] over [H]: (U − NH/2) / √(NH(N + H + 1)/12), ties counting half.

    Below 0: samples are nearer to the training images than held-out ones are. (Meehan et al. 2020, 2004.05675.)
    """
    d, real = np.asarray(samples, np.float64), np.sort(np.asarray(held_out, np.float64))
    n, m = len(d), len(real)
    above = np.searchsorted(real, d, "left").sum() + np.searchsorted(real, d, "right").sum()
    return float((above / 2 - n * m / 2) / np.sqrt(n * m * (n + m + 1) / 12))


@dataclasses.dataclass(frozen=True)
class Ct:
    """C_T, over which cells it was taken, and their number."""

    value: float | None
    cells: str  # "classes" or "pooled"
    count: int


def data_copying(
    samples: Floats, labels: Ints, held_out: Floats, held_labels: Ints, pooled: tuple[Floats, Floats]
) -> Ct:
    """C_T of distances to the training images of one's own class: the z of each class, weighted by its held-out images.

    Meehan et al. 2020 (2004.05675), with the classes for cells: those with 20 samples and 20 held-out images. Where
    they hold less than 9/10 of the samples, one z of `pooled`, the distances over all classes. None with fewer than
    two held-out images.
    """
    found, weights, reached = [], [], 0
    for label in np.unique(labels):
        mine, real = samples[labels == label], held_out[held_labels == label]
        if min(len(mine), len(real)) >= CELL:
            found.append(mann_whitney_z(mine, real))
            weights.append(len(real))
            reached += len(mine)
    if found and reached >= 0.9 * len(samples):
        return Ct(float(np.average(found, weights=weights)), "classes", len(found))
    if min(len(pooled[0]), len(pooled[1])) < 2:
        return Ct(None, "pooled", 0)
    return Ct(mann_whitney_z(*pooled), "pooled", 1)


def wilson(hits: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of `hits` in n (Wilson 1927); (0, 1) of nothing."""
    if n == 0:
        return 0.0, 1.0
    share, spread = hits / n, z * z / n
    middle = (share + spread / 2) / (1 + spread)
    half = z * np.sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    return max(float(middle - half), 0.0), min(float(middle + half), 1.0)
