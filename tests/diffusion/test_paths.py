import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from d2c.diffusion.paths import CLEAN, PATHS, WEIGHTINGS, DiscretePath, DiscreteVelocityPath
from d2c.errors import UsageError

SIT, REPA, DIT, COSINE = PATHS["sit"], PATHS["repa"], PATHS["dit"], PATHS["sit-cosine"]
LATENT = DiscretePath("latent", "scaled_linear", 0.00085, 0.012)
VP = DiscreteVelocityPath("vp", "scaled_linear", 0.00085, 0.012)
SHORT = DiscreteVelocityPath("short", "linear", 1e-3, 0.2, steps=100)
EVERY = {**PATHS, "latent": LATENT, "vp": VP, "short": SHORT}


def pictures(n=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(n, 2, 3, 3, generator=generator, dtype=torch.float64) for _ in range(3))


def test_the_ends_of_each_clock():
    x, eps, _ = pictures(1)
    assert torch.equal(SIT.interpolate(x, eps, torch.tensor([1.0])), x)
    assert torch.equal(SIT.interpolate(x, eps, torch.tensor([0.0])), eps)
    assert torch.equal(REPA.interpolate(x, eps, torch.tensor([0.0])), x)
    assert torch.equal(REPA.interpolate(x, eps, torch.tensor([1.0])), eps)
    assert torch.equal(COSINE.interpolate(x, eps, torch.tensor([1.0])), x)
    assert torch.equal(COSINE.interpolate(x, eps, torch.tensor([0.0])), eps)
    assert torch.equal(DIT.interpolate(x, eps, torch.tensor([CLEAN])), x)
    assert (DIT.interpolate(x, eps, torch.tensor([0])) - x).abs().max() < 0.05
    assert (DIT.interpolate(x, eps, torch.tensor([999])) - eps).abs().max() < 0.05


@settings(deadline=None)
@given(st.floats(0, 1))
def test_repa_is_sit_with_the_clock_and_the_sign_turned(t):
    x, eps, v = pictures()
    time, turned = torch.tensor([t], dtype=torch.float64), torch.tensor([1 - t], dtype=torch.float64)
    torch.testing.assert_close(REPA.interpolate(x, eps, time), SIT.interpolate(x, eps, turned))
    assert torch.equal(REPA.target(x, eps, time), -SIT.target(x, eps, turned))
    for mine, other in zip(REPA.estimates(v, x, time), SIT.estimates(-v, x, turned), strict=True):
        torch.testing.assert_close(mine, other)
    torch.testing.assert_close(REPA.velocity(v, x, time), SIT.velocity(-v, x, turned))


def test_the_target_is_the_derivative_of_the_path():
    x, eps, _ = pictures()
    t, h = torch.full((5,), 0.3, dtype=torch.float64), 1e-6
    for path in (SIT, REPA, COSINE):
        slope = (path.interpolate(x, eps, t + h) - path.interpolate(x, eps, t - h)) / (2 * h)
        torch.testing.assert_close(slope, path.target(x, eps, t), rtol=1e-6, atol=1e-6)


def test_dit_alphas_against_plain_float64():
    bar, alphas = 1.0, []
    for i in range(1000):
        bar *= 1 - (1e-4 + (0.02 - 1e-4) * i / 999)
        alphas.append(math.sqrt(bar))
    t = torch.arange(1000)
    np.testing.assert_allclose(DIT.alpha(t).numpy(), alphas, rtol=1e-10)
    np.testing.assert_allclose(DIT.sigma(t).numpy(), np.sqrt(1 - np.square(alphas)), rtol=1e-10)
    assert alphas[999] ** 2 == pytest.approx(4.0358e-5, rel=1e-3)  # DDPM's well-known last ᾱ


@pytest.mark.parametrize("path", EVERY.values(), ids=EVERY)
def test_estimates_undo_the_path(path):
    x, eps, _ = pictures()
    t = path.timesteps(5)
    x_t = path.interpolate(x, eps, t)
    clean, noise = path.estimates(path.target(x, eps, t), x_t, t)
    torch.testing.assert_close(clean, x)
    torch.testing.assert_close(noise, eps)
    torch.testing.assert_close(path.velocity(path.target(x, eps, t), x_t, t), x - eps)


