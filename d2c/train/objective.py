"""The losses of a training step: diffusion, alignment, the variance's bound, and REG's class token."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from d2c.attach.grids import spatially_normalised
from d2c.diffusion.dit import DiT
from d2c.diffusion.losses import alignment_loss, denoise
from d2c.train.verb import TrainConfig

PARTS = ("loss", "diffusion", "alignment", "bound", "class_token")
Parts = tuple[Tensor, ...]  # in the order of PARTS


class Losses(nn.Module):
    """Losses of a batch, fp32: their weighted sum, then each (zero where the model has none); what a team shares.

    `normalise` takes the vision tokens' mean and deviation over the places out of the alignment's target.
    """

    def __init__(
        self,
        model: DiT,
        config: TrainConfig,
        device: torch.device,
        precision: str,
        *,
        normalise: bool = False,
    ) -> None:
        super().__init__()
        self.normalise = normalise
        self.bounded = model.config.learn_sigma and model.config.path == "dit" and config.bound > 0
        self.model, self.config, self.device, self.precision = model, config, device, precision
        self.quick = False  # by the kernels of `d2c.diffusion.fused`
        if device.type == "cuda" and precision == "bf16" and config.compile != "on":
            with contextlib.suppress(ImportError):  # Triton is not on every machine
                from d2c.diffusion import fused

                self.quick = fused.fits(model)

    def forward(
        self,
        x: Tensor,
        y: Tensor,
        t: Tensor,
        noise: Tensor,
        z: Tensor | None,
        feature: Tensor | None = None,
        own: Tensor | None = None,
    ) -> Parts:
        """x, noise (B, C, S, S); y, t (B,); z (B, T, D) or None; class tokens (B, D) and their noise, or None."""
        tap, config = self.model.config.align_depth or None, self.config
        if feature is not None and own is not None:
            x, noise = self.model.join(x, feature), self.model.join(noise, own)
        with self._arithmetic(), self._attention():
            found = denoise(self.model, x, y, t, noise, tap=tap, ask=self._ask, bound=self.bounded)
            diffusion = found.error.mean()
            alignment = bound = token = torch.zeros_like(diffusion)
            total = diffusion
            if z is not None and found.tokens is not None:
                target = spatially_normalised(z) if self.normalise else z
                if feature is not None:
                    target = torch.cat([feature[:, None].to(target.dtype), target], dim=1)
                alignment = alignment_loss(self.model.project(found.tokens), target)
                total = total + config.alignment * alignment
        if found.bound is not None:
            bound = found.bound.mean()
            total = total + config.bound * bound
        if found.feature is not None:
            token = found.feature.mean()
            total = total + config.reg * token
        return total, diffusion.detach(), alignment.detach(), bound.detach(), token.detach()

    def _ask(self, *batch: Any, **options: Any) -> Any:
        if not self.quick:
            return self.model(*batch, **options)
        from d2c.diffusion import fused

        return fused.forward(self.model, *batch, checkpointed=self.config.checkpointing == "on", **options)

    def _arithmetic(self) -> AbstractContextManager[object]:
        if self.precision == "fp32":
            return nullcontext()
        # Weights are cast once a call anyway, and what a graph captures must not be kept by autocast.
        return torch.autocast(self.device.type, dtype=torch.bfloat16, cache_enabled=False)

    def _attention(self) -> AbstractContextManager[object]:
        """For few tokens on a CPU, plain attention: the fused kernel's backward takes a fifth of a bf16 step more."""
        if self.device.type == "cpu" and self.precision == "bf16" and self.model.config.tokens <= 256:
            return sdpa_kernel(SDPBackend.MATH)
        return nullcontext()
