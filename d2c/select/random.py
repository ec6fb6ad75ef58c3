"""Uniform sampling, the baseline every strategy must beat."""

from __future__ import annotations

import numpy as np

from d2c.select.base import ClassView, MakeGenerator, Picks, SelectConfig


def random(view: ClassView, config: SelectConfig, generator: MakeGenerator) -> Picks:
    """Uniform draw without replacement.

    The m images of the class with the smallest keys, in that order; an image's key is a 64-bit hash of (seed,
    sample_id): the same images whatever scorer ranked them and whatever other classes there are, and a smaller budget
    is a prefix of a larger one. Cost: O(n log n) for a new seed, O(m) for another budget. Needs: labels alone.
    """
    ranks = np.lexsort((view.sample_id, random_keys(view.sample_id, config)))[: config.per_class]
    return Picks(ranks, lambda j: f"random draw {j}")


def random_keys(sample_id: np.ndarray, config: SelectConfig) -> np.ndarray:
    """The keys by which images are drawn, uint64 [N]: SplitMix64 (Steele, Lea and Flood 2014) of seed and sample_id.

    Step i of the generator that the mixed seed begins, without the steps before it: a counter, so all images are
    hashed at once and each alone.
    """
    seed = mixed(np.array([config.seed], np.uint64) + _STEP)
    return mixed(seed + (sample_id.astype(np.uint64) + np.uint64(1)) * _STEP)


_STEP = np.uint64(0x9E3779B97F4A7C15)


def mixed(z: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser on uint64 [N], which maps distinct numbers to distinct ones."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)))
