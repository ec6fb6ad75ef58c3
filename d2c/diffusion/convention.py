"""What every path between data and noise answers: where it is at a time, and what a model predicts there."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import torch
from torch import Tensor

from d2c.errors import UsageError

#: which quantity's squared error is meant: of the noise, of the velocity, of the clean image.
WEIGHTINGS = ("eps", "v", "x0")
#: how a training step draws its times: evenly on the clock, or such that ln(σ/α) is standard normal.
T_DRAWS = ("uniform", "lognormal")


@dataclasses.dataclass(frozen=True)
class Path:
    """One convention. Stateless; `d2c.diffusion.paths.PATHS` holds those that class-conditional models use."""

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

    def at_ratio(self, ratio: Tensor) -> Tensor:
        """[n] times at which σ/α is `ratio` [n] > 0; on a clock of whole steps the nearest in its logarithm."""
        raise NotImplementedError

    def sample_t(
        self, n: int, generator: torch.Generator | None = None, device: torch.device | str | None = None
    ) -> Tensor:
        """[n] times for training, uniform on the clock."""
        raise NotImplementedError

    def draw_t(
        self, how: str, n: int, generator: torch.Generator | None = None, device: torch.device | str | None = None
    ) -> Tensor:
        """[n] times for training: one of T_DRAWS.

        "lognormal" is REPA's weighting of that name, and LightningDiT's: ln(σ/α) ~ N(0, 1), which on a straight path
        is t = sigmoid(n). Raises UsageError for another name.
        """
        if how == "uniform":
            return self.sample_t(n, generator, device)
        if how != "lognormal":
            raise UsageError(f"no draw of times {how!r}; known: {', '.join(T_DRAWS)}")
        return self.at_ratio(torch.randn(n, generator=generator, device=device).exp())

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
        return wide(self.alpha(t), x) * x + wide(self.sigma(t), x) * eps

    def velocity(self, prediction: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """x̂ − ε̂, the velocity towards the data (SiT's v) that a prediction stands for, on any path."""
        clean, noise = self.estimates(prediction, x_t, t)
        return clean - noise

    @property
    def speed(self) -> float:
        """How many times the v of `error_weights` a predicted velocity is: π/2 on the cosine path, else 1."""
        return 1.0

    def error_weights(self, t: Tensor, weighting: str) -> Tensor:
        """[K] factors that turn this path's own squared error at times t into another weighting, float64.

        With x_t known, δx = −(σ/α)·δε and |δv| = |δε|/α on every path (on a curved one, v = αε − σx).
        So from v: ε is α², x0 is σ²; from ε: v is 1/α², x0 is σ²/α².
        """
        if weighting not in WEIGHTINGS:
            raise UsageError(f"no weighting {weighting!r}; known: {', '.join(WEIGHTINGS)}")
        alpha, sigma = self.alpha(t).double(), self.sigma(t).double()
        from_v = {"v": torch.ones_like(alpha), "eps": alpha.square(), "x0": sigma.square()}
        return from_v[weighting] / from_v[self.weighting] / self.speed**2

    def squared_error(
        self, prediction: Tensor, x: Tensor, eps: Tensor, t: Tensor, weighting: str | None = None
    ) -> Tensor:
        """[B] mean squared error over C, H, W in fp32, in a weighting (None: the path's own)."""
        difference = prediction.float() - self.target(x, eps, t).float()
        own = difference.square().flatten(1).mean(1)
        return own if weighting is None else own * self.error_weights(t, weighting).to(own.dtype)

    # A sampler integrates du/ds = prediction. On the paths that predict dx/dt, u = x and s = t.

    def ode_time(self, t: Tensor) -> Tensor:
        """s(t), the variable in which the probability-flow ODE is du/ds = prediction."""
        return t

    def ode_scale(self, t: Tensor) -> Tensor:
        """u/x at time t."""
        return torch.ones_like(t)


def wide(values: Tensor, like: Tensor) -> Tensor:
    """(B,) → (B, 1, 1, 1) in the dtype of the images."""
    return values.to(like.dtype).reshape(-1, *[1] * (like.dim() - 1))
