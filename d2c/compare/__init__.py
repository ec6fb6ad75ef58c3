"""Comparing: a grid of runs that share every common parent, or runs side by side, in one table. Free of torch."""

from d2c.compare.verb import CompareConfig, compare

__all__ = ["CompareConfig", "compare"]
