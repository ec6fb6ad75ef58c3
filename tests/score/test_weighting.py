from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
import torch

from d2c.diffusion.paths import PATHS
from d2c.errors import UsageError
from d2c.score.weighting import WEIGHTINGS, difficulty, error_weights


def coefficients(name: str, count: int = 5) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    path = PATHS[name]
    t = path.timesteps(count)
    return t, path.alpha(t).float().numpy(), path.sigma(t).float().numpy()


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_equals_the_error_of_the_converted_prediction(name, weighting):
    """A wrong prediction, turned into ε̂, v̂ and x̂ by hand, has the error that the weight says."""
    path = PATHS[name]
    t, alpha, sigma = coefficients(name)
    generator = torch.Generator().manual_seed(0)
    x, eps, wrong = torch.randn(3, 5, 2, 4, 4, generator=generator, dtype=torch.float64)
    x_t = path.interpolate(x, eps, t)
    prediction = path.target(x, eps, t) + wrong
    a, s = (c.double().reshape(-1, 1, 1, 1) for c in (path.alpha(t), path.sigma(t)))
    if name == "dit":
        eps_hat = prediction
        x_hat = (x_t - s * eps_hat) / a
        v_hat, v = a * eps_hat - s * x_hat, a * eps - s * x
    else:
        v_hat, v = prediction, path.target(x, eps, t)
        toward_data = v_hat if name == "sit" else -v_hat
        eps_hat, x_hat = x_t - a * toward_data, x_t + s * toward_data
    difference = {"eps": eps_hat - eps, "v": v_hat - v, "x0": x_hat - x}[weighting]
    by_hand = difference.square().mean(dim=(1, 2, 3))
    native = (prediction - path.target(x, eps, t)).square().mean(dim=(1, 2, 3)).numpy()
    weights = error_weights(alpha, sigma, path.weighting, weighting)
    np.testing.assert_allclose(native * weights, by_hand, rtol=1e-5)


@pytest.mark.parametrize("name", PATHS)
def test_agrees_with_the_paths(name):
    t, alpha, sigma = coefficients(name)
    for weighting in WEIGHTINGS:
        ours = error_weights(alpha, sigma, PATHS[name].weighting, weighting)
        np.testing.assert_allclose(ours, PATHS[name].error_weights(t, weighting), rtol=1e-5)


def test_difficulty_is_a_weighted_mean_and_rises_with_the_error():
    errors = np.array([[1, 2], [3, 4]], np.float32)
    weights = error_weights(np.array([0.5, 1.0]), np.array([0.5, 0.0]), "v", "eps")
    np.testing.assert_allclose(difficulty(errors, weights), [(0.25 + 2) / 2, (0.75 + 4) / 2])
    assert difficulty(errors, weights).dtype == np.float32


def test_unknown_weighting():
    with pytest.raises(UsageError, match="'snr' is not a weighting; known: eps, v, x0"):
        error_weights(np.ones(2), np.ones(2), "v", "snr")


@pytest.mark.parametrize("native", ["eps", "v"])
@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("contrast", [False, True])
def test_the_mean_over_the_clock_of_what_is_seen_is_the_score(native, weighting, contrast, monkeypatch):
    draw = np.random.default_rng(0)
    table = {
        "errors": draw.gamma(2.0, size=(50, 5)).astype(np.float32),
        "alpha": np.linspace(0.1, 0.9, 5, dtype=np.float32),
        "sigma": np.linspace(0.9, 0.1, 5, dtype=np.float32),
        "quadrature": np.array([0.3, 0.1, 0.1, 0.1, 0.4], np.float32),
    }
    if contrast:
        table["errors_null"] = draw.gamma(2.0, size=(50, 5)).astype(np.float32)
    module = import_module("d2c.score.weighting")
    monkeypatch.setattr(module, "ROWS", 7)  # several blocks
    score = module.scored(table, native, weighting)
    np.testing.assert_allclose(module.seen(table, native, weighting) @ table["quadrature"], score, rtol=1e-4, atol=1e-5)
