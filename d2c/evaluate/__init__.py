"""Judging a run: distances on a stated extractor, what a classifier reads in the samples, and copying."""

from d2c.evaluate.verb import EvaluateConfig, evaluate

__all__ = ["EvaluateConfig", "evaluate"]
