"""Which points of a map a lasso holds: even-odd rule, one slice of the points by height an edge."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from d2c.errors import UsageError

STRIPES = 65_535  # of equal height over the polygon: as many as fit an integer that sorts by counting


def points_in_polygon(x: ArrayLike, y: ArrayLike, polygon: ArrayLike) -> NDArray[np.bool_]:
    """Whether each point lies inside a closed polygon, by the even-odd (crossing number) rule.

    `x`, `y` are [N] coordinates; `polygon` is [V, 2], its last vertex joined to its first. A polygon may
    cross itself: what it winds round twice is outside. An edge owns the points at its lower end and those to
    its right, so that of two polygons that share an edge exactly one holds a point on it. Points that are
    not numbers are outside; fewer than three vertices hold nothing.

    Cost: the points in the bounding box are put into stripes by height (a counting sort, ten times quicker
    than sorting numbers), then two or three passes over them however many vertices there are, since an edge
    looks only at the stripes between its ends. Stripes only narrow; every point is compared exactly.

    Raises UsageError when the shapes do not fit or a vertex is not a number.
    """
    xs, ys = np.asarray(x), np.asarray(y)
    corners = np.asarray(polygon, np.float64)
    if xs.ndim != 1 or xs.shape != ys.shape:
        raise UsageError(f"points need two coordinate lists of one length, not {xs.shape} and {ys.shape}")
    inside = np.zeros(len(xs), bool)
    if corners.size == 0:
        return inside
    if corners.ndim != 2 or corners.shape[1] != 2 or not np.isfinite(corners).all():
        raise UsageError("a lasso is a list of (x, y) vertices, all of them numbers")
    if len(corners) < 3:
        return inside
    (left, low), (right, high) = corners.min(0), corners.max(0)
    boxed = np.flatnonzero((xs >= left) & (xs <= right) & (ys >= low) & (ys <= high))
    if len(boxed) == 0 or not high > low:
        return inside

    def stripe(heights: NDArray[np.float64]) -> NDArray[np.uint16]:
        # Never falls as heights rise, which is all that is asked of it.
        return np.asarray(np.minimum((heights - low) / (high - low) * STRIPES, STRIPES), np.uint16)

    stripes = stripe(ys[boxed].astype(np.float64))
    order = np.argsort(stripes, kind="stable")
    boxed, stripes = boxed[order], stripes[order]
    px, py = xs[boxed].astype(np.float64), ys[boxed].astype(np.float64)
    odd = np.zeros(len(boxed), bool)
    for (x1, y1), (x2, y2) in zip(corners, np.roll(corners, -1, 0), strict=True):
        if y1 == y2:
            continue  # a level edge is crossed by no level ray
        if y1 > y2:  # lower end first, so that a shared edge gives one and the same crossing
            x1, y1, x2, y2 = x2, y2, x1, y1
        bottom, top = stripe(np.array([y1, y2]))
        first = int(np.searchsorted(stripes, bottom, side="left"))
        last = int(np.searchsorted(stripes, top, side="right"))
        here = py[first:last]
        crossing = x1 + (here - y1) * ((x2 - x1) / (y2 - y1))
        odd[first:last] ^= (px[first:last] < crossing) & (here >= y1) & (here < y2)
    inside[boxed] = odd
    return inside
