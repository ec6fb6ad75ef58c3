"""The Fréchet distance of two Gaussians, from moments, from streams of features, and resampled."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from d2c.errors import D2CError

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.float64]


def moments(features: ArrayLike) -> tuple[Floats, Floats]:
    """Mean [D] and unbiased covariance [D, D] of features [N, D]. Raises D2CError for fewer than two rows."""
    rows = np.asarray(features, np.float64)
    if rows.ndim != 2 or len(rows) < 2:
        raise D2CError(f"a covariance needs two or more rows of features, not shape {rows.shape}")
    mean = rows.mean(axis=0)
    centred = rows - mean
    return mean, centred.T @ centred / (len(rows) - 1)


class Moments:
    """Mean and covariance of features that come batch by batch: sums in float64 on the device of the features.

    The sums are of differences from the first batch's mean, so that features far from 0 lose no digits.
    """

    def __init__(self) -> None:
        self.count = 0
        self._origin: Any = None
        self._sum: Any = 0.0
        self._squares: Any = 0.0

    def add(self, features: torch.Tensor | NDArray[Any]) -> None:
        """Take in features [n, D], a tensor (it stays where it is) or an array; n may be 0."""
        import torch

        rows = torch.as_tensor(features).double()
        if not len(rows):
            return
        if self._origin is None:
            self._origin = rows.mean(0)
        rows = rows - self._origin
        self.count += len(rows)
        self._sum = self._sum + rows.sum(0)
        self._squares = self._squares + rows.T @ rows

    def result(self) -> tuple[Floats, Floats]:
        """Mean [D] and unbiased covariance [D, D] of all that was added. Raises D2CError for fewer than two rows."""
        if self.count < 2:
            raise D2CError(f"a covariance needs two or more rows of features, not {self.count}")
        gap = self._sum / self.count
        cov = (self._squares - self.count * gap[:, None] * gap) / (self.count - 1)
        return np.asarray((self._origin + gap).cpu()), np.asarray(cov.cpu())


def root(cov: ArrayLike) -> Floats:
    """The symmetric square root [D, D] of a covariance, which may be singular."""
    values, vectors = np.linalg.eigh(np.asarray(cov, np.float64))
    return np.asarray((vectors * np.sqrt(values.clip(min=0))) @ vectors.T)


def frechet_distance(
    mean1: ArrayLike, cov1: ArrayLike, mean2: ArrayLike, cov2: ArrayLike, *, half: Floats | None = None
) -> float:
    """Fréchet distance of two Gaussians, ‖μ₁−μ₂‖² + tr(Σ₁ + Σ₂ − 2(Σ₁Σ₂)^½) (Heusel et al. 2017, eq. 6).

    Σ₁Σ₂ has the eigenvalues of the symmetric Σ₁^½ Σ₂ Σ₁^½, so two symmetric eigendecompositions do, and a
    singular covariance (fewer rows than dimensions) is no special case. In squared units of the features. `half` is
    `root(cov1)` where it is known already.
    """
    mean1, mean2 = np.asarray(mean1, np.float64), np.asarray(mean2, np.float64)
    cov1, cov2 = np.asarray(cov1, np.float64), np.asarray(cov2, np.float64)
    half = root(cov1) if half is None else half
    cross = np.sqrt(np.linalg.eigvalsh(half @ cov2 @ half).clip(min=0)).sum()
    gap = mean1 - mean2
    # Rounding may leave a hair below nothing for equal Gaussians.
    return max(float(gap @ gap + np.trace(cov1) + np.trace(cov2) - 2 * cross), 0.0)


def frechet_of_features(x: ArrayLike, y: ArrayLike) -> float:
    """The same distance between features x [M, D] and y [N, D], for few rows of many dimensions.

    With centred rows A and B, Σ₁ = AᵀA/(M−1) and Σ₂ = BᵀB/(N−1), so tr (Σ₁Σ₂)^½ is the sum of the singular
    values of ABᵀ over √((M−1)(N−1)): [M, N] instead of [D, D]. Raises D2CError for fewer than two rows.
    """
    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    m, n = len(a), len(b)
    if min(m, n) < 2:
        raise D2CError(f"a Fréchet distance needs two or more rows on both sides, not {m} and {n}")
    if min(m, n) > a.shape[1]:
        return frechet_distance(*moments(a), *moments(b))
    gap = a.mean(0) - b.mean(0)
    a, b = a - a.mean(0), b - b.mean(0)
    cross = np.linalg.svd(a @ b.T, compute_uv=False).sum() / np.sqrt((m - 1) * (n - 1))
    return max(float(gap @ gap + (a**2).sum() / (m - 1) + (b**2).sum() / (n - 1) - 2 * cross), 0.0)


def resampled(
    features: ArrayLike,
    mean: ArrayLike,
    cov: ArrayLike,
    draws: Iterable[NDArray[np.int64]],
    device: torch.device | str = "cpu",
    *,
    half: Floats | None = None,
) -> Floats:
    """Fréchet distances [R] of drawn rows (R times [n]) of features [N, D] to a Gaussian.

    The rows are multiplied by Σ₂^½ once: the eigenvalues of Σ₁Σ₂ are then those of the smaller Gram matrix of the
    drawn rows, [n, n] or [D, D]. `half` is `root(cov)` where it is known already.
    """
    import torch

    x = torch.as_tensor(np.asarray(features, np.float64), device=device)
    centre, target = x.mean(0), torch.as_tensor(np.asarray(mean, np.float64), device=device)
    x = x - centre
    rooted = x @ torch.as_tensor(root(cov) if half is None else half, device=device)
    found = []
    for rows in draws:
        index = torch.as_tensor(rows, device=device)
        a, b = x[index], rooted[index]
        shift = a.mean(0)
        b = b - b.mean(0)
        gram = b @ b.T if len(b) <= b.shape[1] else b.T @ b
        cross = torch.linalg.eigvalsh(gram / (len(b) - 1)).clamp(min=0).sqrt().sum()
        gap = centre + shift - target
        spread = (a - shift).square().sum() / (len(a) - 1)
        found.append(float(gap @ gap + spread + float(np.trace(cov)) - 2 * cross))
    return np.asarray(found)