@pytest.mark.parametrize("path", EVERY.values(), ids=EVERY)
@pytest.mark.parametrize("weighting", ["eps", "x0"])
def test_reweighted_errors_are_the_errors_of_the_estimates(path, weighting):
    x, eps, prediction = pictures()
    t = path.timesteps(5)
    clean, noise = path.estimates(prediction, path.interpolate(x, eps, t), t)
    direct = (noise - eps if weighting == "eps" else clean - x).square().flatten(1).mean(1)
    got = path.squared_error(prediction, x, eps, t, weighting)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), direct, rtol=1e-4, atol=0)
    own = path.squared_error(prediction, x, eps, t).double()
    torch.testing.assert_close(own * path.error_weights(t, weighting), direct, rtol=1e-4, atol=0)


def test_the_weights_in_closed_form():
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    torch.testing.assert_close(SIT.error_weights(t, "eps"), t**2)
    torch.testing.assert_close(SIT.error_weights(t, "x0"), (1 - t) ** 2)
    torch.testing.assert_close(REPA.error_weights(t, "eps"), (1 - t) ** 2)
    torch.testing.assert_close(REPA.error_weights(t, "x0"), t**2)
    steps = torch.arange(0, 1000, 111)
    bar = DIT.alpha(steps) ** 2
    torch.testing.assert_close(DIT.error_weights(steps, "v"), 1 / bar)
    torch.testing.assert_close(DIT.error_weights(steps, "x0"), (1 - bar) / bar)
    for path in PATHS.values():
        own = path.error_weights(path.timesteps(4), path.weighting)
        assert (own == (4 / math.pi**2 if path is COSINE else 1)).all()
    with pytest.raises(UsageError, match="no weighting"):
        SIT.error_weights(t, "loss")


def test_dit_velocity_error_is_that_of_vp_velocity():
    x, eps, guess = pictures()
    t = DIT.timesteps(5)
    a, s = (z.reshape(-1, 1, 1, 1) for z in (DIT.alpha(t), DIT.sigma(t)))
    clean, noise = DIT.estimates(guess, DIT.interpolate(x, eps, t), t)
    difference = (a * noise - s * clean) - (a * eps - s * x)
    direct = difference.square().flatten(1).mean(1)
    torch.testing.assert_close(DIT.squared_error(guess, x, eps, t, "v").double(), direct, rtol=1e-4, atol=0)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 64))
def test_timesteps_are_midpoints_of_equal_parts(count):
    midpoints = [(j + 0.5) / count for j in range(count)]
    for path in (SIT, REPA):
        np.testing.assert_allclose(path.timesteps(count), midpoints, rtol=1e-6)
    assert DIT.timesteps(count).tolist() == [math.floor((j + 0.5) * 1000 / count) for j in range(count)]


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_training_times_lie_on_the_clock_and_are_reproducible(path):
    t = path.sample_t(4000, torch.Generator().manual_seed(1))
    assert torch.equal(t, path.sample_t(4000, torch.Generator().manual_seed(1)))
    top = 1000 if path is DIT else 1
    assert t.min() >= 0
    assert t.max() < top
    assert t.double().mean() == pytest.approx(top / 2, rel=0.05)
    assert t.is_floating_point() == (path is not DIT)


@pytest.mark.parametrize("path", [*PATHS.values(), LATENT, VP], ids=[*PATHS, "latent", "vp"])
def test_low_noise_is_the_same_signal_to_noise_on_each_path(path):
    t = path.low_noise_time()
    assert (path.sigma(t) / path.alpha(t)).item() == pytest.approx(1 / 9, rel=0.02)


@pytest.mark.parametrize("steps", [1, 2, 7, 250, 1000])
def test_grids_run_from_noise_to_data(steps):
    for path in PATHS.values():
        grid = path.grid(steps)
        assert len(grid) == steps + 1
        ratio = path.sigma(grid) / path.alpha(grid)
        assert (ratio.diff() < 0).all()
        assert ratio[-1] == 0
    with pytest.raises(UsageError, match="1000 times"):
        DIT.grid(1001)


def test_every_weighting_has_a_weight():
    assert {w for w in WEIGHTINGS if torch.isfinite(SIT.error_weights(torch.tensor([0.5]), w)).all()} == set(WEIGHTINGS)


def test_the_other_betas_against_plain_float64():
    bar, alphas = 1.0, []
    for i in range(1000):
        root = math.sqrt(0.00085) + (math.sqrt(0.012) - math.sqrt(0.00085)) * i / 999
        bar *= 1 - root**2
        alphas.append(math.sqrt(bar))
    t = torch.arange(1000)
    for path in (LATENT, VP):
        np.testing.assert_allclose(path.alpha(t).numpy(), alphas, rtol=1e-10)
        torch.testing.assert_close(path.alpha(t) ** 2 + path.sigma(t) ** 2, torch.ones(1000, dtype=torch.float64))
    assert alphas[999] ** 2 == pytest.approx(0.00466, rel=1e-3)  # latent diffusion's last ᾱ: not quite noise
    assert SHORT.timesteps(4).tolist() == [12, 37, 62, 87]
    with pytest.raises(UsageError, match="known: linear, scaled_linear"):
        DiscretePath("odd", "cosine").alpha(t)


