"""The hard end of the ranking."""

from __future__ import annotations

import numpy as np

from d2c.select.base import ClassView, MakeGenerator, Picks, SelectConfig


def hardest(view: ClassView, config: SelectConfig, generator: MakeGenerator) -> Picks:
    """The m hardest images, hardest first: ranks n − 1, n − 2, ….

    The right arm of the paper's U: cluttered, noisy, ambiguous, and where damaged or mislabelled
    images gather. Nested. Cost: O(m) for a sorted class. Needs: scores.
    """
    last = len(view) - 1
    ranks = np.arange(last, last - min(config.per_class, len(view)), -1)
    return Picks(ranks, lambda j: f"hardest, rank {last - j}")
