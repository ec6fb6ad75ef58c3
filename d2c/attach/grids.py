"""Token grids: resized, mirrored, normalised. Tensors stay on their device."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional as F

from d2c.errors import D2CError

EPS = 1e-6


def side_of(count: int, whose: str = "tokens") -> int:
    """Side of a square grid of `count` tokens. Raises D2CError when it is none."""
    side = math.isqrt(count)
    if side * side != count:
        raise D2CError(f"{whose}: {count} tokens are no square grid; attach them again")
    return side


def regrid(tokens: Tensor, grid: int) -> Tensor:
    """Tokens [B, N, D] resized from their own square grid to `grid`², [B, grid², D] in the same type.

    Shrinking takes area means and enlarging is bilinear. Raises D2CError when N is no square.
    """
    b, n, d = tokens.shape
    side = side_of(n)
    if side == grid:
        return tokens
    maps = tokens.float().view(b, side, side, d).permute(0, 3, 1, 2)
    if grid < side:
        maps = F.adaptive_avg_pool2d(maps, grid)
    else:
        maps = F.interpolate(maps, size=(grid, grid), mode="bilinear", align_corners=False)
    return maps.permute(0, 2, 3, 1).reshape(b, grid * grid, d).to(tokens.dtype)


def spatially_normalised(tokens: Tensor) -> Tensor:
    """Tokens [B, N, D] with mean 0 and standard deviation 1 over the N places, image by image and channel by channel.

    The normalised target of iREPA (arXiv 2512.10794) with its factor of the mean at 1; float32.
    """
    x = tokens.float()
    return (x - x.mean(1, keepdim=True)) / (x.std(1, keepdim=True) + EPS)
