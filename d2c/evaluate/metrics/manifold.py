"""Precision, recall, density and coverage: which images lie in the balls around the others.

Distances are taken in float64, a block of rows at a time, so that 50,000 images fit on both sides.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from d2c.errors import D2CError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

BLOCK = 1 << 24  # distances at once: 128 MiB
NOTHING = 1e-13  # of |a|² + |b|²: what rounding leaves of the squared distance of two equal rows
Features = NDArray[np.float32] | NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Inside:
    """Of N samples and M reference images: `samples` [N] and `reference` [M] hold what a mean is taken of.

    `of_samples` (precision or density) and `of_reference` (recall or coverage) are these means.
    """

    samples: NDArray[np.float64]
    reference: NDArray[np.float64]

    @property
    def of_samples(self) -> float:
        """Precision, or density."""
        return float(self.samples.mean())

    @property
    def of_reference(self) -> float:
        """Recall, or coverage."""
        return float(self.reference.mean())


def precision_recall(
    samples: Features, reference: Features, *, k: int = 3, device: torch.device | str = "cpu"
) -> Inside:
    """Improved precision and recall (Kynkäänniemi et al. 2019) of features [N, D] against [M, D].

    A sample counts for precision when it is in the ball of some reference image, which reaches to that image's k-th
    nearest other one; recall is the same with the sides exchanged. The edge belongs to the ball (≤), as in the
    published code and in ADM's, whose protocol is k = 3, 10,000 reference images and all samples. Raises D2CError
    with k or fewer rows on a side.
    """
    import torch

    a, b = _both(samples, reference, k, device)
    reach_a, reach_b = radii(a, k), radii(b, k)
    inside, reached = [], torch.zeros(len(b), dtype=torch.bool, device=b.device)
    for _, d2 in blocks(a, b):
        inside.append((d2 <= reach_b).any(1))
    for at, d2 in blocks(b, a):
        reached[at] = (d2 <= reach_a).any(1)
    return Inside(_numbers(torch.cat(inside)), _numbers(reached))


def density_coverage(
    samples: Features, reference: Features, *, k: int = 5, device: torch.device | str = "cpu"
) -> Inside:
    """Density and coverage (Naeem et al. 2020, eq. 4 and 5) of features [N, D] against [M, D].

    Density is the mean number of reference balls that hold a sample, over k; it may be above 1. Coverage is the share
    of reference balls that hold a sample. The edge is not of the ball (<), as in the published code. Raises D2CError
    with k or fewer reference rows, or no sample.
    """
    import torch

    a, b = _both(samples, reference, k, device, few=1)
    reach = radii(b, k)
    held, nearest = [], torch.full((len(b),), torch.inf, dtype=torch.float64, device=b.device)
    for _, d2 in blocks(a, b):
        held.append((d2 < reach).sum(1).double() / k)
        nearest = torch.minimum(nearest, d2.amin(0))
    return Inside(_numbers(torch.cat(held)), _numbers(nearest < reach))


def _both(
    a: Features, b: Features, k: int, device: torch.device | str, few: int | None = None
) -> tuple[Tensor, Tensor]:
    """Both sides on the device in float64, moved so that their common centre is 0, which keeps digits."""
    import torch

    if len(a) < (k + 1 if few is None else few) or len(b) < k + 1:
        raise D2CError(f"balls to the {k}. nearest need more than {k} images, not {len(a)} and {len(b)}")
    x, y = (torch.as_tensor(np.asarray(side), device=device).double() for side in (a, b))
    centre = y.mean(0)
    return x - centre, y - centre


def blocks(a: Tensor, b: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Squared distances [n, M] of some rows of a [N, D] to all of b [M, D], and which rows they are.

    |a|² + |b|² − 2ab: what rounding leaves for equal rows is set to 0, so that a copy is at no distance.
    """
    of_b = b.square().sum(1)
    rows = max(BLOCK // max(len(b), 1), 1)
    for start in range(0, len(a), rows):
        at = slice(start, start + rows)
        norms = a[at].square().sum(1)[:, None] + of_b
        d2 = norms - 2 * a[at] @ b.T
        yield at, d2.masked_fill(d2 < NOTHING * norms, 0.0)


def radii(x: Tensor, k: int) -> Tensor:
    """Squared distance [N] from each row of x [N, D] to its k-th nearest other row."""
    import torch

    # A row is its own nearest, at 0.
    return torch.cat([d2.kthvalue(k + 1, dim=1).values for _, d2 in blocks(x, x)])


def _numbers(found: Tensor) -> NDArray[np.float64]:
    return np.asarray(found.double().cpu())
