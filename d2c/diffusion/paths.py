"""Paths between data and noise: x_t = α(t)·x + σ(t)·ε, and what a model on each of them predicts.

    name        clock                        x_t                         prediction
    sit         t ∈ [0, 1], t = 1 is data    t·x + (1−t)·ε               v = dx_t/dt = x − ε
    repa        t ∈ [0, 1], t = 0 is data    (1−t)·x + t·ε               v = dx_t/dt = ε − x
    sit-cosine  t ∈ [0, 1], t = 1 is data    sin(πt/2)·x + cos(πt/2)·ε   v = dx_t/dt
    dit         t = 0 … 999, 0 nearly data   √ᾱ_t·x + √(1−ᾱ_t)·ε         ε (the first C channels)

So v_repa(x, t) = −v_sit(x, 1−t). "sit-cosine" is SiT's GVP, and REPA's "cosine" with the clock turned.
The convention is an attribute of the model, never a guess.
Text-to-image models bring discrete clocks with other betas, or that predict v = √ᾱ_t·ε − √(1−ᾱ_t)·x (2202.00512,
appendix D): `d2c.diffusion.schedules` makes those paths from their schedulers.
Times are tensors of shape [B], or [1] for one time shared by the whole batch.
Sources: SiT (2401.08740) §2, REPA (2410.06940), DiT (2212.09748) with the linear betas of DDPM.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override  # in typing from Python 3.12; torch brings this one

from d2c.diffusion.convention import WEIGHTINGS as WEIGHTINGS
from d2c.diffusion.convention import Path as Path
from d2c.diffusion.convention import wide
from d2c.errors import UsageError

#: DiT's clock has no time at which the image is clean; this index stands for it (α = 1, σ = 0).
CLEAN = -1
DIT_STEPS = 1000
#: how betas run over the discrete clock: evenly, or such that their square roots do (latent diffusion, 2112.10752).
BETAS = ("linear", "scaled_linear")


@dataclasses.dataclass(frozen=True)
class LinearPath(Path):
    """The straight line between an image and its noise; `data_at` is the time of the image, 0 or 1."""

    data_at: int
    prediction: ClassVar[str] = "velocity"

    @override
    def alpha(self, t: Tensor) -> Tensor:
        return t if self.data_at else 1 - t

    @override
    def sigma(self, t: Tensor) -> Tensor:
        return 1 - t if self.data_at else t

    @override
    def at(self, places: Tensor) -> Tensor:
        return places.float()

    @override
    def sample_t(
        self, n: int, generator: torch.Generator | None = None, device: torch.device | str | None = None
    ) -> Tensor:
        return torch.rand(n, generator=generator, device=device)

    @override
    def at_ratio(self, ratio: Tensor) -> Tensor:
        return 1 / (1 + ratio) if self.data_at else ratio / (1 + ratio)

    @override
    def grid(self, steps: int) -> Tensor:
        return torch.linspace(1 - self.data_at, self.data_at, steps + 1, dtype=torch.float64)

    @override
    def low_noise_time(self) -> Tensor:
        return torch.tensor([0.9 if self.data_at else 0.1])

    @override
    def target(self, x: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        return x - eps if self.data_at else eps - x

    @override
    def estimates(self, prediction: Tensor, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        v = prediction if self.data_at else -prediction
        return x_t + wide(self.sigma(t), x_t) * v, x_t - wide(self.alpha(t), x_t) * v


@dataclasses.dataclass(frozen=True)
class CosinePath(Path):
    """A quarter of a circle from noise to its image, α = sin θ and σ = cos θ at θ = πt/2 (SiT's GVP, 2401.08740, §2).

    The network predicts dx_t/dt = π/2 · (cos θ · x − sin θ · ε), so that its probability-flow ODE runs in x and t.
    """

    prediction: ClassVar[str] = "velocity"

    @property
    @override
    def speed(self) -> float:
        return math.pi / 2

    @override
    def alpha(self, t: Tensor) -> Tensor:
        return (math.pi / 2 * t).sin()

    @override
    def sigma(self, t: Tensor) -> Tensor:
        return (math.pi / 2 * (1 - t)).sin()  # the cosine of πt/2, and 0 at t = 1 to the last digit

    @override
    def at(self, places: Tensor) -> Tensor:
        return places.float()

    @override
    def at_ratio(self, ratio: Tensor) -> Tensor:
        return torch.atan(1 / ratio) / (math.pi / 2)

    @override
    def sample_t(
        self, n: int, generator: torch.Generator | None = None, device: torch.device | str | None = None
    ) -> Tensor:
        return torch.rand(n, generator=generator, device=device)

    @override
    def grid(self, steps: int) -> Tensor:
        return torch.linspace(0, 1, steps + 1, dtype=torch.float64)

    @override
    def low_noise_time(self) -> Tensor:
        return self.at_ratio(torch.tensor([1 / 9]))

    @override
    def target(self, x: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        return self.speed * (wide(self.sigma(t), x) * x - wide(self.alpha(t), x) * eps)

    @override
    def estimates(self, prediction: Tensor, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        alpha, sigma, v = wide(self.alpha(t), x_t), wide(self.sigma(t), x_t), prediction / self.speed
        return alpha * x_t + sigma * v, sigma * x_t - alpha * v


@dataclasses.dataclass(frozen=True)
class DiscretePath(Path):
    """A variance-preserving chain of steps that predicts ε; times are integers. By default DDPM's, as DiT uses it.

    `schedule` is one of BETAS and runs from `start` to `end` over `steps` times.
    In u = x/α and s = σ/α the probability-flow ODE is du/ds = ε (DDIM, 2010.02502, eq. 14): an Euler step
    there is exactly a deterministic DDIM step.
    """

    schedule: str = "linear"
    start: float = 1e-4
    end: float = 0.02
    steps: int = DIT_STEPS
    prediction: ClassVar[str] = "epsilon"

    def _alpha_bar(self, t: Tensor) -> Tensor:
        return _alpha_bar(self.schedule, self.start, self.end, self.steps, t.device)[t.long()]

    @override
    def alpha(self, t: Tensor) -> Tensor:
        return self._alpha_bar(t).sqrt()

    @override
    def sigma(self, t: Tensor) -> Tensor:
        return (1 - self._alpha_bar(t)).sqrt()

    @override
    def at(self, places: Tensor) -> Tensor:
        return (places * self.steps + 1e-6).long().clamp_max(self.steps - 1)

    @override
    def sample_t(
        self, n: int, generator: torch.Generator | None = None, device: torch.device | str | None = None
    ) -> Tensor:
        return torch.randint(self.steps, (n,), generator=generator, device=device)

    @override
    def grid(self, steps: int) -> Tensor:
        if steps > self.steps:
            raise UsageError(f"{steps} steps: this model has {self.steps} times to step through")
        if steps == 1:
            return torch.tensor([self.steps - 1, CLEAN])
        times = torch.linspace(self.steps - 1, 0, steps, dtype=torch.float64).round().long()
        return torch.cat([times, torch.tensor([CLEAN])])

    @override
    def low_noise_time(self) -> Tensor:
        times = torch.arange(self.steps)
        ratio = self.sigma(times) / self.alpha(times)
        return (ratio - 1 / 9).abs().argmin().reshape(1)

    @override
    def at_ratio(self, ratio: Tensor) -> Tensor:
        times = torch.arange(self.steps, device=ratio.device)
        levels = (self.sigma(times) / self.alpha(times)).log()  # ascending
        between = (levels[1:] + levels[:-1]) / 2
        return torch.bucketize(ratio.double().log(), between)

    @override
    def target(self, x: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        return eps

    @override
    def estimates(self, prediction: Tensor, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        clean = (x_t - wide(self.sigma(t), x_t) * prediction) / wide(self.alpha(t), x_t)
        return clean, prediction

    @override
    def ode_time(self, t: Tensor) -> Tensor:
        return self.sigma(t) / self.alpha(t)

    @override
    def ode_scale(self, t: Tensor) -> Tensor:
        return 1 / self.alpha(t)


@dataclasses.dataclass(frozen=True)
class DiscreteVelocityPath(DiscretePath):
    """The same chain for a model that predicts v = αε − σx (2202.00512, appendix D).

    With α = cos φ and σ = sin φ it is dx_t/dφ = v, so u = x and s = φ.
    """

    prediction: ClassVar[str] = "velocity"

    @override
    def target(self, x: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        return wide(self.alpha(t), x) * eps - wide(self.sigma(t), x) * x

    @override
    def estimates(self, prediction: Tensor, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        alpha, sigma = wide(self.alpha(t), x_t), wide(self.sigma(t), x_t)
        return alpha * x_t - sigma * prediction, sigma * x_t + alpha * prediction

    @override
    def ode_time(self, t: Tensor) -> Tensor:
        return torch.atan2(self.sigma(t), self.alpha(t))

    @override
    def ode_scale(self, t: Tensor) -> Tensor:
        return torch.ones_like(self.alpha(t))


PATHS: dict[str, Path] = {
    "sit": LinearPath("sit", data_at=1),
    "repa": LinearPath("repa", data_at=0),
    "sit-cosine": CosinePath("sit-cosine"),
    "dit": DiscretePath("dit"),
}


@functools.cache
def _alpha_bar(schedule: str, start: float, end: float, steps: int, device: torch.device) -> Tensor:
    """ᾱ_t for t = 0 … steps−1 and, as the last entry, which index CLEAN means, 1; float64."""
    if schedule not in BETAS:
        raise UsageError(f"no schedule {schedule!r} of betas; known: {', '.join(BETAS)}")
    power = 2 if schedule == "scaled_linear" else 1
    roots = torch.linspace(start ** (1 / power), end ** (1 / power), steps, dtype=torch.float64, device="cpu")
    return torch.cat([(1 - roots**power).cumprod(0), torch.ones(1, dtype=torch.float64, device="cpu")]).to(device)
