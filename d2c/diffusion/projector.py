"""Projectors of REPA and iREPA: from a transformer's tokens to those of a vision encoder."""

from __future__ import annotations

import math

from torch import Tensor, nn


def projector(width: int, out: int, kind: str = "mlp") -> nn.Module:
    """(B, T, width) → (B, T, out), one of `d2c.diffusion.config.PROJECTORS`.

    mlp: d → h → h → z with SiLU, token by token; h = 2048 as in REPA, or 4·d where that is less.
    conv: iREPA's 3 × 3 convolution over the token grid.
    """
    if kind == "conv":
        return ConvProjector(width, out)
    hidden = min(2048, 4 * width)
    return nn.Sequential(
        nn.Linear(width, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, out)
    )


class ConvProjector(nn.Module):
    """A 3 × 3 convolution over a square grid of tokens, zeros beyond its edge (iREPA, 2512.10794).

    It keeps what a token says of its neighbours, which an MLP on single tokens must carry along in each of them.
    """

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.projection_layer = nn.Conv2d(width, out, kernel_size=3, padding=1)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, T, D) → (B, T, Z), T a square."""
        n, count, width = tokens.shape
        side = math.isqrt(count)
        maps = tokens.transpose(1, 2).reshape(n, width, side, side)
        projected: Tensor = self.projection_layer(maps).flatten(2).transpose(1, 2)
        return projected
