"""What is remembered of each image from one pass over it to the next, and what that comes to."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
FLOOR = math.log(1e-8)  # no probability counts as less, so that one which was zero does not decide all


class History:
    """The presentations of N images in the order of the epochs, kept in O(N · (C + T)): no epoch's scores stay.

    Row i is image i of whatever is trained on. `see` takes what the network said when an image was its training
    example, so nothing is computed for it, as in the papers.
    """

    def __init__(self, images: int, classes: int, epochs: int, trajectory: int, scratch: Path) -> None:
        """Nothing seen yet. The last predictions [N, C] lie in the file `scratch`, of 4·N·C bytes."""
        self.epochs, self.trajectory = epochs, trajectory
        self._last = np.memmap(scratch, np.float32, "w+", shape=(images, classes))
        self._right = np.zeros(images, bool)
        self._learnt = np.zeros(images, bool)
        self._forgotten = np.zeros(images, np.int32)
        self.changes = np.zeros((trajectory - 1, images), np.float32)  # of the prediction, from epoch to epoch

    def see(self, epoch: int, rows: NDArray[np.int64], log_probs: Floats, right: NDArray[np.bool_]) -> None:
        """Take in what was said [n, C] of the images `rows` [n], each at most once an epoch (0, 1, …)."""
        self._forgotten[rows] += self._right[rows] & ~right
        self._right[rows] = right
        self._learnt[rows] |= right
        if epoch >= self.trajectory:
            return
        log_probs = np.maximum(log_probs, np.float32(FLOOR))
        if epoch:
            self.changes[epoch - 1, rows] = change(self._last[rows], log_probs)
        self._last[rows] = log_probs

    @property
    def learnt(self) -> NDArray[np.bool_]:
        """Which images [N] were read right at least once."""
        return self._learnt

    def forgetting(self) -> Floats:
        """How often each image [N] was unlearnt: read right in one epoch and wrong in the next.

        Toneva et al., ICLR 2019 (arXiv 1812.05159): Σ_t [right at t and wrong at t + 1], where t counts the times
        that the image was trained on. One that was never right counts as the most forgotten, there as infinite; here
        as the number of epochs, more than any image can be forgotten, so that a mean over seeds stays finite.
        """
        return np.where(self._learnt, self._forgotten, self.epochs).astype(np.float32)


def change(before: Floats, after: Floats) -> Floats:
    """How far predictions moved [n]: Σ_c |p′_c · log(p′_c / p_c)|, from log p [n, C] to log p′ [n, C].

    The terms of the KL divergence of what is said now from what was said an epoch ago, each without its sign.
    """
    found: Floats = np.abs(np.exp(after) * (after - before)).sum(axis=1, dtype=np.float32)
    return found


def tdds(changes: Floats, window: int, decay: float) -> Floats:
    """Temporal dual-depth score [N] of the changes [T − 1, N] of predictions between T epochs.

    Zhang et al., CVPR 2024 (arXiv 2311.13613), as the authors' code computes it. First depth: d_t, the change between
    epochs t and t + 1 (see `change`). Second depth: how unsteady it is in each window of J epochs, which has J − 1
    changes, and a moving average over the windows, the last counting most:

        TDDS = Σ_{t=J}^{T} β (1 − β)^{T−t} · ‖ d_j − d̄ ‖ over the changes j = t − J + 1 … t − 1 of the window,

    d̄ their mean, J = `window`, β = `decay`, J ≤ T. The paper's text speaks of the KL divergence, of whose terms the
    code takes the absolute values, and of the variance, of which the norm is the root times √(J − 1).
    """
    found = np.zeros(changes.shape[1], np.float64)
    last = len(changes) - (window - 1)
    for first in range(last + 1):
        inside = changes[first : first + window - 1].astype(np.float64)
        unsteady = np.sqrt(np.square(inside - inside.mean(axis=0)).sum(axis=0))
        found += decay * (1 - decay) ** (last - first) * unsteady
    return found.astype(np.float32)
