"""K-Center greedy: nobody far from a pick."""

from __future__ import annotations

import numpy as np

from d2c.select.base import ClassView, MakeGenerator, Picks, SelectConfig
from d2c.select.rows import by_id, centred, first_largest


def kcenter(view: ClassView, config: SelectConfig, generator: MakeGenerator) -> Picks:
    """Covers the class: each pick is the image farthest from all picks before it (K-Center greedy).

    Source: Gonzalez 1985; for coresets Sener & Savarese 2018 (arXiv 1708.00489). In each class

        s_1 = the medoid,    s_j = argmax over x of min over i < j of ‖x − s_i‖

    so that the largest distance of any image to its nearest pick is at most twice the best that m centres reach.
    Only the running minimum is kept, never all distances. The medoid (ours; others draw the first) is the image
    nearest the class's mean, which is where the sum of squared distances is least. Euclidean, on the features as
    stored. Ties by sample_id. Nested. Cost: O(n·m·d) a class, in float64. Needs: features; not the scores.
    """
    order = by_id(view)
    x, square = centred(view, order)
    scale = float(square.max(initial=0))
    picks, radii = [], []
    nearest = np.full(len(x), np.inf)
    for j in range(min(config.per_class, len(x))):
        at = first_largest(nearest if j else -square, scale)
        radii.append(float(np.sqrt(max(nearest[at], 0))))
        picks.append(at)
        np.minimum(nearest, np.maximum(square - 2 * (x @ x[at]) + square[at], 0), out=nearest)
        nearest[at] = -1  # never again, not even where all that is left are copies
    return Picks(order[picks], lambda j: f"farthest from {j} picks: {radii[j]:.3g}" if j else "medoid")
