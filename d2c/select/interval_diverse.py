"""Interval sampling with a choice: in each step the image least like those before."""

from __future__ import annotations

import numpy as np

from d2c.select.base import ClassView, MakeGenerator, Picks, SelectConfig
from d2c.select.interval import interval_spread
from d2c.select.rows import by_id, centred, first_largest


def interval_diverse(view: ClassView, config: SelectConfig, generator: MakeGenerator) -> Picks:
    """Of every k ranks, the image farthest from those picked so far, from easy to hard.

    Ours: interval sampling's ranks o_c, o_c + k_c, … (see `interval`) are where a step begins; K-Center's rule says
    which of the k_c ranks of that step is taken:

        s_1 = rank o_c,    s_j = argmax over ranks r in [o_c + (j − 1)k_c, o_c + j·k_c) of min over i < j of ‖x_r − s_i‖

    The spread over difficulty is that of interval sampling to within one step, and near-duplicates of a pick are
    passed over. The last step ends with the class or the `window`. Euclidean, on the features as stored. Ties
    by sample_id. Nested where k_c = k. Cost: O(n·m·d) a class, in float64. Needs: scores and features.
    """
    n, m = len(view), min(config.per_class, len(view))
    found = interval_spread(np.array([n]), config)
    assert found.interval is not None
    assert found.offset is not None
    start, step = int(found.offset[0]), int(found.interval[0])
    end = n if not config.window else start + min(n - start, max(config.window, m))
    order = by_id(view)
    x, square = centred(view, order)
    nearest, scale = np.full(n, np.inf), float(square.max(initial=0))
    picks = []
    for j in range(m):
        first, last = start + j * step, min(start + (j + 1) * step, end)
        there = np.flatnonzero((order >= first) & (order < (last if j else first + 1)))
        at = int(there[first_largest(nearest[there], scale)]) if j else int(there[0])
        picks.append(at)
        np.minimum(nearest, np.maximum(square - 2 * (x @ x[at]) + square[at], 0), out=nearest)
    ranks, enough = order[picks], n >= config.per_class
    return Picks(
        ranks,
        lambda j: (
            f"farthest from {j} picks among ranks {start + j * step} to {min(start + (j + 1) * step, end) - 1}"
            if j
            else f"rank {start}"
        ),
        interval=step if enough and step < config.k else None,
        offset=start if enough and start < config.offset else None,
    )
