from __future__ import annotations

import math
from importlib import import_module

import numpy as np
import pytest
import torch

from d2c.diffusion.paths import PATHS
from d2c.errors import UsageError
from d2c.score import weighting as module
from d2c.score.weighting import WEIGHTINGS, difficulty, error_weights, scored

KINDS = [w for w in WEIGHTINGS if w != "zscore"]


def coefficients(name: str, count: int = 5) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    path = PATHS[name]
    t = path.timesteps(count)
    return t, path.alpha(t).float().numpy(), path.sigma(t).float().numpy()


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("weighting", KINDS)
def test_equals_the_error_of_the_converted_prediction(name, weighting):
    """A wrong prediction, turned into ε̂, v̂ and x̂ by hand, has the error that the weight says."""
    path = PATHS[name]
    t, alpha, sigma = coefficients(name)
    generator = torch.Generator().manual_seed(0)
    x, eps, wrong = torch.randn(3, 5, 2, 4, 4, generator=generator, dtype=torch.float64)
    x_t = path.interpolate(x, eps, t)
    prediction = path.target(x, eps, t) + wrong
    a, s = (c.double().reshape(-1, 1, 1, 1) for c in (path.alpha(t), path.sigma(t)))
    if name == "sit-cosine":  # in units of the angle, as it is stored
        prediction, wrong = prediction / (math.pi / 2), wrong / (math.pi / 2)
        eps_hat, x_hat = s * x_t - a * prediction, a * x_t + s * prediction
        v_hat, v = prediction, path.target(x, eps, t) / (math.pi / 2)
    elif name == "dit":
        eps_hat = prediction
        x_hat = (x_t - s * eps_hat) / a
        v_hat, v = a * eps_hat - s * x_hat, a * eps - s * x
    else:
        v_hat, v = prediction, path.target(x, eps, t)
        toward_data = v_hat if name == "sit" else -v_hat
        eps_hat, x_hat = x_t - a * toward_data, x_t + s * toward_data
    difference = {"eps": eps_hat - eps, "v": v_hat - v, "x0": x_hat - x}[weighting]
    by_hand = difference.square().mean(dim=(1, 2, 3))
    native = wrong.square().mean(dim=(1, 2, 3)).numpy()
    weights = error_weights(alpha, sigma, path.weighting, weighting)
    np.testing.assert_allclose(native * weights, by_hand, rtol=1e-5)


@pytest.mark.parametrize("name", PATHS)
def test_agrees_with_the_paths(name):
    t, alpha, sigma = coefficients(name)
    for weighting in KINDS:
        ours = error_weights(alpha, sigma, PATHS[name].weighting, weighting)
        stored = PATHS[name].error_weights(t, PATHS[name].weighting)  # what the table holds, of the path's own
        np.testing.assert_allclose(ours * stored.numpy(), PATHS[name].error_weights(t, weighting), rtol=1e-5)


def test_difficulty_is_a_weighted_mean_and_rises_with_the_error():
    errors = np.array([[1, 2], [3, 4]], np.float32)
    weights = error_weights(np.array([0.5, 1.0]), np.array([0.5, 0.0]), "v", "eps")
    np.testing.assert_allclose(difficulty(errors, weights), [(0.25 + 2) / 2, (0.75 + 4) / 2])
    assert difficulty(errors, weights).dtype == np.float32
    quadrature = np.array([0.9, 0.1])
    np.testing.assert_allclose(difficulty(errors, weights, quadrature), [0.225 + 0.2, 0.675 + 0.4])


@pytest.fixture
def table() -> dict[str, np.ndarray]:
    """What `errors.safetensors` holds of 23 images at 4 times of SiT's clock, two banks, with the null class."""
    rng = np.random.default_rng(0)
    t = np.array([0.1, 0.3, 0.6, 0.95], np.float32)
    quadrature = np.array([0.2, 0.3, 0.35, 0.15], np.float32)
    made = {"alpha": t, "sigma": 1 - t, "timesteps": t, "quadrature": quadrature}
    for name, n in (("errors", 23), ("errors_null", 23), ("errors_b", 7), ("errors_null_b", 7)):
        made[name] = (rng.random((n, 4)) * [9, 3, 1, 20] + 2).astype(np.float32)
    return made


def without(table: dict[str, np.ndarray], *names: str) -> dict[str, np.ndarray]:
    return {name: array for name, array in table.items() if name not in names}


@pytest.mark.parametrize("weighting", ["eps", "v", "x0"])
@pytest.mark.parametrize("bank", ["", "_b"])
def test_scores_are_sums_over_the_quadrature(table, weighting, bank):
    factor = {"eps": table["alpha"] ** 2, "v": 1, "x0": table["sigma"] ** 2}[weighting]
    counts = table["quadrature"] * factor
    plain = without(table, "errors_null", "errors_null_b")
    np.testing.assert_allclose(scored(plain, "v", weighting, bank), table[f"errors{bank}"] @ counts, rtol=1e-5)
    by_hand = (table[f"errors{bank}"] - table[f"errors_null{bank}"]) @ counts
    np.testing.assert_allclose(scored(table, "v", weighting, bank), by_hand, atol=1e-5)


def test_without_a_quadrature_all_times_count_alike(table):
    old = without(table, "quadrature", "errors_null", "errors_null_b")  # as older artifacts are
    np.testing.assert_allclose(scored(old, "v", "v"), table["errors"].mean(axis=1), rtol=1e-6)
    z = (table["errors"] - table["errors"].mean(0)) / table["errors"].std(0)
    np.testing.assert_allclose(scored(old, "v", "zscore"), z.mean(axis=1), atol=1e-5)


@pytest.mark.parametrize("native", ["v", "eps"])
def test_zscore_counts_standard_deviations(table, native):
    mean, spread = table["errors"].mean(0, np.float64), table["errors"].std(0, dtype=np.float64)
    plain = without(table, "errors_null", "errors_null_b")
    for bank in ("", "_b"):  # the second bank by the first one's moments
        by_hand = (table[f"errors{bank}"] - mean) / spread @ table["quadrature"]
        np.testing.assert_allclose(scored(plain, native, "zscore", bank), by_hand, atol=1e-5)
        gain = (table[f"errors{bank}"] - table[f"errors_null{bank}"]) / spread @ table["quadrature"]
        np.testing.assert_allclose(scored(table, native, "zscore", bank), gain, atol=1e-5)
    assert abs(scored(plain, native, "zscore").mean()) < 1e-5


def test_zscore_of_a_time_at_which_nothing_differs_is_finite(table):
    table["errors"][:, 1] = 4.0
    found = scored(without(table, "errors_null", "errors_null_b"), "v", "zscore")
    assert np.isfinite(found).all()
    others = [0, 2, 3]
    z = (table["errors"] - table["errors"].mean(0))[:, others] / table["errors"].std(0)[others]
    np.testing.assert_allclose(found, z @ table["quadrature"][others], atol=1e-4)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_tables_are_read_in_blocks(table, weighting, monkeypatch):
    whole = scored(table, "v", weighting)
    monkeypatch.setattr(module, "ROWS", 5)
    np.testing.assert_allclose(scored(table, "v", weighting), whole, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("native", "weighting"), [("v", "snr"), ("zscore", "v"), ("x", "v")])
def test_unknown_weighting(native, weighting):
    with pytest.raises(UsageError, match=r"'\w+' is not a weighting; known: eps, v, x0, zscore"):
        error_weights(np.ones(2), np.ones(2), native, weighting)


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
