"""The variational bound that trains DiT's variance, against plain float64 and against sampling it."""

import math

import numpy as np
import pytest
import torch

from d2c.diffusion.losses import denoise, variational_bound
from d2c.diffusion.paths import PATHS

DIT = PATHS["dit"]


def chain():
    """β, ᾱ of DDPM's thousand steps, in NumPy."""
    betas = np.linspace(1e-4, 0.02, 1000, dtype=np.float64)
    return betas, np.cumprod(1 - betas)


def by_hand(eps_hat, v, x, x_t, t):
    """One pixel's term in bits, from the two Gaussians as DDPM writes them (2006.11239, eq. 6 and 7)."""
    betas, bars = chain()
    beta, bar, before = betas[t], bars[t], bars[t - 1] if t else 1.0
    posterior = [b * (1 - p) / (1 - n) for b, p, n in zip(betas[1:], bars[:-1], bars[1:], strict=True)]
    tilde = posterior[max(t, 1) - 1]
    x_hat = (x_t - math.sqrt(1 - bar) * eps_hat) / math.sqrt(bar)

    def mean(clean):
        return math.sqrt(before) * beta / (1 - bar) * clean + math.sqrt(1 - beta) * (1 - before) / (1 - bar) * x_t

    variance = math.exp((v + 1) / 2 * math.log(beta) + (1 - v) / 2 * math.log(tilde))
    if t == 0:

        def cdf(z):
            return 0.5 * (1 + math.erf((z - mean(x_hat)) / math.sqrt(2 * variance)))

        upper = 1.0 if x > 0.999 else cdf(x + 1 / 255)
        lower = 0.0 if x < -0.999 else cdf(x - 1 / 255)
        return -math.log2(max(upper - lower, 1e-12))
    gap = mean(x) - mean(x_hat)
    return 0.5 * (tilde / variance + gap**2 / variance - 1 + math.log(variance / tilde)) / math.log(2)


@pytest.mark.parametrize("t", [0, 1, 2, 57, 500, 998, 999])
def test_the_term_written_out(t):
    draws = np.random.default_rng(t)
    x = draws.integers(0, 256, (2, 3, 2, 2)) / 127.5 - 1
    x[0, 0, 0] = [-1, 1]  # the outermost bins
    eps = draws.standard_normal(x.shape)
    _, bars = chain()
    x_t = np.sqrt(bars[t]) * x + np.sqrt(1 - bars[t]) * eps
    eps_hat, v = eps + 0.02 * draws.standard_normal(x.shape), draws.uniform(-1.2, 1.2, x.shape)
    want = np.vectorize(by_hand)(eps_hat, v, x, x_t, t).reshape(2, -1).mean(1)
    out = torch.from_numpy(np.concatenate([eps_hat, v], axis=1))
    found = variational_bound(DIT, out, torch.from_numpy(x), torch.from_numpy(eps), torch.full((2,), t))
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, want, rtol=2e-4, atol=1e-6)  # ε̂ − ε is taken in fp32


def test_times_may_differ_within_a_batch():
    x, eps, out = torch.randn(3, 1, 4, 4), torch.randn(3, 1, 4, 4), torch.randn(3, 2, 4, 4)
    t = torch.tensor([0, 1, 700])
    whole = variational_bound(DIT, out, x, eps, t)
    for i in range(3):
        torch.testing.assert_close(whole[i : i + 1], variational_bound(DIT, *(a[i : i + 1] for a in (out, x, eps, t))))


def test_it_teaches_the_variance_alone(tiny):
    model = tiny("DiT", learn_sigma=True).train()
    x, eps, y, t = (
        torch.rand(3, 3, 8, 8) * 2 - 1,
        torch.randn(3, 3, 8, 8),
        torch.tensor([0, 1, 4]),
        torch.tensor([0, 9, 900]),
    )
    found = denoise(model, x, y, t, eps, bound=True)
    found.bound.mean().backward()
    rows = model.final_layer.linear.weight.grad.reshape(2, 2, 6, -1)  # (p, q, 2·C, D): the channel runs fastest
    assert rows[:, :, :3].abs().max() == 0
    assert rows[:, :, 3:].abs().max() > 0
    plain = denoise(model, x, y, t, eps)
    assert plain.bound is None
    torch.testing.assert_close(plain.error, found.error)


def test_the_least_bound_is_at_the_best_variance():
    """With a known error of ε̂ the optimum of ln Σ is ln(β̃ + E[gap²]) (2102.09672): v found by descent is that."""
    generator = torch.Generator().manual_seed(0)
    t = torch.full((256,), 400)
    x, eps = torch.randn(2, 256, 1, 4, 4, generator=generator)
    eps_hat = eps + 0.3 * torch.randn(eps.shape, generator=generator)
    v = torch.zeros((), requires_grad=True)
    optimizer = torch.optim.LBFGS([v], max_iter=50, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = variational_bound(DIT, torch.cat([eps_hat, v.expand_as(eps)], 1), x, eps, t).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    betas, bars = chain()
    tilde = betas[400] * (1 - bars[399]) / (1 - bars[400])
    gap = math.sqrt(bars[399]) * betas[400] / (1 - bars[400]) * math.sqrt((1 - bars[400]) / bars[400])
    best = math.log(tilde + gap**2 * (eps_hat - eps).square().mean().item())
    found = (v.item() + 1) / 2 * math.log(betas[400]) + (1 - v.item()) / 2 * math.log(tilde)
    assert found == pytest.approx(best, abs=1e-4)
