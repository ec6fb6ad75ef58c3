"""SRe2L (`d2c.select.sre2l`): images that descend, from noise, what a classifier holds against them."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from d2c.errors import D2CError

BATCH = 100  # images optimised together: their statistics are what is compared
FIRST = 10.0  # weight of the first batch-norm layer; the others have 1
TV, L2 = 1e-4, 1e-5
NOISE = 0.5  # standard deviation of what is begun with, in pixels of −1 … 1
CROPS_FROM = 64  # px: smaller images are shifted only
AREA, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)  # of a random crop


@contextlib.contextmanager
def statistics(model: nn.Module) -> Iterator[list[Tensor]]:
    """Within, every pass of the model fills the list: for each batch-norm layer ‖μ − μ̂‖ + ‖σ² − σ̂²‖, in order.

    μ and σ² (biased) are over the batch and all positions of what comes into the layer, hats its running ones.
    """
    found: list[Tensor] = []
    layers = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]

    def hook(layer: nn.BatchNorm2d, given: tuple[Tensor, ...]) -> None:
        if layer is layers[0]:
            found.clear()
        x = given[0].float()
        var, mean = torch.var_mean(x, dim=(0, 2, 3), correction=0)
        assert layer.running_mean is not None
        assert layer.running_var is not None
        norm = torch.linalg.vector_norm
        found.append(norm(mean - layer.running_mean) + norm(var - layer.running_var))

    handles = [layer.register_forward_pre_hook(hook) for layer in layers]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def variation(x: Tensor) -> Tensor:
    """R_TV of images [B, C, S, S]: norms of the differences along both sides and both diagonals, over the batch."""
    parts = (
        x[..., :, 1:] - x[..., :, :-1],
        x[..., 1:, :] - x[..., :-1, :],
        x[..., 1:, 1:] - x[..., :-1, :-1],
        x[..., 1:, :-1] - x[..., :-1, 1:],
    )
    return torch.stack([torch.linalg.vector_norm(part) for part in parts]).sum()


def objective(model: nn.Module, x: Tensor, labels: Tensor, bn: float, found: list[Tensor]) -> Tensor:
    """What images x [B, C, s, s] descend; `found` is that of `statistics`. Scalar, float32."""
    scores = model(x).float()
    weights = [FIRST] + [1.0] * (len(found) - 1)
    layers = torch.stack([w * part for w, part in zip(weights, found, strict=True)]).sum()
    size = torch.linalg.vector_norm(x.flatten(1), dim=1).mean()
    loss: Tensor = F.cross_entropy(scores, labels) + bn * layers + TV * variation(x) + L2 * size
    return loss


def resizing(start: int, length: int, size: int, side: int) -> Tensor:
    """The matrix [side, size] that resizes pixels start … start + length of a side: bilinear with antialiasing.

    As a product its gradient is the same in every run, which that of a GPU's interpolation is not.
    """
    whole = torch.zeros(side, size)
    eye = torch.eye(length)[None, None]
    whole[:, start : start + length] = F.interpolate(
        eye, size=(side, length), mode="bilinear", antialias=True, align_corners=False
    )[0, 0]
    return whole


class View:
    """What the classifier sees of images at one step, drawn from a generator: crop, mirror, shift."""

    def __init__(self, size: int, side: int, mirror: bool, draw: np.random.Generator) -> None:
        self.size, self.side, self.mirror, self.draw = size, side, mirror, draw

    def __call__(self, x: Tensor) -> Tensor:
        """Images [B, C, size, size] → [B, C, side, side]; one draw for the whole batch."""
        draw, size, side = self.draw, self.size, self.side
        if size >= CROPS_FROM:
            share = draw.uniform(*AREA)
            ratio = math.exp(draw.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
            width, height = (min(max(round(size * math.sqrt(share * r)), 1), size) for r in (ratio, 1 / ratio))
            left, top = int(draw.integers(size - width + 1)), int(draw.integers(size - height + 1))
            across = resizing(left, width, size, side).to(x)
            down = resizing(top, height, size, side).to(x)
            x = down @ x @ across.T
        elif size != side:
            whole = resizing(0, size, size, side).to(x)
            x = whole @ x @ whole.T
        if self.mirror and draw.random() < 0.5:
            x = x.flip(-1)
        reach = side // 8
        shifts = draw.integers(reach + 1, size=2).tolist()
        return x.roll(shifts, dims=(2, 3)) if reach else x


def recover(
    model: nn.Module,
    labels: NDArray[np.int64],
    *,
    channels: int,
    size: int,
    side: int,
    steps: int,
    lr: float,
    bn: float,
    mirror: bool = False,
    seed: tuple[int, ...] = (0,),
    device: torch.device | str = "cpu",
    each: Callable[[float], None] = lambda loss: None,
) -> tuple[NDArray[np.uint8], list[float]]:
    """Images uint8 [B, channels, size, size] of these classes [B], and the loss before each step [steps].

    `model` is in eval mode and reads `side` px; its weights are not touched. The same seed gives the same images on one
    device. `each(loss)` is called after every step. Raises D2CError when the loss is no number.
    """
    device = torch.device(device)
    draw = np.random.default_rng(seed)
    noise = draw.normal(scale=NOISE, size=(len(labels), channels, size, size)).astype(np.float32)
    x = torch.from_numpy(noise).clamp_(-1, 1).to(device).requires_grad_()
    targets = torch.from_numpy(np.asarray(labels, np.int64)).to(device)
    view = View(size, side, mirror, draw)
    optimizer = torch.optim.Adam([x], lr=lr, betas=(0.5, 0.9))
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    grads = {p: p.requires_grad for p in model.parameters()}
    history: list[float] = []
    model.requires_grad_(False)
    try:
        with statistics(model) as found, torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
            for step in range(steps):
                loss = objective(model, view(x), targets, bn, found)
                history.append(float(loss.detach()))
                if not math.isfinite(history[-1]):
                    raise D2CError(f"sre2l's loss is {history[-1]} at step {step + 1}: give a smaller --lr or --bn")
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                rate.step()
                with torch.no_grad():
                    x.clamp_(-1, 1)
                each(history[-1])
    finally:
        for parameter, kept in grads.items():
            parameter.requires_grad_(kept)
    pixels: NDArray[np.uint8] = (127.5 * x.detach() + 128).clamp(0, 255).to(torch.uint8).cpu().numpy()
    return pixels, history
