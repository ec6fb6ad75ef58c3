"""The nearest training image of each sample, and how near that is beside real images: is it copying?"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from numpy.typing import NDArray

ENOUGH = 100  # held-out images below which their 1st percentile is not one
CANDIDATES = 4  # kept from the fast pass and measured again exactly


def nearest(
    queries: NDArray[np.float32],
    bank: NDArray[np.float32],
    device: torch.device | str = "cpu",
    chunk: int = 4096,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Index into bank [M, D] of the nearest row to each of queries [N, D], and its Euclidean distance, each [N].

    One matrix product a pair of chunks finds candidates by |b|² − 2q·b, which loses digits where distances
    are small against the norms; the candidates' distances are then taken from the differences themselves,
    so a copy is at exactly 0. Ties among candidates go to the lower index.
    """
    index, distance = np.zeros(len(queries), np.int64), np.zeros(len(queries), np.float32)
    centre = bank.mean(axis=0)
    for start in range(0, len(queries), chunk):
        rows = slice(start, start + chunk)
        q = torch.from_numpy(queries[rows] - centre).to(device)
        near = torch.empty(len(q), 0, device=device)
        which = torch.empty(len(q), 0, dtype=torch.int64, device=device)
        for first in range(0, len(bank), chunk):
            b = torch.from_numpy(bank[first : first + chunk] - centre).to(device)
            near = torch.cat([near, b.square().sum(1) - 2 * q @ b.T], 1)
            which = torch.cat([which, torch.arange(first, first + len(b), device=device).expand(len(q), -1)], 1)
            near, kept = near.topk(min(CANDIDATES, near.shape[1]), dim=1, largest=False)
            which = which.gather(1, kept)
        candidates = np.sort(which.cpu().numpy(), axis=1)
        gaps = np.stack([np.linalg.norm(queries[rows] - bank[column], axis=1) for column in candidates.T], 1)
        best = gaps.argmin(axis=1)[:, None]
        index[rows] = np.take_along_axis(candidates, best, 1)[:, 0]
        distance[rows] = np.take_along_axis(gaps, best, 1)[:, 0]
    return index, distance


@dataclasses.dataclass(frozen=True)
class Closeness:
    """Distances of samples to the training images beside those of real held-out images.

    `ratio` = median / held_out_median: 1 for a sampler of the real distribution, near 0 for a copy machine.
    `share_below` is the share of samples nearer than the held-out images' 1st percentile: about 0.01 by
    definition for real images, and None with fewer than 100 held-out ones. `hit` counts the distinct training
    images that are nearest to some sample.
    None where there are no held-out images, or where they coincide with training images.
    """

    median: float
    held_out_median: float | None
    ratio: float | None
    first_percentile: float | None
    share_below: float | None
    hit: int


def closeness(samples: NDArray[np.float32], held_out: NDArray[np.float32], hit: NDArray[np.int64]) -> Closeness:
    """Compare distances of samples [N] and of held-out images [H] to their nearest training image."""
    median = float(np.median(samples))
    distinct = len(np.unique(hit))
    if len(held_out) == 0:
        return Closeness(median, None, None, None, None, distinct)
    usual = float(np.median(held_out))
    ratio = median / usual if usual > 0 else None
    if len(held_out) < ENOUGH:
        return Closeness(median, usual, ratio, None, None, distinct)
    first = float(np.quantile(held_out, 0.01))
    return Closeness(median, usual, ratio, first, float(np.mean(samples < first)), distinct)
