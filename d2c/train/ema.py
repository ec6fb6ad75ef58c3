"""The exponential moving average of the weights, which is what a run keeps and samples from."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


class EMA(Generic[M]):
    """A model whose weights trail those being trained, fp32, always in eval mode.

    The decay warms up as min(decay, (1 + s) / (10 + s)) at step s. While it does, the average is a power
    function of the step: its width stays about a ninth of the run, so a run of 500 steps and one of
    100,000 both average over their own end and neither keeps the random start.
    """

    def __init__(self, model: M, decay: float) -> None:
        self.decay = decay
        self.model: M = copy.deepcopy(model).eval().requires_grad_(False)
        # Buffers and frozen parameters (positions, text tokens) never move.
        pairs = zip(self.model.parameters(), model.parameters(), strict=True)
        moving = [(q, p) for q, p in pairs if p.requires_grad]
        self._average: list[Tensor] = [q for q, _ in moving]
        self._weights: list[Tensor] = [p for _, p in moving]

    def at(self, step: int) -> float:
        """The decay used by the update after step number `step` (1 = the first)."""
        return min(self.decay, (1 + step) / (10 + step))

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the average towards the weights as they are after `step` steps."""
        torch._foreach_lerp_(self._average, self._weights, 1.0 - self.at(step))
