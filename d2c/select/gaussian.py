"""Instance selection: where the class is dense."""

from __future__ import annotations

import numpy as np

from d2c.select.base import ClassView, MakeGenerator, Picks, SelectConfig
from d2c.select.rows import Doubles, by_id, centred


def gaussian(view: ClassView, config: SelectConfig, generator: MakeGenerator) -> Picks:
    """The most likely under a Gaussian of the class's features: the typical, without the odd.

    Source: instance selection for GANs (DeVries et al. 2020, arXiv 2007.15255). In each class the m largest

        log p(x) = −½ (x − μ)ᵀ Σ⁻¹ (x − μ) + const

    Their Σ has 1e-5 added to its diagonal, which says nothing where a class has fewer images than features: all
    are then equally likely. Ours is shrunk towards (tr Σ/d)·I by the oracle approximation (Chen et al. 2010, see
    `shrunk`). Ties by sample_id. Nested. Cost: O(n·d² + d³) a class, in float64. Needs: features; not the scores.
    """
    order = by_id(view)
    x, square = centred(view, order)
    scale = float(square.max(initial=0))
    # Of one image, or where all are alike, there is no covariance.
    mahalanobis = np.einsum("ij,ji->i", x, np.linalg.solve(shrunk(x), x.T)) if scale > 0 else square
    picks = np.argsort(np.round(mahalanobis, 8), kind="stable")[: config.per_class]
    return Picks(order[picks], lambda j: f"Mahalanobis distance {np.sqrt(max(mahalanobis[picks[j]], 0)):.3g}")


def shrunk(x: Doubles) -> Doubles:
    """The covariance [d, d] of centred rows, (1 − ρ)S + ρ(tr S/d)I, positive definite where the rows are not all 0.

    ρ = min(1, (tr S² + tr² S) / ((n + 1)(tr S² − tr² S/d))), S over n: OAS, Chen et al. 2010, without its terms in
    2/d, as in scikit-learn.
    """
    n, d = x.shape
    s = x.T @ x / n
    trace, of_square = float(np.trace(s)), float(np.einsum("ij,ij->", s, s))
    below = (n + 1) * (of_square - trace**2 / d)
    rho = 1.0 if below <= 0 else min(1.0, (of_square + trace**2) / below)
    found: Doubles = (1 - rho) * s + rho * trace / d * np.eye(d)
    return found
