"""The nearest training images of each image, exactly: candidates by matrix products, then by their differences."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

CANDIDATES = 4  # kept from the fast pass for each that is wanted exactly, and measured again
EXACT = 2  # neighbours whose distance is that of the differences; those after them come from the fast pass
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


def nearest(
    queries: Floats, bank: Floats, device: torch.device | str = "cpu", chunk: int = 4096
) -> tuple[Ints, Floats]:
    """Index into bank [M, D] of the nearest row to each of queries [N, D], and its Euclidean distance, each [N].

    A copy is at exactly 0. Ties go to the lower index.
    """
    index, distance = neighbours(queries, bank, 1, device, chunk)
    return index[:, 0], distance[:, 0]


def neighbours(
    queries: Floats, bank: Floats, k: int, device: torch.device | str = "cpu", chunk: int = 4096
) -> tuple[Ints, Floats]:
    """The k nearest rows of bank [M, D] to each of queries [N, D], nearest first: indices and distances [N, min(k, M)].

    One matrix product a pair of chunks finds candidates by |b|² − 2q·b, which loses digits where distances
    are small against the norms; the distances of the nearest `EXACT` are then taken from the differences themselves,
    so a copy is at exactly 0, and ties among them go to the lower index. Those after them have single precision.
    """
    k = min(k, len(bank))
    index, distance = np.zeros((len(queries), k), np.int64), np.zeros((len(queries), k), np.float32)
    wanted = min(max(k, min(k, EXACT) + CANDIDATES - 1), len(bank))
    sure = min(min(k, EXACT) + CANDIDATES - 1, wanted)
    centre = bank.mean(axis=0) if len(bank) else np.float32(0)
    for start in range(0, len(queries), chunk):
        rows = slice(start, start + chunk)
        q = torch.from_numpy(queries[rows] - centre).to(device)
        near = torch.empty(len(q), 0, device=device)
        which = torch.empty(len(q), 0, dtype=torch.int64, device=device)
        for first in range(0, len(bank), chunk):
            b = torch.from_numpy(bank[first : first + chunk] - centre).to(device)
            near = torch.cat([near, b.square().sum(1) - 2 * q @ b.T], 1)
            which = torch.cat([which, torch.arange(first, first + len(b), device=device).expand(len(q), -1)], 1)
            near, kept = near.topk(min(wanted, near.shape[1]), dim=1, largest=False)
            which = which.gather(1, kept)
        fast = (near + q.square().sum(1, keepdim=True)).clamp_min(0).sqrt().cpu().numpy()[:, :k]
        found = which.cpu().numpy()
        candidates = np.sort(found[:, :sure], axis=1)
        gaps = np.stack([np.linalg.norm(queries[rows] - bank[column], axis=1) for column in candidates.T], 1)
        best = gaps.argsort(axis=1, kind="stable")
        index[rows], distance[rows] = found[:, :k], fast
        exact = slice(0, min(k, sure))
        index[rows, exact] = np.take_along_axis(candidates, best, 1)[:, exact]
        distance[rows, exact] = np.take_along_axis(gaps, best, 1)[:, exact]
    return index, distance


@dataclasses.dataclass(frozen=True)
class Near:
    """The nearest training images of N images, each image once however many forms of it are in the bank."""

    index: Ints  # [N, k] rows of the training set, nearest first
    distance: Floats  # [N, k]

    @property
    def first(self) -> Floats:
        """Distance to the nearest [N]."""
        return self.distance[:, 0]

    @property
    def second(self) -> Floats:
        """Distance to the second nearest [N]; infinite where there is one training image only."""
        if self.distance.shape[1] > 1:
            return self.distance[:, 1]
        return np.full(len(self.distance), np.inf, np.float32)


def near(queries: Floats, forms: Sequence[Floats], k: int, device: torch.device | str = "cpu") -> Near:
    """The k nearest training images of queries [N, D], where each has several `forms`, arrays [M, D] in one order.

    A form is the image, its mirror image, its reconstruction; the distance to an image is that to its nearest form.
    """
    found = [neighbours(queries, form, k, device) for form in forms]
    index = np.concatenate([each for each, _ in found], axis=1)
    distance = np.concatenate([each for _, each in found], axis=1)
    order = np.lexsort((index, distance), axis=1)  # by distance, ties by index
    index, distance = np.take_along_axis(index, order, 1), np.take_along_axis(distance, order, 1)
    if len(forms) == 1:
        return Near(index, distance)
    # Of the k nearest in each form, the first k that differ: an image further back in every form is not among them.
    again = np.zeros(index.shape, bool)
    by_image = np.argsort(index, axis=1, kind="stable")
    ranked = np.take_along_axis(index, by_image, 1)
    np.put_along_axis(again, by_image[:, 1:], ranked[:, 1:] == ranked[:, :-1], 1)
    first = np.argsort(again, axis=1, kind="stable")[:, : found[0][0].shape[1]]
    return Near(np.take_along_axis(index, first, 1), np.take_along_axis(distance, first, 1))


def near_by_class(
    queries: Floats, labels: Ints, forms: Sequence[Floats], of: Ints, k: int, device: torch.device | str = "cpu"
) -> tuple[Near, NDArray[np.bool_]]:
    """Like `near` among the training images of the query's own class; and which queries [N] have any, the rest is left.

    `labels` [N] are of the queries, `of` [M] of the training images. Where a class has fewer than k, what is missing
    is at infinity with index −1.
    """
    index, distance = np.full((len(queries), k), -1, np.int64), np.full((len(queries), k), np.inf, np.float32)
    has = np.isin(labels, of)
    for label in np.unique(labels[has]):
        mine, theirs = np.flatnonzero(labels == label), np.flatnonzero(of == label)
        found = near(queries[mine], [form[theirs] for form in forms], k, device)
        columns = found.index.shape[1]
        index[mine, :columns], distance[mine, :columns] = theirs[found.index], found.distance
    return Near(index[has], distance[has]), has


def of_training(forms: Sequence[Floats], rows: Ints, device: torch.device | str = "cpu") -> Floats:
    """The distance of training images to the nearest other one, in any of its forms: [M], infinite but in `rows`.

    Of a whole data set only the images that were hit are asked about: all pairs would take days.
    """
    out = np.full(len(forms[0]), np.inf, np.float32)
    rows = np.unique(rows)
    found = near(forms[0][rows], forms, 2, device)
    if found.index.shape[1] > 1:
        own = found.index[:, 0] == rows
        out[rows] = np.where(own, found.distance[:, 1], found.distance[:, 0])
    return out
