"""From noise to images: the probability-flow ODE (Euler, Heun), DDIM with η, and SiT's SDE, each with guidance.

Every solver keeps the images it carries in the dtype of the noise (fp32), whatever the network computes in.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from d2c.diffusion.config import DIFFUSIONS, LAST_STEPS, SOLVERS
from d2c.diffusion.dit import DiT
from d2c.diffusion.guiding import Guided, Network, Plain
from d2c.diffusion.paths import LinearPath
from d2c.errors import UsageError

Report = Callable[[int], object]


@dataclasses.dataclass(frozen=True)
class Chance:
    """How much fresh noise the stochastic solvers add.

    `eta` is DDIM's: 0 adds none, 1 is DDPM's posterior. The rest is the SDE's: `diffusion` names w(t) and `norm` is its
    size; the last step, `last_size` of the way long, takes the mean (`mean`), the ODE alone (`euler`; the same as
    Tweedie's formula on a straight path), or is none, when the SDE runs to the end.
    """

    eta: float = 0.0
    diffusion: str = "sigma"
    norm: float = 1.0
    last_step: str = "mean"
    last_size: float = 0.04


@torch.inference_mode()
def sample(
    model: DiT | Network,
    noise: Tensor,
    labels: Tensor,
    *,
    steps: int = 25,
    solver: str = "heun",
    guidance: float = 1.0,
    interval: tuple[float, float] = (0.0, 1.0),
    guide: Network | None = None,
    chance: Chance | None = None,
    fresh: Callable[[], Tensor] | None = None,
    progress: Report | None = None,
) -> Tensor:
    """Carry noise (B, C, S, S) to the data under labels (B,); the result is in the dtype of the noise.

    `guidance`, `interval` and `guide` are those of `Guided`; `chance` and `fresh`, which gives noise like `noise` at
    each call (by default torch's), those of the stochastic solvers. `evaluations` counts what it costs. `progress` is
    called with the number of steps done.

    Raises UsageError for a solver that is not known, or that the model's path does not have.
    """
    if solver not in SOLVERS:
        raise UsageError(f"no solver {solver!r}; known: {', '.join(SOLVERS)}")
    chance, report = chance or Chance(), progress or (lambda _: None)
    draw = fresh or (lambda: torch.randn_like(noise))
    training = model.training if isinstance(model, nn.Module) else False
    if isinstance(model, nn.Module):
        model.eval()
    try:
        asked: Network = Plain(model) if isinstance(model, nn.Module) else model
        field = Guided(asked, labels, guidance, interval, guide)
        if solver == "sde":
            return _sde(field, noise, steps, chance, draw, report)
        if solver == "ddim":
            return _ddim(field, noise, steps, chance.eta, draw, report)
        return _ode(field, noise, steps, solver == "heun", report)
    finally:
        if isinstance(model, nn.Module):
            model.train(training)


def _ode(field: Guided, noise: Tensor, steps: int, heun: bool, report: Report) -> Tensor:
    """In the path's variables the ODE is du/ds = prediction (see `paths`): u = x, s = t on the straight paths;
    u = x/α, s = σ/α on DiT's, where euler is DDIM and heun a trapezoid between two of its times.

    The last step of heun is an Euler step, since nothing can be predicted at the clean end; the method stays of
    second order.
    """
    path = field.path
    grid = path.grid(steps)  # [steps+1], on the CPU: its numbers steer the loop without asking the device
    s: list[float] = path.ode_time(grid).tolist()
    scale: list[float] = path.ode_scale(grid).tolist()
    level: list[float] = path.sigma(grid).tolist()
    times = _on(grid, noise)
    u = noise * scale[0]
    for i in range(steps):
        h = s[i + 1] - s[i]
        slope = field(u / scale[i], times[i : i + 1], level[i])
        ahead = u + h * slope
        if heun and i + 1 < steps:
            slope_ahead = field(ahead / scale[i + 1], times[i + 1 : i + 2], level[i + 1])
            ahead = u + h * (slope + slope_ahead) / 2
        u = ahead
        report(i + 1)
    return u / scale[-1]


def _ddim(field: Guided, noise: Tensor, steps: int, eta: float, draw: Callable[[], Tensor], report: Report) -> Tensor:
    """Step to α'·x̂ + √(σ'² − s²)·ε̂ + s·z with s = η·σ'/σ·√(σ² − (α/α')²·σ'²): DDIM (2010.02502, eq. 12 and 16),
    written for any path. At η = 1 s is the deviation of the posterior q(x' | x, x̂), with η = 0 the step is euler's.
    """
    path = field.path
    grid = path.grid(steps)
    alpha: list[float] = path.alpha(grid).double().tolist()
    sigma: list[float] = path.sigma(grid).double().tolist()
    times = _on(grid, noise)
    x = noise
    for i in range(steps):
        t = times[i : i + 1]
        clean, eps = path.estimates(field(x, t, sigma[i]), x, t)
        spread = sigma[i] ** 2 - (alpha[i] / alpha[i + 1] * sigma[i + 1]) ** 2
        s = eta * sigma[i + 1] / sigma[i] * math.sqrt(max(spread, 0.0))
        x = alpha[i + 1] * clean + math.sqrt(max(sigma[i + 1] ** 2 - s**2, 0.0)) * eps
        if s > 0:
            x = x + s * draw()
        report(i + 1)
    return x


def _sde(
    field: Guided, noise: Tensor, steps: int, chance: Chance, draw: Callable[[], Tensor], report: Report
) -> Tensor:
    """Follow dx = (v + w·∇log p) da + √(2w) dW by Euler and Maruyama, a the share of the data (SiT, 2401.08740, §2),
    in `steps` evaluations: with a last step the grid is SiT's own for this many.

    Where w is infinite (sbdm at pure noise) the step is the ODE's, whose velocity is finite there.
    """
    path = field.path
    if not isinstance(path, LinearPath):
        raise UsageError(f"solver sde is for the straight paths of SiT and REPA, not for path {path.name}: use ddim")
    if chance.last_step not in LAST_STEPS:
        raise UsageError(f"no last step {chance.last_step!r}; known: {', '.join(LAST_STEPS)}")
    last = chance.last_size if chance.last_step != "none" else 0.0
    if last and steps < 2:
        raise UsageError("solver sde needs at least 2 steps: the last one is another")
    share = torch.linspace(0, 1 - last, steps if last else steps + 1, dtype=torch.float64)
    grid = share if path.data_at else 1 - share
    a: list[float] = share.tolist()
    times = _on(grid, noise)
    x = noise
    for i in range(steps):
        t, sigma = times[i : i + 1], 1 - a[i]
        clean, eps = path.estimates(field(x, t, sigma), x, t)
        velocity, w = clean - eps, diffusion_of(chance.diffusion, a[i], chance.norm)
        final = i + 1 == steps and last > 0
        w = 0.0 if math.isinf(w) or (final and chance.last_step == "euler") else w
        h = last if final else a[i + 1] - a[i]
        x = x + h * (velocity - w / sigma * eps)  # the score is −ε̂/σ
        if not final:  # drawn where w is 0 too, so that the noise of a step is the same for every w
            x = x + math.sqrt(2 * w * h) * draw()
        report(i + 1)
    return x


def diffusion_of(form: str, a: float, norm: float = 1.0) -> float:
    """The coefficient w at data share a ∈ [0, 1) on a straight path: SiT's choices (2401.08740)."""
    forms: dict[str, Callable[[], float]] = {
        "sigma": lambda: norm * (1 - a),
        "constant": lambda: norm,
        "sbdm": lambda: norm * (1 - a) / a if a else math.inf,
        "decreasing": lambda: 0.25 * (norm * math.cos(math.pi * a) + 1) ** 2,
        "increasing-decreasing": lambda: norm * math.sin(math.pi * a) ** 2,
    }
    if form not in forms:
        raise UsageError(f"no diffusion {form!r}; known: {', '.join(DIFFUSIONS)}")
    return forms[form]()


def evaluations(steps: int, solver: str) -> int:
    """How often the network is asked along one trajectory (NFE); guidance doubles the cost of each it works on."""
    return 2 * steps - 1 if solver == "heun" else steps


def noise_for(seed: int, indices: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Noise (len(indices), *shape) fp32 on the CPU; each row depends on (seed, index) alone, not on the batch."""
    return torch.stack([torch.randn(tuple(shape), generator=_generator(f"{seed}:{int(i)}")) for i in indices])


class FreshNoise:
    """Noise for the steps of a stochastic solver: the k-th call's row depends on (seed, index, k) alone.

    Drawn on the CPU, whatever the device, while the device is at work on the step.
    """

    def __init__(self, seed: int, indices: Sequence[int], shape: Sequence[int], device: torch.device) -> None:
        self._generators = [_generator(f"{seed}:{int(i)}:steps") for i in indices]
        self._shape, self._device = tuple(shape), device

    def __call__(self) -> Tensor:
        """(len(indices), *shape) fp32 on the device."""
        drawn = torch.stack([torch.randn(self._shape, generator=g) for g in self._generators])
        if self._device.type == "cuda":
            drawn = drawn.pin_memory()
        return drawn.to(self._device, non_blocking=True)


def to_uint8(x: Tensor) -> Tensor:
    """Pixels in [−1, 1] → uint8 by DiT's rule, clamp(127.5·x + 128, 0, 255), rounded down."""
    return (127.5 * x.float() + 128).clamp(0, 255).to(torch.uint8)


def _on(grid: Tensor, noise: Tensor) -> Tensor:
    """The times where the noise is, in its dtype unless they are whole numbers."""
    return (grid.to(noise.dtype) if grid.is_floating_point() else grid).to(noise.device)


def _generator(key: str) -> torch.Generator:
    digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest) >> 1)
