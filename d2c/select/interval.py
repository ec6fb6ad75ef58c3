"""Interval sampling, the paper's strategy."""

from __future__ import annotations

import numpy as np

from d2c.select.base import ClassView, MakeGenerator, Picks, SelectConfig, Spread


def interval(view: ClassView, config: SelectConfig, generator: MakeGenerator) -> Picks:
    """Every k-th image from easy to hard, starting at the offset.

    Source: D2C (arXiv 2507.05914), §"Select": ranks o, o + k, …, o + (m − 1)k of the class sorted by
    difficulty, with offset o = 0 in the paper; the hardest tail beyond o + (m − 1)k is left out. The
    paper does not say what a class does that has too few ranks. Here it gives m images all the same:

        o_c = min(o, n_c − m),    k_c = min(k, ⌊(e_c − 1 − o_c) / (m − 1)⌋),    m = 1: rank o_c alone

    and a class with n_c ≤ m gives all it has. e_c = n_c, or with a `window` of w ranks (ours) only ranks o_c … o_c +
    max(w, m) − 1 are: e_c = min(n_c, o_c + max(w, m)); one of fewer ranks than m is raised to m. A window tells spread
    from place: two windows of one width at two offsets differ in how hard their images are and not in how far apart.
    Pick order is ascending, so with k_c = k and o_c = o a smaller budget is a prefix of a larger one. Cost: O(m) for a
    sorted class. Needs: scores.
    """
    n, m = len(view), config.per_class
    if n < m:
        return Picks(np.arange(n), lambda j: f"all {n} of the class")
    found = interval_spread(np.array([n]), config)
    assert found.interval is not None
    assert found.offset is not None
    start, step = int(found.offset[0]), int(found.interval[0])
    return Picks(
        found.ranks[:, 0],
        lambda j: f"rank {start + j * step} = {start} + {j} × {step}",
        interval=step if step < config.k else None,
        offset=start if start < config.offset else None,
    )


def interval_spread(sizes: np.ndarray, config: SelectConfig) -> Spread:
    """The same in all classes at once."""
    m = config.per_class
    start = np.clip(sizes - m, 0, config.offset)
    end = start + np.minimum(sizes - start, max(config.window, m)) if config.window else sizes
    room = (end - 1 - start) // (m - 1) if m > 1 else config.k + 0 * sizes
    step = np.clip(room, 1, config.k)
    return Spread(start + np.arange(min(m, int(sizes.max())))[:, None] * step, step, start)
