"""One stored table of errors, seen as ε-, v- or x0-error, or standardised at each timestep.

On any path x_t = α x + σ ε a prediction of one quantity gives the others, as x_t is known:
α (x̂ − x) = −σ (ε̂ − ε). With v = x − ε on straight paths (α + σ = 1) and v = α ε − σ x on
variance-preserving ones (α² + σ² = 1), in both cases

    ‖ε̂ − ε‖² = α² ‖v̂ − v‖²,        ‖x̂ − x‖² = σ² ‖v̂ − v‖² = (σ/α)² ‖ε̂ − ε‖².

So these scores are weightings over the timesteps of one [N, K] table. A fourth, "zscore", takes at each timestep
how many standard deviations (over all images of the table) an error is from the mean: every time then counts alike.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from d2c.errors import UsageError

WEIGHTINGS = ("eps", "v", "x0", "zscore")
ROWS = 1 << 16  # of a table read at a time
ROUNDING = 1e-6  # of float32, relative: a spread below it is none


def error_weights(alpha: np.ndarray, sigma: np.ndarray, native: str, weighting: str) -> np.ndarray:
    """Factors that turn errors of `native` kind into errors of `weighting` kind: float64 [K].

    `alpha` and `sigma` are the path's coefficients at the K timesteps. "zscore" has no factors of its own: its errors
    stay as they are, `difficulty` standardises them. Raises UsageError for another kind.
    """
    a2, s2 = np.square(alpha, dtype=np.float64), np.square(sigma, dtype=np.float64)
    of_v = {"eps": a2, "v": np.ones_like(a2), "x0": s2}
    for kind in (native, weighting):
        if kind not in of_v and not (kind == weighting == "zscore"):
            raise UsageError(f"{kind!r} is not a weighting; known: {', '.join(WEIGHTINGS)}")
    if weighting in (native, "zscore"):
        return np.ones_like(a2)
    return np.asarray(of_v[weighting] / of_v[native])


def difficulty(
    errors: np.ndarray, weights: np.ndarray, quadrature: np.ndarray | None = None, origin: float = 0.0
) -> np.ndarray:
    """The score: mean over the clock of the weighted errors, [N, K] → float32 [N]. Higher = harder.

    `quadrature` [K] sums to 1 and says how much of the clock each timestep stands for; without it all count alike.
    `origin` is taken off. Read in blocks, so that `errors` may be a memory map.
    """
    counts = weights * (1 / errors.shape[1] if quadrature is None else np.asarray(quadrature, np.float64))
    score = np.empty(len(errors), np.float32)
    for start in range(0, len(errors), ROWS):
        score[start : start + ROWS] = errors[start : start + ROWS].astype(np.float64) @ counts - origin
    return score


def scored(table: Mapping[str, np.ndarray], native: str, weighting: str, bank: str = "") -> np.ndarray:
    """Difficulty float32 [N] from the arrays of `errors.safetensors`; `bank` "_b" is the second bank's.

    Where the table holds errors of the null class too, they are taken off: s(x, c) − s(x, ∅), what the class explains.
    """
    weights = error_weights(table["alpha"], table["sigma"], native, weighting)
    quadrature, origin = table.get("quadrature"), 0.0
    if weighting == "zscore":
        mean, weights = _standard(table["errors"])
        share = np.full(len(mean), 1 / len(mean)) if quadrature is None else quadrature
        origin = float((mean * weights * share).sum())
    errors, null = table[f"errors{bank}"], table.get(f"errors_null{bank}")
    if null is None:
        return difficulty(errors, weights, quadrature, origin)
    return np.asarray(difficulty(errors, weights, quadrature) - difficulty(null, weights, quadrature))


def seen(table: Mapping[str, np.ndarray], native: str, weighting: str) -> np.ndarray:
    """The errors that `scored` is the mean of over the clock: float32 [N, K], of the first bank.

    Weighted; with "zscore" in standard deviations from the mean at each timestep; with errors of the null class,
    theirs taken off.
    """
    weights = error_weights(table["alpha"], table["sigma"], native, weighting)
    null, mean = table.get("errors_null"), np.zeros(len(weights))
    if weighting == "zscore":
        mean, weights = _standard(table["errors"])
    found = np.empty(table["errors"].shape, np.float32)
    for start in range(0, len(found), ROWS):
        at = slice(start, start + ROWS)
        found[at] = (table["errors"][at].astype(np.float64) - (mean if null is None else null[at])) * weights
    return found


def _standard(errors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of each column and one over its standard deviation, float64 [K], read in blocks.

    Zero where all images are alike: such a time says nothing.
    """
    starts = range(0, len(errors), ROWS)
    mean = np.zeros(errors.shape[1])
    for start in starts:
        mean += errors[start : start + ROWS].astype(np.float64).sum(axis=0) / len(errors)
    variance = np.zeros(errors.shape[1])
    for start in starts:
        variance += np.square(errors[start : start + ROWS] - mean).sum(axis=0) / len(errors)
    spread = np.sqrt(variance)
    differs = spread > ROUNDING * np.abs(mean)
    return mean, differs / np.where(differs, spread, 1)
