"""Vision tokens from the scorer itself: for where no pretrained encoder can be downloaded."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from d2c.attach.vision import VISION_ENCODERS
from d2c.device import autocast
from d2c.diffusion.autoencoders import load
from d2c.diffusion.dit import DiT
from d2c.diffusion.samplers import noise_for


class ScorerVision:
    """Tokens after block depth // 2 of a diffusion transformer, on nearly clean images.

    Every image meets the same noise, drawn from the seed alone, at the path's low-noise time, and the null
    class: tokens that knew the label would hand it to the model under training. They are read through the
    parameter-free layer norm that every next block begins with, which also keeps fp16 in range (ours).
    """

    name = "scorer"
    note = VISION_ENCODERS["scorer"].note

    def __init__(self, model: DiT, *, source: str, seed: int, device: torch.device, precision: str) -> None:
        config = model.config
        self.model = model.to(device).eval()
        self._forward: Any = self.model
        self.autoencoder = load(config.autoencoder, device)
        self.source, self.device, self.precision = source, device, precision
        self.grid, self.dim, self.tap = config.grid, config.width, max(config.depth // 2, 1)
        self.image_size = config.image_size * self.autoencoder.factor
        self.channels = config.channels if self.autoencoder.name == "identity" else 3
        self.time = model.path.low_noise_time().to(device)
        self.noise = noise_for(seed, [0], (config.channels, config.image_size, config.image_size)).to(device)

    @torch.inference_mode()
    def encode(self, images: np.ndarray) -> np.ndarray:
        """Tokens [B, grid², D] float32 of uint8 images [B, C, S, S]."""
        found: np.ndarray = self.tokens(torch.from_numpy(images).to(self.device)).cpu().numpy()
        return found

    @torch.inference_mode()
    def tokens(self, images: Tensor) -> Tensor:
        """The same for a tensor on the device, where the tokens stay."""
        x = images.float() / 127.5 - 1.0
        mean, _ = self.autoencoder.encode(x)
        x_t = self.model.path.interpolate(mean, self.noise, self.time)
        nobody = torch.full((len(x),), self.model.config.num_classes, device=self.device)
        with autocast(self.device, self.precision):
            _, h = self._forward(x_t, self.time, nobody, tap=self.tap)
        return F.layer_norm(h.float(), (self.dim,), eps=1e-6)

    def hasten(self) -> None:
        """Compile the forward pass for one batch size."""
        self._forward = torch.compile(self.model, dynamic=False)
