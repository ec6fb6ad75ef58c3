"""The middle of the ranking."""

from __future__ import annotations

import numpy as np

from d2c.select.base import ClassView, MakeGenerator, Picks, SelectConfig, Spread


def medium(view: ClassView, config: SelectConfig, generator: MakeGenerator) -> Picks:
    """A window of m ranks round the class median, growing both ways.

    Source: the paper's "medium" variant, which it finds worse than interval. Pick order is the (lower)
    median c = ⌊(n − 1)/2⌋, then c + 1, c − 1, c + 2, …: nested, and inside the class for every m ≤ n.
    Cost: O(m) for a sorted class. Needs: scores.
    """
    away = outwards(min(config.per_class, len(view)))
    return Picks((len(view) - 1) // 2 + away, lambda i: f"median {away[i]:+d}" if i else "median")


def medium_spread(sizes: np.ndarray, config: SelectConfig) -> Spread:
    """The same in all classes at once."""
    return Spread((sizes - 1) // 2 + outwards(min(config.per_class, int(sizes.max())))[:, None])


def outwards(m: int) -> np.ndarray:
    """0, 1, −1, 2, −2 …: m steps from a middle, growing both ways."""
    j = np.arange(m)
    return np.where(j % 2 == 1, (j + 1) // 2, -(j // 2))
