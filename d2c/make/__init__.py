"""Strategies that make images instead of choosing some: SRe2L and RDED, which the paper compares itself with."""

from d2c.make.verb import make

__all__ = ["make"]