def test_v_prediction_written_out():
    x, eps, guess = pictures()
    t = VP.timesteps(5)
    a, s = (z.reshape(-1, 1, 1, 1) for z in (VP.alpha(t), VP.sigma(t)))
    torch.testing.assert_close(VP.target(x, eps, t), a * eps - s * x)
    assert (VP.weighting, LATENT.weighting) == ("v", "eps")
    noise = VP.estimates(guess, VP.interpolate(x, eps, t), t)[1]
    # the same network, asked for ε instead, makes the same errors in every weighting
    for weighting in WEIGHTINGS:
        torch.testing.assert_close(
            VP.squared_error(guess, x, eps, t, weighting),
            LATENT.squared_error(noise, x, eps, t, weighting),
            rtol=1e-4,
            atol=0,
        )


def test_v_is_the_derivative_along_the_angle():
    x, eps, _ = pictures()
    t = torch.arange(400, 405)
    phi = VP.ode_time(t).reshape(-1, 1, 1, 1)
    slope = ((phi + 1e-6).cos() * x + (phi + 1e-6).sin() * eps - VP.interpolate(x, eps, t)) / 1e-6
    torch.testing.assert_close(slope, VP.target(x, eps, t), rtol=1e-4, atol=1e-4)
    assert (VP.ode_scale(t) == 1).all()
    assert VP.ode_time(torch.tensor([CLEAN])) == 0


def test_the_cosine_path_in_closed_form():
    x, eps, guess = pictures()
    t = torch.tensor([0.0, 0.25, 0.5, 0.9, 1.0], dtype=torch.float64)
    theta = (math.pi / 2 * t).reshape(-1, 1, 1, 1)
    torch.testing.assert_close(COSINE.interpolate(x, eps, t), theta.sin() * x + theta.cos() * eps)
    torch.testing.assert_close(COSINE.target(x, eps, t), math.pi / 2 * (theta.cos() * x - theta.sin() * eps))
    clean, noise = COSINE.estimates(guess, x, t)
    torch.testing.assert_close(theta.sin() * clean + theta.cos() * noise, x)
    torch.testing.assert_close(math.pi / 2 * (theta.cos() * clean - theta.sin() * noise), guess)
    torch.testing.assert_close(COSINE.ode_time(t), t)
    assert (COSINE.ode_scale(t) == 1).all()


@settings(deadline=None)
@given(st.floats(-4, 4))
def test_times_of_a_ratio(log):
    ratio = torch.tensor([math.exp(log)], dtype=torch.float64)
    for path in (SIT, REPA, COSINE):
        t = path.at_ratio(ratio)
        torch.testing.assert_close(path.sigma(t) / path.alpha(t), ratio, rtol=1e-9, atol=0)
    for path in (DIT, LATENT, SHORT):
        times = torch.arange(path.steps)
        nearest = ((path.sigma(times) / path.alpha(times)).log() - log).abs().argmin()
        assert path.at_ratio(ratio).tolist() == [nearest]


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_lognormal_times(path):
    """ln(σ/α) of the drawn times is a standard normal: its quantiles are, and a seed gives the same times."""
    t = path.draw_t("lognormal", 20_000, torch.Generator().manual_seed(3))
    assert torch.equal(t, path.draw_t("lognormal", 20_000, torch.Generator().manual_seed(3)))
    log = (path.sigma(t).double() / path.alpha(t).double()).log()
    places = torch.tensor([0.02, 0.16, 0.5, 0.84, 0.98], dtype=torch.float64)
    torch.testing.assert_close(log.quantile(places), torch.special.ndtri(places), atol=0.05, rtol=0)
    if path is SIT:  # LightningDiT's: the sigmoid of a standard normal
        assert t.logit().std().item() == pytest.approx(1, abs=0.03)
    assert torch.equal(
        path.draw_t("uniform", 9, torch.Generator().manual_seed(3)),
        path.sample_t(9, torch.Generator().manual_seed(3)),
    )
    with pytest.raises(UsageError, match="known: uniform, lognormal"):
        path.draw_t("beta", 1)
