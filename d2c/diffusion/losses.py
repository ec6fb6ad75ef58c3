"""The losses of training: that of the path, the variance's, and hidden tokens' alignment with a vision encoder's."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from d2c.diffusion.convention import Path
from d2c.diffusion.dit import DiT

HALF_BIN = 1 / 255  # of the 256 values of a channel in [−1, 1]
LEAST = 1e-12  # probability that a logarithm is taken of


class Denoised(NamedTuple):
    """What one pass of a model over a batch of B says."""

    error: Tensor  # [B] fp32, mean squared error of the prediction, over C, H, W
    tokens: Tensor | None  # (B, T, D) at the tap
    feature: Tensor | None  # [B] fp32, the same of the class token, over its channels
    bound: Tensor | None  # [B] fp32, the variational bound's term, bits a dimension


def denoise(
    model: DiT,
    x: Tensor,
    y: Tensor,
    t: Tensor,
    eps: Tensor,
    *,
    tap: int | None = None,
    ask: Callable[..., Any] | None = None,
    bound: bool = False,
) -> Denoised:
    """Noise x to x_t, ask the model, and hold its prediction to the path's target.

    x, eps (B, C, H, W), or joint states (B, C·S·S + Z) of a model with a class token; y, t (B,). `ask` stands for the
    model's forward pass where there is a quicker one. `bound` is for a model that puts out a variance too, which
    nothing else trains.
    """
    x_t, ask = model.path.interpolate(x, eps, t), ask or model
    out, tokens = (ask(x_t, t, y), None) if tap is None else ask(x_t, t, y, tap=tap)
    prediction, feature = model.prediction(out), None
    if model.config.feature_dim:
        squared = (prediction.float() - model.path.target(x, eps, t).float()).square()
        pixels = squared.shape[1] - model.config.feature_dim
        error, feature = squared[:, :pixels].mean(1), squared[:, pixels:].mean(1)
    else:
        error = model.path.squared_error(prediction, x, eps, t)
    return Denoised(error, tokens, feature, variational_bound(model.path, out, x, eps, t) if bound else None)


def diffusion_loss(
    model: DiT,
    x: Tensor,
    y: Tensor,
    t: Tensor,
    eps: Tensor,
    tap: int | None = None,
    ask: Callable[..., Any] | None = None,
) -> tuple[Tensor, Tensor | None]:
    """The error and the tokens of `denoise`."""
    found = denoise(model, x, y, t, eps, tap=tap, ask=ask)
    return found.error, found.tokens


def variational_bound(path: Path, out: Tensor, x: Tensor, eps: Tensor, t: Tensor) -> Tensor:
    """[B] the term of time t of the bound on −log₂ p(x), bits a dimension, fp32 (improved DDPM, 2102.09672, §3.1).

    `out` (B, 2·C, H, W) holds ε̂ and v, which says where ln Σ lies between ln β̃ (v = −1) and ln β (v = 1). The term is
    KL(q(x_{t−1} | x_t, x) ‖ p(x_{t−1} | x_t)), and at t = 0 −log₂ p(x | x_0) of 256 values a channel, which DiT takes
    of latents just so. ε̂ is detached: the bound teaches the variance alone. At t = 0, where β̃ is 0, β̃_1 stands for it.
    """
    channels = x.shape[1]
    wrong = (out[:, :channels].detach().float() - eps.float()).double()
    share = (out[:, channels:].double() + 1) / 2
    now, before = path.alpha(t).double().square(), path.alpha(t - 1).double().square()  # ᾱ_t, ᾱ_{t−1}; t − 1 = −1: 1
    beta = 1 - now / before
    after_next = t.clamp_min(1)
    high, low = path.alpha(after_next).double().square(), path.alpha(after_next - 1).double().square()
    least = (1 - high / low) * (1 - low) / (1 - high)  # β̃
    # The two means differ by √ᾱ_{t−1}·β/(1 − ᾱ)·(x − x̂), with x − x̂ = √((1 − ᾱ)/ᾱ)·(ε̂ − ε).
    scale = (before / now).sqrt() * beta / (1 - now).sqrt()
    beta, least, scale = (c.reshape(-1, 1, 1, 1) for c in (beta, least, scale))
    ln = share * beta.log() + (1 - share) * least.log()  # of the model's variance
    apart = scale * wrong  # (B, C, H, W)
    divergence = 0.5 * (ln - least.log() + (least.log() - ln).exp() + apart.square() * (-ln).exp() - 1)
    pixels = _pixel_nll(x.double(), x.double() - apart, (0.5 * ln).exp())
    term = torch.where((t == 0).reshape(-1, 1, 1, 1), pixels, divergence)
    return (term.flatten(1).mean(1) / math.log(2)).float()


def _pixel_nll(x: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """−ln of what a Gaussian gives the bin of width 2/255 round x; the outermost bins reach to infinity."""
    above = torch.special.ndtr((x + HALF_BIN - mean) / deviation)
    below = torch.special.ndtr((x - HALF_BIN - mean) / deviation)
    mass = torch.where(x > 0.999, 1 - below, torch.where(x < -0.999, above, above - below))
    return -mass.clamp_min(LEAST).log()


def alignment_loss(projected: Tensor, target: Tensor) -> Tensor:
    """Mean negative cosine over images and tokens, in [−1, 1] (REPA, 2410.06940, eq. 8); both (B, T, Z).

    In fp32: the guard against a zero norm underflows in half precision and has cost others their runs.
    """
    return -F.cosine_similarity(projected.float(), target.float(), dim=-1).mean()
