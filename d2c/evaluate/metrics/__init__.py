"""Numbers on features: pure functions, in float64 where it matters, each with its source.

None of them is FID or KID proper, which are what the Inception network of 2015-12-05 gives: with another
extractor they are called FD-<extractor> and KID-<extractor>. Free of torch until one is called that needs it.
"""

from d2c.evaluate.metrics.diversity import inception_score, vendi
from d2c.evaluate.metrics.frechet import Moments, frechet_distance, frechet_of_features, moments
from d2c.evaluate.metrics.kernel import kid, mmd2
from d2c.evaluate.metrics.manifold import density_coverage, precision_recall

__all__ = [
    "Moments",
    "density_coverage",
    "frechet_distance",
    "frechet_of_features",
    "inception_score",
    "kid",
    "mmd2",
    "moments",
    "precision_recall",
    "vendi",
]
