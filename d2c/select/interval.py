"""Interval sampling, the paper's strategy."""

from __future__ import annotations

import numpy as np

from d2c.select.base import ClassView, MakeGenerator, Picks, SelectConfig


def interval(view: ClassView, config: SelectConfig, generator: MakeGenerator) -> Picks:
    """Every k-th image from easy to hard, starting at the offset.

    Source: D2C (arXiv 2507.05914), §"Select": ranks o, o + k, …, o + (m − 1)k of the class sorted by
    difficulty, with offset o = 0 in the paper; the hardest tail beyond o + (m − 1)k is left out. The
    paper does not say what a class does that has too few ranks. Here it gives m images all the same:

        o_c = min(o, n_c − m),    k_c = min(k, ⌊(n_c − 1 − o_c) / (m − 1)⌋),    m = 1: rank o_c alone

    and a class with n_c ≤ m gives all it has. Pick order is ascending, so with k_c = k a smaller budget
    is a prefix of a larger one. Cost: O(m) for a sorted class. Needs: scores.
    """
    n, m = len(view), config.per_class
    if n < m:
        return Picks(np.arange(n), lambda j: f"all {n} of the class")
    start = min(config.offset, n - m)
    step = config.interval if m == 1 else min(config.interval, (n - 1 - start) // (m - 1))
    return Picks(
        np.arange(start, start + (m - 1) * step + 1, step),
        lambda j: f"rank {start + j * step} = {start} + {j} × {step}",
        interval=step if step < config.interval else None,
        offset=start if start < config.offset else None,
    )
