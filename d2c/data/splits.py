"""Which images of a labelled set are kept apart. Torch-free."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def held_out_split(labels: NDArray[np.int64], share: float, seed: int) -> NDArray[np.bool_]:
    """Which of labels [n] are held out [n]: `share` of each class, rounded, one at least where the class has two.

    A class is drawn from (seed, label) alone, so it does not depend on the other classes.
    """
    held = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        n = min(max(round(share * len(rows)), 1), len(rows) - 1)
        held[np.random.default_rng((seed, int(label))).permutation(rows)[:n]] = True
    return held
