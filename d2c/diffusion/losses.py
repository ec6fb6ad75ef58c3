"""The two losses of training: that of the path, and the alignment of hidden tokens with a vision encoder's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from d2c.diffusion.dit import DiT


def diffusion_loss(
    model: DiT,
    x: Tensor,
    y: Tensor,
    t: Tensor,
    eps: Tensor,
    tap: int | None = None,
    ask: Callable[..., Any] | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Per-image mean squared error [B] of the model's own prediction, fp32, and the tokens (B, T, D) at the tap.

    x, eps (B, C, H, W); y (B,); t (B,). `ask` stands for the model's forward pass where there is a quicker one.
    Where a model also puts out a variance, that half is not trained: the samplers here are deterministic and never
    read it.
    """
    x_t, ask = model.path.interpolate(x, eps, t), ask or model
    if tap is None:
        out, tokens = ask(x_t, t, y), None
    else:
        out, tokens = ask(x_t, t, y, tap=tap)
    return model.path.squared_error(model.prediction(out), x, eps, t), tokens


def alignment_loss(projected: Tensor, target: Tensor) -> Tensor:
    """Mean negative cosine over images and tokens, in [−1, 1] (REPA, 2410.06940, eq. 8); both (B, T, Z).

    In fp32: the guard against a zero norm underflows in half precision and has cost others their runs.
    """
    return -F.cosine_similarity(projected.float(), target.float(), dim=-1).mean()
