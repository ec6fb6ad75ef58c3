"""The hard end of the ranking."""

from __future__ import annotations

import numpy as np

from d2c.select.base import ClassView, MakeGenerator, Picks, SelectConfig, Spread


def hardest(view: ClassView, config: SelectConfig, generator: MakeGenerator) -> Picks:
    """The m hardest images, hardest first: ranks n − 1, n − 2, ….

    The right arm of the paper's U: cluttered, noisy, ambiguous, and where damaged or mislabelled
    images gather. Nested. Cost: O(m) for a sorted class. Needs: scores.
    """
    last = len(view) - 1
    ranks = np.arange(last, last - min(config.per_class, len(view)), -1)
    return Picks(ranks, lambda j: f"hardest, rank {last - j}")


def hardest_spread(sizes: np.ndarray, config: SelectConfig) -> Spread:
    """The same in all classes at once."""
    return Spread((sizes - 1) - np.arange(min(config.per_class, int(sizes.max())))[:, None])
