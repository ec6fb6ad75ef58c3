"""Everything random in a training run, as a function of (seed, step) alone.

Nothing here keeps state between steps, so a run that was stopped and one that was not draw the same
indices, timesteps, noise and dropped labels, and give the same loss curve.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from d2c.diffusion.paths import Path

AHEAD = 64  # steps whose indices are drawn and sent to the device at once
ORDER, STEP, INIT = 0, 1, 2  # streams: which images, what is drawn for them, the first weights


@dataclass(frozen=True)
class Draw:
    """What one step draws for its batch of B images."""

    t: Tensor  # (B,) on the path's clock
    noise: Tensor  # (B, C, S, S) fp32
    dropped: Tensor  # (B,) bool: class and text are replaced by the null condition
    flipped: Tensor  # (B,) bool
    posterior: Tensor | None  # (B, C, S, S) noise of the autoencoder's posterior; None in pixel space
    feature: Tensor | None = None  # (B, Z) fp32 noise of the class token; None without one

    def rows(self, part: slice) -> Draw:
        """The draws of some images of the batch."""
        posterior, feature = (None if each is None else each[part] for each in (self.posterior, self.feature))
        return Draw(self.t[part], self.noise[part], self.dropped[part], self.flipped[part], posterior, feature)


def seed_of(seed: int, stream: int, index: int) -> int:
    """A 63-bit seed that differs between seeds, streams and indices as if drawn at random."""
    state = np.random.SeedSequence([seed, stream, index]).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))


def indices(seed: int, n: int, start: int, count: int) -> Tensor:
    """Draws number `start` … `start + count` − 1 of an endless reading of n images, int64 [count] on the CPU.

    Each epoch is a permutation drawn from (seed, epoch): every image is seen once before any is seen again.
    """
    pieces: list[Tensor] = []
    while count > 0:
        epoch, offset = divmod(start, n)
        generator = torch.Generator().manual_seed(seed_of(seed, ORDER, epoch))
        piece = torch.randperm(n, generator=generator)[offset : offset + count]
        pieces.append(piece)
        start, count = start + len(piece), count - len(piece)
    return torch.cat(pieces) if pieces else torch.empty(0, dtype=torch.int64)


class Order:
    """Which of n images each step takes, by `indices`; drawn for some steps at once and sent to the device."""

    def __init__(self, seed: int, n: int, batch: int, device: torch.device) -> None:
        self.seed, self.n, self.batch, self.device = seed, n, batch, device
        self._first, self._block = 0, torch.empty(0, dtype=torch.int64)

    def __call__(self, number: int) -> Tensor:
        """Those of step `number` (1 = the first), int64 [batch]."""
        batch, start = self.batch, (number - 1) * self.batch
        offset = start - self._first
        if not 0 <= offset <= len(self._block) - batch:
            self._first, offset = start, 0
            self._block = indices(self.seed, self.n, start, AHEAD * batch).to(self.device)
        return self._block[offset : offset + batch]


def draw(
    seed: int,
    step: int,
    path: Path,
    shape: tuple[int, int, int, int],
    *,
    drop: float,
    flip: bool,
    posterior: bool,
    device: torch.device,
    times: str = "uniform",
    feature_dim: int = 0,
) -> Draw:
    """The draws of one step for a batch of `shape` [B, C, S, S], made on `device`; `times` as `Path.draw_t` has it."""
    generator = torch.Generator(device).manual_seed(seed_of(seed, STEP, step))
    count = shape[0]
    t = path.draw_t(times, count, generator, device)
    noise = torch.randn(shape, generator=generator, device=device)
    chance = torch.rand(2, count, generator=generator, device=device)
    extra = torch.randn(shape, generator=generator, device=device) if posterior else None
    feature = torch.randn(count, feature_dim, generator=generator, device=device) if feature_dim else None
    flipped = (chance[1] < 0.5) if flip else torch.zeros(count, dtype=torch.bool, device=device)
    return Draw(t, noise, chance[0] < drop, flipped, extra, feature)
