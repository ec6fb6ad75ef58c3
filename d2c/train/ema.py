"""The exponential moving average of the weights, which is what a run keeps and samples from."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from d2c.errors import UsageError

M = TypeVar("M", bound=nn.Module)


class EMA(Generic[M]):
    """A model whose weights trail those being trained, fp32, always in eval mode.

    Form "warmup": the decay at step s is min(decay, (1 + s) / (10 + s)). While that rises, the average is a power
    function of the step: its width stays about a ninth of the run, so a run of 500 steps and one of 100,000 both
    average over their own end and neither keeps the random start. (A plain .9999 still holds e⁻¹ = 37 % of the random
    weights after 10,000 steps.)

    Form "power" (EDM2, 2312.02696, eq. 127): the decay is (1 − 1/s)^(γ+1) at every step, so that the average's width is
    `width` of the run however long it gets; γ follows from the width by eq. 126.
    """

    def __init__(self, model: M, decay: float, *, form: str = "warmup", width: float = 0.1) -> None:
        self.decay, self.form = decay, form
        self.exponent = gamma(width) + 1 if form == "power" else 0.0
        self.model: M = copy.deepcopy(model).eval().requires_grad_(False)
        # Buffers and frozen parameters (positions, text tokens) never move.
        pairs = zip(self.model.parameters(), model.parameters(), strict=True)
        moving = [(q, p) for q, p in pairs if p.requires_grad]
        self._average: list[Tensor] = [q for q, _ in moving]
        self._weights: list[Tensor] = [p for _, p in moving]

    def at(self, step: int) -> float:
        """The decay used by the update after step number `step` (1 = the first)."""
        if self.form == "power":
            return float((1.0 - 1.0 / step) ** self.exponent)
        return min(self.decay, (1 + step) / (10 + step))

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the average towards the weights as they are after `step` steps."""
        torch._foreach_lerp_(self._average, self._weights, 1.0 - self.at(step))


def gamma(width: float) -> float:
    """The exponent γ of the power-function profile of relative width σ: σ² = (γ + 1) / ((γ + 2)² (γ + 3)).

    Raises UsageError outside 0 < σ < 0.289, where no exponent above −1 gives it.
    """
    if not 0.0 < width < 12**-0.5:
        raise UsageError(f"an average's width must lie between 0 and 0.288, not {width:g}")
    inverse = width**-2
    return float(np.roots([1.0, 7.0, 16.0 - inverse, 12.0 - inverse]).real.max())
