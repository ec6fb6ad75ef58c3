"""The kernel distance, unbiased whatever the number of images."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from d2c.errors import D2CError

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.float64]
BLOCK = 1 << 24  # kernel values at once: 128 MiB


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


def resampled(
    x: ArrayLike, y: ArrayLike, draws: Iterable[NDArray[np.int64]], device: torch.device | str = "cpu"
) -> Floats:
    """`mmd2` [R] of drawn rows (R times [M]) of x [M, D] to all of y [N, D], by counts and never by copies.

    A pair of one row with itself is left out, as `mmd2` leaves out the diagonal, so that rows drawn twice do not
    count as alike; nan for a draw of one row alone. One pass over the kernel serves all draws. y's own term is
    the same in all and left out.
    """
    import torch

    a, b = (torch.as_tensor(np.asarray(side, np.float64), device=device) for side in (x, y))
    counts = torch.stack([torch.as_tensor(np.bincount(d, minlength=len(a))) for d in draws], 1).double().to(device)
    within, across = torch.zeros(counts.shape[1], device=device).double(), torch.zeros(len(a), device=device).double()
    rows = max(BLOCK // max(len(a), len(b)), 1)
    for start in range(0, len(a), rows):
        at = slice(start, start + rows)
        kernel = (a[at] @ a.T / a.shape[1] + 1) ** 3
        within += (counts[at] * (kernel @ counts)).sum(0)
        across[at] = ((a[at] @ b.T / a.shape[1] + 1) ** 3).mean(1)
    own = (a.square().sum(1) / a.shape[1] + 1) ** 3
    same = counts.square()
    total = counts.sum(0)
    pairs = (within - own @ same) / (total.square() - same.sum(0))  # nan where one row was drawn every time
    return np.asarray((pairs - 2 * (across @ counts) / total).cpu())
