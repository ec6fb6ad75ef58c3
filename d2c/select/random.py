"""Uniform sampling, the baseline every strategy must beat."""

from __future__ import annotations

import numpy as np

from d2c.select.base import ClassView, MakeGenerator, Picks, SelectConfig


def random(view: ClassView, config: SelectConfig, generator: MakeGenerator) -> Picks:
    """Uniform draw without replacement.

    The first m of a permutation of the class in sample_id order, from a generator seeded by
    (seed, label): the same images whatever scorer ranked them, and a smaller budget is a prefix of a
    larger one. Cost: O(n log n). Needs: labels alone.
    """
    by_id = np.argsort(view.sample_id)  # by_id[i] = rank of the class's i-th smallest sample_id
    ranks = by_id[generator().permutation(len(view))[: config.per_class]]
    return Picks(ranks, lambda j: f"random draw {j}")
