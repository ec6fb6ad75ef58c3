"""Paths between data and noise: x_t = α(t)·x + σ(t)·ε, and what a model on each of them predicts.

    name   clock                        x_t                prediction
    sit    t ∈ [0, 1], t = 1 is data    t·x + (1−t)·ε      v = x − ε
    repa   t ∈ [0, 1], t = 0 is data    (1−t)·x + t·ε      v = ε − x
    dit    t = 0 … 999, 0 nearly data   √ᾱ_t·x + √(1−ᾱ_t)·ε   ε (the first C channels)

So v_repa(x, t) = −v_sit(x, 1−t). The convention is an attribute of the model, never a guess.
Text-to-image models bring discrete clocks with other betas, or that predict v = √ᾱ_t·ε − √(1−ᾱ_t)·x (2202.00512,
appendix D): `d2c.diffusion.schedules` makes those paths from their schedulers.
Times are tensors of shape [B], or [1] for one time shared by the whole batch.
Sources: SiT (2401.08740) §2, REPA (2410.06940), DiT (2212.09748) with the linear betas of DDPM.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override  # in typing from Python 3.12; torch brings this one

from d2c.errors import UsageError

#: which quantity's squared error is meant: of the noise, of the velocity, of the clean image.
WEIGHTINGS = ("eps", "v", "x0")
#: DiT's clock has no time at which the image is clean; this index stands for it (α = 1, σ = 0).
CLEAN = -1
DIT_STEPS = 1000
#: how betas run over the discrete clock: evenly, or such that their square roots do (latent diffusion, 2112.10752).
BETAS = ("linear", "scaled_linear")


@dataclasses.dataclass(frozen=True)
class Path:
    """One convention. Stateless; `PATHS` holds the three that class-conditional models use."""

    name: str
    prediction: ClassVar[str]

    @property
    def weighting(self) -> str:
        """The weighting in which this path's own prediction error is measured: "v" or "eps"."""
        return "v" if self.prediction == "velocity" else "eps"

    def alpha(self, t: Tensor) -> Tensor:
        """α(t), the share of the data."""
        raise NotImplementedError

    def sigma(self, t: Tensor) -> Tensor:
        """σ(t), the share of the noise."""
        raise NotImplementedError

    def at(self, places: Tensor) -> Tensor:
        """[K] times at these places of the clock, which runs from 0 to 1."""
        raise NotImplementedError

    def timesteps(self, count: int) -> Tensor:
        """[K] stratified midpoints of the clock, ascending: one from each of K equal parts."""
        return self.at((torch.arange(count, dtype=torch.float64) + 0.5) / count)

    def sample_t(
        self, n: int, generator: torch.Generator | None = None, device: torch.device | str | None = None
    ) -> Tensor:
        """[n] times for training, uniform on the clock."""
        raise NotImplementedError

    def grid(self, steps: int) -> Tensor:
        """[steps+1] times from noise to data that a sampler walks along."""
        raise NotImplementedError

    def low_noise_time(self) -> Tensor:
        """[1] time at which σ/α = 1/9: nearly clean, where a network's features say most about the image."""
        raise NotImplementedError

    def target(self, x: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """What the network should predict, (B, C, H, W)."""
        raise NotImplementedError

    def estimates(self, prediction: Tensor, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Clean image x̂ and noise ε̂ that a prediction at x_t stands for, both (B, C, H, W)."""
        raise NotImplementedError

    def interpolate(self, x: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """x_t = α(t)·x + σ(t)·ε, (B, C, H, W)."""
        return _wide(self.alpha(t), x) * x + _wide(self.sigma(t), x) * eps

    def velocity(self, prediction: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """x̂ − ε̂, the velocity towards the data (SiT's v) that a prediction stands for, on any path."""
        clean, noise = self.estimates(prediction, x_t, t)
        return clean - noise

    def error_weights(self, t: Tensor, weighting: str) -> Tensor:
        """[K] factors that turn this path's own squared error at times t into another weighting, float64.

        With x_t known, δx = −(σ/α)·δε and |δv| = |δε|/α on every path (on a discrete one, v = αε − σx).
        So from v: ε is α², x0 is σ²; from ε: v is 1/α², x0 is σ²/α².
        """
        if weighting not in WEIGHTINGS:
            raise UsageError(f"no weighting {weighting!r}; known: {', '.join(WEIGHTINGS)}")
        alpha, sigma = self.alpha(t).double(), self.sigma(t).double()
        from_v = {"v": torch.ones_like(alpha), "eps": alpha.square(), "x0": sigma.square()}
        return from_v[weighting] / from_v[self.weighting]

    def squared_error(
        self, prediction: Tensor, x: Tensor, eps: Tensor, t: Tensor, weighting: str | None = None
    ) -> Tensor:
        """[B] mean squared error over C, H, W in fp32, in a weighting (None: the path's own)."""
        difference = prediction.float() - self.target(x, eps, t).float()
        own = difference.square().flatten(1).mean(1)
        return own if weighting is None else own * self.error_weights(t, weighting).to(own.dtype)

    # A sampler integrates du/ds = prediction. On the linear paths u = x and s = t.

    def ode_time(self, t: Tensor) -> Tensor:
        """s(t), the variable in which the probability-flow ODE is du/ds = prediction."""
        return t

    def ode_scale(self, t: Tensor) -> Tensor:
        """u/x at time t."""
        return torch.ones_like(t)


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
        return x_t + _wide(self.sigma(t), x_t) * v, x_t - _wide(self.alpha(t), x_t) * v


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
    def target(self, x: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        return eps

    @override
    def estimates(self, prediction: Tensor, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        clean = (x_t - _wide(self.sigma(t), x_t) * prediction) / _wide(self.alpha(t), x_t)
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
        return _wide(self.alpha(t), x) * eps - _wide(self.sigma(t), x) * x

    @override
    def estimates(self, prediction: Tensor, x_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        alpha, sigma = _wide(self.alpha(t), x_t), _wide(self.sigma(t), x_t)
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


def _wide(values: Tensor, like: Tensor) -> Tensor:
    """(B,) → (B, 1, 1, 1) in the dtype of the images."""
    return values.to(like.dtype).reshape(-1, *[1] * (like.dim() - 1))
