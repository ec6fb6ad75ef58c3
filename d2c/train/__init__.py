"""Training: the step, the weight average, checkpoints and metrics."""

from d2c.train.estimate import Estimate, estimate
from d2c.train.metrics import read_metrics
from d2c.train.verb import PRESETS, TrainConfig, train

__all__ = ["PRESETS", "Estimate", "TrainConfig", "estimate", "read_metrics", "train"]
