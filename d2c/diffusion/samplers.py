"""From noise to images along the probability-flow ODE, with classifier-free guidance."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from d2c.diffusion.config import SOLVERS
from d2c.diffusion.dit import DiT
from d2c.errors import UsageError


@torch.inference_mode()
def sample(
    model: DiT,
    noise: Tensor,
    labels: Tensor,
    *,
    steps: int = 25,
    solver: str = "heun",
    guidance: float = 1.0,
    progress: Callable[[int], object] | None = None,
) -> Tensor:
    """Carry noise (B, C, S, S) to the data under labels (B,); the result is in the dtype of the noise.

    In the path's variables the ODE is du/ds = prediction (see `paths`): u = x, s = t on the straight paths;
    u = x/α, s = σ/α on DiT's, where euler is DDIM and heun a trapezoid between two of its times. The last
    step of heun is an Euler step, since nothing can be predicted at the clean end; the method stays of second
    order. `evaluations` counts what it costs. `progress` is called with the number of steps done.
    """
    if solver not in SOLVERS:
        raise UsageError(f"no solver {solver!r}; known: {', '.join(SOLVERS)}")
    path = model.path
    grid = path.grid(steps)  # [steps+1], on the CPU: its numbers steer the loop without asking the device
    s: list[float] = path.ode_time(grid).tolist()
    scale: list[float] = path.ode_scale(grid).tolist()
    times = (grid.to(noise.dtype) if grid.is_floating_point() else grid).to(noise.device)
    training = model.training
    model.eval()
    try:
        u = noise * scale[0]
        for i in range(steps):
            h = s[i + 1] - s[i]
            slope = predict(model, u / scale[i], times[i : i + 1], labels, guidance)
            ahead = u + h * slope
            if solver == "heun" and i + 1 < steps:
                slope_ahead = predict(model, ahead / scale[i + 1], times[i + 1 : i + 2], labels, guidance)
                ahead = u + h * (slope + slope_ahead) / 2
            u = ahead
            if progress is not None:
                progress(i + 1)
    finally:
        model.train(training)
    return u / scale[-1]


def predict(model: DiT, x: Tensor, t: Tensor, labels: Tensor, guidance: float) -> Tensor:
    """The model's prediction at x (B, C, S, S), guided: uncond + g·(cond − uncond). With g = 1 it runs once.

    All channels are guided. The released DiT guides only its first three of four, which its authors call a
    quirk kept for reproducibility; we do not keep it.
    """
    if guidance == 1:
        return model.prediction(model(x, t, labels)).to(x.dtype)
    nobody = torch.full_like(labels, model.config.num_classes)
    out = model.prediction(model(torch.cat([x, x]), t, torch.cat([labels, nobody]))).to(x.dtype)
    conditional, unconditional = out.chunk(2)
    return unconditional + guidance * (conditional - unconditional)


def evaluations(steps: int, solver: str) -> int:
    """How often the network is asked along one trajectory (NFE); guidance doubles the cost of each."""
    return steps if solver == "euler" else 2 * steps - 1


def noise_for(seed: int, indices: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Noise (len(indices), *shape) fp32 on the CPU; each row depends on (seed, index) alone, not on the batch."""
    return torch.stack([torch.randn(tuple(shape), generator=_generator(seed, int(i))) for i in indices])


def to_uint8(x: Tensor) -> Tensor:
    """Pixels in [−1, 1] → uint8 by DiT's rule, clamp(127.5·x + 128, 0, 255), rounded down."""
    return (127.5 * x.float() + 128).clamp(0, 255).to(torch.uint8)


def _generator(seed: int, index: int) -> torch.Generator:
    digest = hashlib.blake2b(f"{seed}:{index}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest) >> 1)
