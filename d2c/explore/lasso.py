"""Which points of a map a lasso holds: even-odd rule, one slice of the sorted points an edge."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from d2c.errors import UsageError


def points_in_polygon(x: ArrayLike, y: ArrayLike, polygon: ArrayLike) -> NDArray[np.bool_]:
    """Whether each point lies inside a closed polygon, by the even-odd (crossing number) rule.

    `x`, `y` are [N] coordinates; `polygon` is [V, 2], its last vertex joined to its first. A polygon may
    cross itself: what it winds round twice is outside. An edge owns the points at its lower end and those to
    its right, so that of two polygons that share an edge exactly one holds a point on it. Points that are
    not numbers are outside; fewer than three vertices hold nothing.

    Cost: a sort of the points in the bounding box, then two or three passes over them however many vertices
    there are, since an edge looks only at the points between its ends' heights.

    Raises UsageError when the shapes do not fit or a vertex is not a number.
    """
    xs, ys = np.asarray(x, np.float64), np.asarray(y, np.float64)
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
    boxed = boxed[np.argsort(ys[boxed])]
    px, py = xs[boxed], ys[boxed]
    odd = np.zeros(len(boxed), bool)
    for (x1, y1), (x2, y2) in zip(corners, np.roll(corners, -1, 0), strict=True):
        if y1 == y2:
            continue  # a level edge is crossed by no level ray
        if y1 > y2:  # lower end first, so that a shared edge gives one and the same crossing
            x1, y1, x2, y2 = x2, y2, x1, y1
        first, last = np.searchsorted(py, (y1, y2), side="left")
        crossing = x1 + (py[first:last] - y1) * ((x2 - x1) / (y2 - y1))
        odd[first:last] ^= px[first:last] < crossing
    inside[boxed] = odd
    return inside
