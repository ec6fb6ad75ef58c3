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


def difficulty(errors: np.ndarray, weights: np.ndarray, quadrature: np.ndarray | None = None) -> np.ndarray:
    """The score: mean over the clock of the weighted errors, [N, K] → float32 [N]. Higher = harder.

    `quadrature` [K] sums to 1 and says how much of the clock each timestep stands for; without it all count alike.
    Read in blocks, so that `errors` may be a memory map.
    """
    counts = weights * (1 / errors.shape[1] if quadrature is None else np.asarray(quadrature, np.float64))
    score = np.empty(len(errors), np.float32)
    for start in range(0, len(errors), ROWS):
        score[start : start + ROWS] = errors[start : start + ROWS].astype(np.float64) @ counts
    return score


def scored(table: Mapping[str, np.ndarray], native: str, weighting: str, bank: str = "") -> np.ndarray:
    """Difficulty float32 [N] from the arrays of `errors.safetensors`; `bank` "_b" is the second bank's.

    Where the table holds errors of the null class too, they are taken off: s(x, c) − s(x, ∅), what the class explains.
    """
    weights = error_weights(table["alpha"], table["sigma"], native, weighting)
    quadrature = table.get("quadrature")
    if weighting == "zscore":
        mean, spread = _moments(table["errors"])
        weights = 1 / np.maximum(spread, 1e-12)
    score = difficulty(table[f"errors{bank}"], weights, quadrature)
    null = table.get(f"errors_null{bank}")
    if null is not None:
        return np.asarray(score - difficulty(null, weights, quadrature))
    if weighting == "zscore":
        share = np.full(len(mean), 1 / len(mean)) if quadrature is None else quadrature
        return np.asarray(score - np.float32((mean * weights * share).sum()))
    return score


def seen(table: Mapping[str, np.ndarray], native: str, weighting: str) -> np.ndarray:
    """The errors that `scored` is the mean of over the clock: float32 [N, K], of the first bank.

    Weighted; with "zscore" in standard deviations from the mean at each timestep; with errors of the null class,
    theirs taken off.
    """
    weights = error_weights(table["alpha"], table["sigma"], native, weighting)
    null, mean = table.get("errors_null"), np.zeros(len(weights))
    if weighting == "zscore":
        mean, spread = _moments(table["errors"])
        weights = 1 / np.maximum(spread, 1e-12)
    found = np.empty(table["errors"].shape, np.float32)
    for start in range(0, len(found), ROWS):
        at = slice(start, start + ROWS)
        found[at] = (table["errors"][at].astype(np.float64) - (mean if null is None else null[at])) * weights
    return found


def _moments(errors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column, float64 [K], read in blocks."""
    blocks = [errors[a : a + ROWS].astype(np.float64) for a in range(0, len(errors), ROWS)]
    mean = sum(block.sum(axis=0) for block in blocks) / max(len(errors), 1)
    variance = sum(np.square(block - mean).sum(axis=0) for block in blocks) / max(len(errors), 1)
    return np.asarray(mean), np.sqrt(np.asarray(variance))
