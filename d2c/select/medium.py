"""The middle of the ranking."""

from __future__ import annotations

import numpy as np

from d2c.select.base import ClassView, MakeGenerator, Picks, SelectConfig


def medium(view: ClassView, config: SelectConfig, generator: MakeGenerator) -> Picks:
    """A window of m ranks round the class median, growing both ways.

    Source: the paper's "medium" variant, which it finds worse than interval. Pick order is the (lower)
    median c = ⌊(n − 1)/2⌋, then c + 1, c − 1, c + 2, …: nested, and inside the class for every m ≤ n.
    Cost: O(m) for a sorted class. Needs: scores.
    """
    centre = (len(view) - 1) // 2
    j = np.arange(min(config.per_class, len(view)))
    away = np.where(j % 2 == 1, (j + 1) // 2, -(j // 2))
    return Picks(centre + away, lambda i: f"median {away[i]:+d}" if i else "median")
