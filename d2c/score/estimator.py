"""The difficulty estimator: a frozen model's squared error at fixed timesteps under fixed noise.

    e_j(x) = mean over C, H, W of ‖ target_j − model(α_j x + σ_j ε_j, t_j, c) ‖²,     j = 0 … K − 1

Source: D2C (arXiv 2507.05914) §"Select", which averages the ε error over timesteps drawn uniformly. Not
given there and decided here: the t_j are the same for every image (`d2c.score.grid` says which) and the ε_j come from
(seed, j) alone. What is common to all images then cancels in the ranking instead of adding noise to it, and a score
does not depend on batch, order, shard, process or resume.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from torch import Tensor

from d2c.errors import D2CError
from d2c.progress import Progress
from d2c.score import grid as grids
from d2c.score.grid import Grid
from d2c.score.judges import ClassJudge, Judge, Targets

#: tokens in a forward pass to begin with: a GPU is full from about so many, a CPU's caches are.
TOKENS = {"cuda": 1 << 16, "cpu": 1 << 13}
BATCH = (8, 4096)
PILOT_BANK = 2


def noise_bank(seed: int, bank: int, count: int, shape: tuple[int, ...]) -> Tensor:
    """ε_0 … ε_{K−1}, float32 [K, *shape], the same on every device and for every K that reaches so far.

    ε_{2i} is drawn from (seed, bank, i) and ε_{2i+1} = −ε_{2i}: what is odd in ε nearly cancels between
    neighbouring timesteps, and what is even in it is averaged over K/2 draws. docs/estimator.md compares designs.
    """
    draws = [np.random.default_rng((seed, bank, i)).standard_normal(shape, np.float32) for i in range(-(-count // 2))]
    pairs = torch.from_numpy(np.stack(draws)).repeat_interleave(2, dim=0)[:count]  # [K, C, H, W]
    pairs[1::2] *= -1
    return pairs


@dataclasses.dataclass(eq=False)
class Estimator:
    """A judge with its timesteps and two noise banks, ready on its device."""

    judge: Judge
    device: torch.device
    grid: Grid
    seed: int
    batch: int = 0  # images per forward pass; 0 = found: from `TOKENS` on, halved as long as memory is short

    def __post_init__(self) -> None:
        tokens = TOKENS.get(self.device.type, TOKENS["cpu"])
        self.batch = self.batch or int(np.clip(tokens // self.judge.tokens, *BATCH))
        self.count = len(self.grid.places)
        self.timesteps = self.judge.path.at(torch.from_numpy(self.grid.places))  # [K]
        self.shape = (self.judge.channels, self.judge.side, self.judge.side)
        self._banks: dict[int, Tensor] = {}
        self.busy = Stopwatch(self.device)

    def bank(self, number: int) -> Tensor:
        """The noise [K, C, S, S] of one bank, on the device."""
        if number not in self._banks:
            self._banks[number] = noise_bank(self.seed, number, self.count, self.shape).to(self.device)
        return self._banks[number]

    def errors(
        self,
        x: np.ndarray | Tensor,
        targets: Targets,
        bank: int = 0,
        *,
        null: bool = False,
        progress: Progress | None = None,
    ) -> np.ndarray:
        """Errors in the path's own weighting, float32 [n, K].

        x [n, C, S, S]: uint8 pixels, or latents as they are; targets: n classes or captions, which `null` puts aside.
        `progress` is advanced batch by batch. Raises D2CError when not even one image fits into the device's memory.
        """
        return self._errors(x, targets, self.timesteps, self.bank(bank), null, progress)

    def pilot(self, x: np.ndarray | Tensor, targets: Targets, progress: Progress | None = None) -> np.ndarray:
        """Errors [n, G] at the pilot's G timesteps, each under one and the same noise of a bank of its own."""
        times, noise = self._pilot()
        return self._errors(x, targets, times, noise, False, progress)

    @torch.inference_mode()
    def observe(self, x: np.ndarray | Tensor, targets: Targets) -> Tensor:
        """What an fp8 `ClassJudge` must be told, from the pilot's inputs: the largest of each, (depth, 4)."""
        assert isinstance(self.judge, ClassJudge)
        z, (times, noise) = self._model_input(torch.as_tensor(x)), self._pilot()
        condition, path = self.judge.prepare(targets), self.judge.path
        found = [
            self.judge.observe(path.interpolate(z, eps.expand_as(z), t[None]), t[None], condition)
            for t, eps in zip(times.to(self.device), noise, strict=True)
        ]
        return torch.stack(found).amax(0)

    def _pilot(self) -> tuple[Tensor, Tensor]:
        """The pilot's timesteps [G] and its noise [G, C, S, S]."""
        noise = noise_bank(self.seed, PILOT_BANK, 1, self.shape).to(self.device)
        places = torch.from_numpy(grids.uniform(grids.TIMES).places)
        return self.judge.path.at(places), noise.expand(grids.TIMES, *self.shape)

    @torch.inference_mode()
    def _errors(
        self,
        x: np.ndarray | Tensor,
        targets: Targets,
        timesteps: Tensor,
        noise: Tensor,
        null: bool,
        progress: Progress | None,
    ) -> np.ndarray:
        x = torch.as_tensor(x)
        rows, start = [torch.empty(0, len(timesteps), device=self.device)], 0
        while start < len(x):
            stop = min(start + self.batch, len(x))
            try:
                rows.append(self._batch(x[start:stop], targets[start:stop], timesteps, noise, null))
                if progress is not None:
                    progress.advance(stop - start)
                start = stop
            except torch.OutOfMemoryError:
                if self.batch == 1:
                    raise D2CError(
                        f"not even one image fits into the memory of {self.device}: use a smaller scorer or another GPU"
                    ) from None
                self.batch //= 2
            if self.batch < stop - start:
                torch.cuda.empty_cache()  # outside of the handler, which still holds what was allocated
        return torch.cat(rows).cpu().numpy()

    def _batch(self, x: Tensor, targets: Targets, timesteps: Tensor, noise: Tensor, null: bool) -> Tensor:
        count = len(x)
        if self.judge.fixed_batch and count < self.batch:  # filled up with its last image
            fill = np.minimum(np.arange(self.batch), count - 1)
            x = x[torch.from_numpy(fill)]
            targets = targets[fill] if isinstance(targets, np.ndarray) else [targets[i] for i in fill]
        z = self._model_input(x)
        condition = self.judge.null(len(z)) if null else self.judge.prepare(targets)
        path, table = self.judge.path, []
        with self.busy:
            for t, eps in zip(timesteps.to(self.device), noise, strict=True):
                eps = eps.expand_as(z)
                out = self.judge.ask(path.interpolate(z, eps, t[None]), t[None], condition)
                table.append(path.squared_error(out, z, eps, t[None], path.weighting))  # fp32 [B]
        return torch.stack(table, dim=1)[:count]

    def _model_input(self, x: Tensor) -> Tensor:
        """On the device in fp32: pixels to [−1, 1], latents as they are."""
        z = x.to(self.device, non_blocking=True)
        return z.float() / 127.5 - 1 if z.dtype == torch.uint8 else z.float()


class Stopwatch:
    """Seconds for which the device had our work: spans between CUDA events, read when asked; elsewhere nothing."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._spans: list[tuple[Any, Any]] = []
        self._total = 0.0

    def __enter__(self) -> None:
        if self._cuda:
            event: Any = torch.cuda.Event
            span = event(enable_timing=True), event(enable_timing=True)
            span[0].record()
            self._spans.append(span)

    def __exit__(self, *_: object) -> None:
        if self._cuda:
            self._spans[-1][1].record()

    def seconds(self) -> float | None:
        """All spans so far; None on a device that does not tell. Waits for the device."""
        if not self._cuda:
            return None
        torch.cuda.synchronize()
        self._total += sum(a.elapsed_time(b) for a, b in self._spans) / 1000
        self._spans.clear()
        return self._total
