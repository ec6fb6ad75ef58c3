"""Distances between two sets of features, in float64 and without a matrix square root routine.

Neither number is FID or KID proper, which are what the Inception network of 2015-12-05 gives: with another
extractor they are called FD-<extractor> and KID-<extractor>.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from d2c.errors import D2CError

Floats = NDArray[np.float64]


def moments(features: ArrayLike) -> tuple[Floats, Floats]:
    """Mean [D] and unbiased covariance [D, D] of features [N, D]. Raises D2CError for fewer than two rows."""
    rows = np.asarray(features, np.float64)
    if rows.ndim != 2 or len(rows) < 2:
        raise D2CError(f"a covariance needs two or more rows of features, not shape {rows.shape}")
    mean = rows.mean(axis=0)
    centred = rows - mean
    return mean, centred.T @ centred / (len(rows) - 1)


def frechet_distance(mean1: ArrayLike, cov1: ArrayLike, mean2: ArrayLike, cov2: ArrayLike) -> float:
    """Fréchet distance of two Gaussians, ‖μ₁−μ₂‖² + tr(Σ₁ + Σ₂ − 2(Σ₁Σ₂)^½) (Heusel et al. 2017, eq. 6).

    Σ₁Σ₂ has the eigenvalues of the symmetric Σ₁^½ Σ₂ Σ₁^½, so two symmetric eigendecompositions do, and a
    singular covariance (fewer rows than dimensions) is no special case. In squared units of the features.
    """
    mean1, mean2 = np.asarray(mean1, np.float64), np.asarray(mean2, np.float64)
    cov1, cov2 = np.asarray(cov1, np.float64), np.asarray(cov2, np.float64)
    values, vectors = np.linalg.eigh(cov1)
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ cov2 @ root).clip(min=0)).sum()
    gap = mean1 - mean2
    # Rounding may leave a hair below nothing for equal Gaussians.
    return max(float(gap @ gap + np.trace(cov1) + np.trace(cov2) - 2 * cross), 0.0)


def mmd2(x: ArrayLike, y: ArrayLike) -> float:
    """Unbiased squared maximum mean discrepancy of x [M, D] and y [N, D] under (x·y / D + 1)³.

    Bińkowski et al. 2018, eq. 4; may be below zero. Raises D2CError for fewer than two rows.
    """
    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    m, n = len(a), len(b)
    if min(m, n) < 2:
        raise D2CError(f"a kernel distance needs two or more rows on both sides, not {m} and {n}")
    within_a, within_b, across = _cubic(a, a), _cubic(b, b), _cubic(a, b)
    return float(
        (within_a.sum() - np.trace(within_a)) / (m * (m - 1))
        + (within_b.sum() - np.trace(within_b)) / (n * (n - 1))
        - 2 * across.mean()
    )


def _cubic(a: Floats, b: Floats) -> Floats:
    return np.asarray((a @ b.T / a.shape[1] + 1) ** 3, np.float64)


def kid(x: ArrayLike, y: ArrayLike, *, subsets: int = 100, size: int = 1000, seed: int = 0) -> tuple[float, float]:
    """Kernel distance: mean and standard deviation of `mmd2` over random subsets without replacement.

    `size` is lowered to the smaller set's; subset i is drawn from (seed, i) alone.
    """
    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    size = min(size, len(a), len(b))
    found = []
    for i in range(subsets):
        draw = np.random.default_rng((seed, i))
        found.append(mmd2(a[draw.choice(len(a), size, replace=False)], b[draw.choice(len(b), size, replace=False)]))
    return float(np.mean(found)), float(np.std(found))
