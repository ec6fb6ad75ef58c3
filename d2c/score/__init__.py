"""How difficult each image is to a trained diffusion model. Free of torch until something is scored."""

from d2c.score.verb import ScoreConfig, score

__all__ = ["ScoreConfig", "score"]
