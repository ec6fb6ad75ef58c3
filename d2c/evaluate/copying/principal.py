"""Principal components, on which C_T measures its distances."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

WIDTH = 64
ROWS = 20_000  # that the directions are found on, evenly taken from more
EXACT = 2048  # dimensions up to which the covariance is decomposed; beyond, a sketch of it
Floats = NDArray[np.float32]


def principal(rows: Floats, width: int = WIDTH, device: torch.device | str = "cpu") -> tuple[Floats, Floats]:
    """Mean [D] and the `width` directions [D, W] in which rows [n, D] vary most; W ≤ min(width, n − 1, D).

    Up to 2,048 dimensions by the covariance in float64; beyond by a seeded randomised decomposition with four passes
    (Halko et al. 2011).
    """
    rows = rows[:: -(-len(rows) // ROWS)] if len(rows) else rows
    n, d = rows.shape
    width = max(min(width, n - 1, d), 1)
    centre = rows.mean(axis=0, dtype=np.float64)
    x = torch.from_numpy((rows - centre).astype(np.float32)).to(device)
    if d <= EXACT:
        wide = x.double()
        vectors = torch.linalg.eigh(wide.T @ wide)[1].flip(1)[:, :width]
    else:
        own = [x.device] if x.is_cuda else []
        with torch.random.fork_rng(devices=own):
            torch.manual_seed(0)
            vectors = torch.svd_lowrank(x, q=min(width + 16, n, d), niter=4)[2][:, :width]
    return centre.astype(np.float32), vectors.float().cpu().numpy()
