"""At which times to ask, and how much each answer counts.

The score is the mean error over the clock. K midpoints of equal parts estimate it; they spend most of their
evaluations where images hardly differ. A pilot measures where they do: the spread s(t) between images of one class
of a single evaluation, signal and noise together, on a few images. Parts of equal mass of the density

    q(t) ∝ max(s_ε(t) / mean s_ε, ½ · s_v(t) / mean s_v),  at least 15 % of its mean,

get one evaluation each, weighted by how long the part is, so the estimate stays that of the same mean (importance
sampling, stratified). The ε term serves the score itself, the v term keeps re-weighted scores usable. docs/estimator.md
says what the constants were chosen on.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from d2c.score.weighting import error_weights

#: of the pilot: classes, images of each at most, and times at which each is asked once.
CLASSES, EACH, TIMES = 8, 8, 32
SHARE = 1 / 8  # of a small job's evaluations that the pilot may take, though never fewer than 16 images
V_SHARE, FLOOR = 0.5, 0.15
GRIDS = ("pilot", "uniform")


@dataclasses.dataclass(frozen=True, eq=False)
class Grid:
    """Places on the clock, from 0 to 1 [K] ascending, and the quadrature [K] that sums to 1; float64."""

    places: np.ndarray
    quadrature: np.ndarray


def uniform(count: int) -> Grid:
    """Midpoints of K equal parts."""
    return Grid((np.arange(count) + 0.5) / count, np.full(count, 1 / count))


def density(errors: np.ndarray, labels: np.ndarray, alpha: np.ndarray, sigma: np.ndarray, native: str) -> np.ndarray:
    """Where evaluations tell images of a class apart: float64 [G], mean about 1.

    `errors` [n, G] are single evaluations under shared noise at G equal parts of the clock, of kind `native`;
    alpha and sigma [G] are the path's there. A class of one image says nothing; without any other it is flat.
    """
    spreads = []
    for kind in ("eps", "v"):
        weighted = errors.astype(np.float64) * error_weights(alpha, sigma, native, kind)
        groups = [weighted[labels == c] for c in np.unique(labels)]
        centred = np.concatenate([group - group.mean(axis=0) for group in groups])
        spread = np.sqrt(np.square(centred).mean(axis=0))
        if not np.isfinite(spread).all() or spread.mean() <= 0:
            return np.ones(errors.shape[1])
        spreads.append(spread / spread.mean())
    found = np.maximum(spreads[0], V_SHARE * spreads[1])
    # Rounded, so that the last bits of another machine's arithmetic do not move the times.
    return np.asarray(np.round(np.maximum(found, FLOOR * found.mean()), 2) + 0.01)


def tuned(mass: np.ndarray, count: int) -> Grid:
    """One place in each of K parts of equal mass of a density [G] over equal cells of the clock."""
    edges = np.concatenate([[0.0], np.cumsum(mass) / mass.sum()])
    cells = np.arange(len(edges)) / len(mass)
    places = np.interp((np.arange(count) + 0.5) / count, edges, cells)
    parts = np.interp(np.arange(count + 1) / count, edges, cells)
    return Grid(np.round(places, 4), np.diff(parts))


def pilot_rows(labels: np.ndarray, keys: np.ndarray, evaluations: int) -> np.ndarray:
    """The images of the pilot: those of least key in each of the classes whose first key is least. Rows, ascending.

    `keys` are hashes of seed and sample id, so the choice does not depend on the order of the rows. Where there are
    fewer classes, more of each are taken; fewer images where the whole job is small.
    """
    images = int(np.clip(len(labels) * evaluations * SHARE / TIMES, 2 * CLASSES, CLASSES * EACH))
    order = np.lexsort((keys, labels))
    sorted_labels = labels[order]
    starts = np.flatnonzero(np.r_[True, np.diff(sorted_labels) != 0]) if len(order) else np.zeros(0, int)
    sizes = np.diff(np.r_[starts, len(order)])
    usable = np.flatnonzero(sizes > 1)
    first = usable[np.argsort(keys[order][starts[usable]], kind="stable")][:CLASSES]
    each = images // max(len(first), 1)
    rows = [order[starts[c] : starts[c] + min(each, sizes[c])] for c in first]
    return np.sort(np.concatenate(rows)) if rows else np.zeros(0, np.int64)
