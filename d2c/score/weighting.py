"""One stored table of errors, seen as ε-, v- or x0-error.

On any path x_t = α x + σ ε a prediction of one quantity gives the others, as x_t is known:
α (x̂ − x) = −σ (ε̂ − ε). With v = x − ε on straight paths (α + σ = 1) and v = α ε − σ x on
variance-preserving ones (α² + σ² = 1), in both cases

    ‖ε̂ − ε‖² = α² ‖v̂ − v‖²,        ‖x̂ − x‖² = σ² ‖v̂ − v‖² = (σ/α)² ‖ε̂ − ε‖².

So the three scores are weightings over the timesteps of one [N, K] table.
"""

from __future__ import annotations

import numpy as np

from d2c.errors import UsageError

WEIGHTINGS = ("eps", "v", "x0")


def error_weights(alpha: np.ndarray, sigma: np.ndarray, native: str, weighting: str) -> np.ndarray:
    """Factors that turn errors of `native` kind into errors of `weighting` kind: float64 [K].

    `alpha` and `sigma` are the path's coefficients at the K timesteps. Raises UsageError for a kind
    that is none of eps, v, x0.
    """
    a2, s2 = np.square(alpha, dtype=np.float64), np.square(sigma, dtype=np.float64)
    of_v = {"eps": a2, "v": np.ones_like(a2), "x0": s2}
    for kind in (native, weighting):
        if kind not in of_v:
            raise UsageError(f"{kind!r} is not a weighting; known: {', '.join(WEIGHTINGS)}")
    if native == weighting:
        return np.ones_like(a2)
    return np.asarray(of_v[weighting] / of_v[native])


def difficulty(errors: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The score: mean over timesteps of the weighted errors, [N, K] → float32 [N]. Higher = harder."""
    return np.asarray((errors.astype(np.float64) @ weights) / errors.shape[1], dtype=np.float32)
