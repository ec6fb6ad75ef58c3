"""The projector of REPA: from a transformer's tokens to those of a vision encoder."""

from __future__ import annotations

from torch import nn


def projector(width: int, out: int) -> nn.Sequential:
    """An MLP d → h → h → z with SiLU, on the last axis; h = 2048 as in REPA, or 4·d where that is less."""
    hidden = min(2048, 4 * width)
    return nn.Sequential(
        nn.Linear(width, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, out)
    )
