"""The easy end of the ranking."""

from __future__ import annotations

import numpy as np

from d2c.select.base import ClassView, MakeGenerator, Picks, SelectConfig, Spread


def easiest(view: ClassView, config: SelectConfig, generator: MakeGenerator) -> Picks:
    """The m easiest images: ranks 0 … m − 1.

    The left arm of the paper's U of gFID over segments of the ranked set: clean pictures, little
    variety. Interval sampling with k = 1. Nested. Cost: O(m) for a sorted class. Needs: scores.
    """
    return Picks(np.arange(min(config.per_class, len(view))), lambda j: f"easiest, rank {j}")


def easiest_spread(sizes: np.ndarray, config: SelectConfig) -> Spread:
    """The same in all classes at once."""
    j = np.arange(min(config.per_class, int(sizes.max())))
    return Spread(np.repeat(j[:, None], len(sizes), axis=1))
