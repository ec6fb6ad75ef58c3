"""The difficulty estimator: a frozen model's squared error at fixed timesteps under fixed noise.

    e_j(x) = mean over C, H, W of ‖ target − model(α_j x + σ_j ε_j, t_j, c) ‖²,     j = 0 … K − 1

Source: D2C (arXiv 2507.05914) §"Select", which averages the ε error over timesteps drawn uniformly. Not
given there and decided here: the t_j are K stratified midpoints of the path's clock and the ε_j come from
(seed, j) alone, so every image meets the same ones. What is common to all images then cancels in the
ranking instead of adding noise to it, and a score does not depend on batch, order, shard or resume.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor

from d2c.device import autocast
from d2c.diffusion.autoencoders import Autoencoder
from d2c.diffusion.dit import DiT
from d2c.errors import D2CError

AUTO_BATCH = {"cuda": 256, "cpu": 64}
# Multiply-adds of a whole job from which compiling (half a minute) pays on a GPU: one H200 does it in about that.
COMPILE_FROM = 1e16


def noise_bank(seed: int, bank: int, count: int, shape: tuple[int, ...]) -> Tensor:
    """ε_0 … ε_{K−1}, float32 [K, *shape], the same on every device and for every K that reaches so far.

    ε_{2i} is drawn from (seed, bank, i) and ε_{2i+1} = −ε_{2i}: what is odd in ε nearly cancels between
    neighbouring timesteps, and what is even in it is averaged over K/2 draws. Spearman within a class against
    512 evaluations, ε error, K = 8 (16), mean of ten seeds, digits: pairs .85 (.90), one ε for all j with
    alternating sign .77 (.79), a fresh ε for every j .78 (.86) with a SiT-Ti/2 of 1,500 steps.
    """
    draws = [np.random.default_rng((seed, bank, i)).standard_normal(shape, np.float32) for i in range(-(-count // 2))]
    pairs = torch.from_numpy(np.stack(draws)).repeat_interleave(2, dim=0)[:count]  # [K, C, H, W]
    pairs[1::2] *= -1
    return pairs


@dataclasses.dataclass(eq=False)
class Estimator:
    """A scorer with its timesteps and two noise banks, ready on its device.

    `images` is how many it is going to judge: on a GPU a long job is worth compiling the model for.
    """

    model: DiT
    autoencoder: Autoencoder
    device: torch.device
    precision: str
    evaluations: int
    seed: int
    batch: int = 0  # images per forward pass; 0 = auto
    images: int = 0

    def __post_init__(self) -> None:
        config = self.model.config
        if self.autoencoder.channels not in (0, config.channels):
            raise D2CError(
                f"the scorer takes {config.channels} channels, its autoencoder {self.autoencoder.name} gives "
                f"{self.autoencoder.channels}: the checkpoint names another than it was trained with"
            )
        # In train mode a label embedder drops labels at random: scores would depend on luck.
        self.model.eval()
        self.batch = self.batch or AUTO_BATCH.get(self.device.type, 64)
        self.side = config.image_size * self.autoencoder.factor
        self.channels = (self.autoencoder.channels and 3) or config.channels
        self.timesteps = self.model.path.timesteps(self.evaluations)  # [K]
        shape = (config.channels, config.image_size, config.image_size)
        self.banks = [noise_bank(self.seed, b, self.evaluations, shape).to(self.device) for b in (0, 1)]
        cost = sum(p.numel() for p in self.model.parameters()) * config.tokens * self.evaluations * self.images
        self.compiled = self.device.type == "cuda" and cost > COMPILE_FROM
        self._forward = torch.compile(self.model, dynamic=False) if self.compiled else self.model

    @torch.inference_mode()
    def errors(self, images: np.ndarray, labels: np.ndarray, bank: int = 0) -> np.ndarray:
        """Errors in the path's own weighting, float32 [n, K]; images uint8 [n, C, S, S], labels [n].

        Raises D2CError when a batch does not fit into the device's memory.
        """
        rows = [np.empty((0, self.evaluations), np.float32)]
        try:
            for start in range(0, len(images), self.batch):
                stop = start + self.batch
                rows.append(self._batch(images[start:stop], labels[start:stop], self.banks[bank]))
        except torch.OutOfMemoryError:
            raise D2CError(
                f"a batch of {self.batch} does not fit into the memory of {self.device}: "
                f"give --batch-size {max(1, self.batch // 2)}"
            ) from None
        return np.concatenate(rows)

    def _batch(self, images: np.ndarray, labels: np.ndarray, noise: Tensor) -> np.ndarray:
        count = len(images)
        if self.compiled:  # for one shape: the last batch is filled up with its last image
            fill = np.minimum(np.arange(self.batch), count - 1)
            images, labels = images[fill], labels[fill]
        x = torch.from_numpy(np.ascontiguousarray(images)).to(self.device).float() / 127.5 - 1
        y = torch.from_numpy(labels.astype(np.int64)).to(self.device)
        x = self.autoencoder.encode(x)[0].float()  # the mean: a drawn latent would add noise to the score
        path, table = self.model.path, []
        for t, eps in zip(self.timesteps.to(self.device), noise, strict=True):
            t, eps = t[None], eps.expand_as(x)
            with autocast(self.device, self.precision):
                out = self._net(path.interpolate(x, eps, t), t, y)
            table.append(path.squared_error(self.model.prediction(out), x, eps, t))  # fp32 [B]
        return torch.stack(table, dim=1)[:count].cpu().numpy()

    def _net(self, x_t: Tensor, t: Tensor, y: Tensor) -> Tensor:
        try:
            out: Tensor = self._forward(x_t, t, y)
        except RuntimeError as problem:
            if not self.compiled or isinstance(problem, torch.OutOfMemoryError):
                raise
            self.compiled, self._forward = False, self.model  # no compiler on this machine: slower, the same
            return self._net(x_t, t, y)
        return out
