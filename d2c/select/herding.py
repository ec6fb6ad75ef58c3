"""Herding: picks whose mean is the class's."""

from __future__ import annotations

import numpy as np

from d2c.select.base import ClassView, MakeGenerator, Picks, SelectConfig
from d2c.select.rows import by_id, centred, first_largest


def herding(view: ClassView, config: SelectConfig, generator: MakeGenerator) -> Picks:
    """Keeps the mean: each pick brings the picks' mean nearest to the class's (herding).

    Source: Welling 2009; for classes as in iCaRL (Rebuffi et al. 2017, arXiv 1611.07725). With μ the class's mean

        s_t = argmin over x of ‖ t·μ − (s_1 + … + s_{t−1}) − x ‖

    A much used reference takes the argmax in its place and does worse than random. Euclidean, on the features
    as stored. Ties by sample_id. Nested. Cost: O(n·m·d) a class, in float64. Needs: features; not the scores.
    """
    order = by_id(view)
    x, square = centred(view, order)  # μ = 0, so that the norm is ‖s_1 + … + s_{t−1} + x‖
    scale, total = float(square.max(initial=0)), np.zeros(x.shape[1])
    free = np.zeros(len(x))
    picks = []
    for t in range(min(config.per_class, len(x))):
        at = first_largest(free - square - 2 * (x @ total), scale * (t + 1))
        picks.append(at)
        free[at] = -np.inf
        total += x[at]
    return Picks(order[picks], lambda j: f"brings the mean of {j + 1} nearest" if j else "nearest to the mean")
