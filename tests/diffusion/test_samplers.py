import math
from types import SimpleNamespace

import pytest
import torch

from d2c.diffusion.paths import PATHS
from d2c.diffusion.samplers import evaluations, noise_for, predict, sample, to_uint8
from d2c.errors import UsageError

MEAN, STD = 0.7, 0.3


class Gaussian(torch.nn.Module):
    """The exact network for data ~ N(MEAN, STD²) in every pixel, on any path."""

    def __init__(self, path):
        super().__init__()
        self.path = PATHS[path]
        self.config = SimpleNamespace(num_classes=4)
        self.calls = []

    def forward(self, x, t, y):
        assert torch.is_inference_mode_enabled()
        assert not self.training
        self.calls.append((len(x), y.tolist(), t.clone()))
        alpha, sigma = self.path.alpha(t).double(), self.path.sigma(t).double()
        pull = (x.double() - alpha * MEAN) / (alpha**2 * STD**2 + sigma**2)
        clean, noise = MEAN + alpha * STD**2 * pull, sigma * pull
        curved = math.pi / 2 * (sigma * clean - alpha * noise)
        out = {"sit": clean - noise, "repa": noise - clean, "dit": noise, "sit-cosine": curved}[self.path.name]
        return out.to(x.dtype)

    def prediction(self, out):
        return out


def exact(path, noise):
    """Where the ODE takes each noise: a Gaussian is carried to a Gaussian quantile by quantile."""
    start = PATHS[path].grid(1)[:1]
    alpha, sigma = PATHS[path].alpha(start).double(), PATHS[path].sigma(start).double()
    return MEAN + STD * (noise - alpha * MEAN) / (alpha**2 * STD**2 + sigma**2).sqrt()


def error(path, solver, steps):
    noise = torch.randn(64, 1, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    out = sample(Gaussian(path), noise, torch.zeros(64, dtype=torch.long), steps=steps, solver=solver)
    return (out - exact(path, noise)).abs().max().item()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("solver", "steps", "within"), [("euler", 112, 0.02), ("heun", 112, 0.002), ("heun", 28, 0.02)]
)
def test_a_gaussian_is_reached(path, solver, steps, within):
    noise = torch.randn(500, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    out = sample(Gaussian(path), noise, torch.zeros(500, dtype=torch.long), steps=steps, solver=solver)
    assert out.dtype == torch.float32
    target = exact(path, noise.double())
    assert out.mean().item() == pytest.approx(target.mean().item(), abs=within)
    assert out.std().item() == pytest.approx(target.std().item(), abs=within)
    assert target.mean().item() == pytest.approx(MEAN, abs=0.02)
    assert target.std().item() == pytest.approx(STD, abs=0.02)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("heun", 2)])
def test_the_order_of_convergence(path, solver, order):
    # 999 = 27 · 37, so DiT's grids are even; finer ones meet the last step, from its clock's t = 0 to the clean
    # image, whose error no solver can lower.
    coarse, fine = (28, 38) if path == "dit" else (27, 111)
    shrunk = error(path, solver, coarse) / error(path, solver, fine)
    ratio = 37 / 27 if path == "dit" else 111 / 27
    assert math.log(shrunk) / math.log(ratio) == pytest.approx(order, abs=0.1)


def test_a_ddim_step_written_out():
    """x' = α'·x̂ + σ'·ε̂ with x̂ = (x − σ ε̂)/α."""
    model, path = Gaussian("dit"), PATHS["dit"]
    noise = torch.randn(3, 1, 2, 2, dtype=torch.float64)
    x, times = noise, path.grid(5)
    with torch.inference_mode():
        for now, after in zip(times[:-1].reshape(-1, 1), times[1:].reshape(-1, 1), strict=True):
            eps = model.eval()(x, now, torch.zeros(3))
            x = path.alpha(after) * (x - path.sigma(now) * eps) / path.alpha(now) + path.sigma(after) * eps
    torch.testing.assert_close(sample(Gaussian("dit"), noise, torch.zeros(3), steps=5, solver="euler"), x)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("solver", ["euler", "heun"])
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_the_network_is_asked_as_often_as_said(path, solver, steps):
    model, done = Gaussian(path).train(), []
    sample(model, torch.zeros(2, 1, 1, 1), torch.tensor([0, 1]), steps=steps, solver=solver, progress=done.append)
    assert len(model.calls) == evaluations(steps, solver)
    assert done == list(range(1, steps + 1))
    assert model.training  # as it was
    ratio = torch.cat([model.path.sigma(t) / model.path.alpha(t) for _, _, t in model.calls])
    assert ratio.min() > 0  # never asked at the clean end


def test_guidance_one_runs_the_network_once_a_time():
    model = Gaussian("sit")
    sample(model, torch.zeros(2, 1, 1, 1), torch.tensor([0, 1]), steps=1)
    assert [(n, y) for n, y, _ in model.calls] == [(2, [0, 1])]


@pytest.mark.parametrize("guidance", [0.0, 0.5, 1.0, 4.0])
def test_guidance_on_every_channel(tiny, guidance):
    model = tiny(learn_sigma=True, channels=4)
    x, t, y = torch.randn(3, 4, 8, 8), torch.tensor([0.3]), torch.tensor([0, 1, 3])
    with torch.inference_mode():
        cond, uncond = (model(x, t, labels)[:, :4] for labels in (y, torch.full((3,), 4)))
        torch.testing.assert_close(predict(model, x, t, y, guidance), uncond + guidance * (cond - uncond))


def test_repa_and_sit_give_the_same_image_from_the_same_field():
    noise = torch.randn(4, 1, 2, 2)
    out = [sample(Gaussian(p), noise, torch.zeros(4), steps=7) for p in ("sit", "repa")]
    torch.testing.assert_close(*out)


def test_noise_depends_on_seed_and_index_alone():
    whole = noise_for(3, range(6), (2, 4, 4))
    assert whole.shape == (6, 2, 4, 4)
    assert torch.equal(noise_for(3, [5, 1], (2, 4, 4)), whole[[5, 1]])
    torch.randn(3)
    assert torch.equal(noise_for(3, [4], (2, 4, 4))[0], whole[4])
    assert not torch.equal(noise_for(4, [4], (2, 4, 4))[0], whole[4])
    assert not torch.equal(noise_for(1, [12], (2, 4, 4)), noise_for(11, [2], (2, 4, 4)))
    many = noise_for(0, range(500), (1, 8, 8))
    assert many.mean().abs() < 0.02
    assert many.std().item() == pytest.approx(1, abs=0.02)


def test_the_batch_does_not_matter(tiny):
    model = tiny()
    noise, y = noise_for(0, range(5), (3, 8, 8)), torch.tensor([0, 1, 2, 3, 0])
    whole = sample(model, noise, y, steps=3, guidance=2.0)
    parts = [sample(model, noise[i : i + 2], y[i : i + 2], steps=3, guidance=2.0) for i in (0, 2, 4)]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-4, atol=1e-5)


def test_uint8_is_dit_s_rule():
    x = torch.tensor([-2.0, -1.0, -0.999, 0.0, 0.5, 0.999, 1.0, 2.0])
    expected = [min(max(int(127.5 * v + 128), 0), 255) for v in x.tolist()]
    assert to_uint8(x).tolist() == expected
    assert expected == [0, 0, 0, 128, 191, 255, 255, 255]


def test_an_unknown_solver_is_refused():
    with pytest.raises(UsageError, match="no solver 'rk4'; known: euler, heun"):
        sample(Gaussian("sit"), torch.zeros(1, 1, 1, 1), torch.zeros(1), solver="rk4")
