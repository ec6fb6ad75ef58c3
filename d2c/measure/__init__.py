"""Training dynamics: what the training of our own small classifier says about each image."""

from d2c.measure.verb import MEASURES, MeasureConfig, measure

__all__ = ["MEASURES", "MeasureConfig", "measure"]
