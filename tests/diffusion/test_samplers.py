import math
from types import SimpleNamespace

import pytest
import torch

from d2c.diffusion.guiding import Guided, Plain
from d2c.diffusion.paths import PATHS
from d2c.diffusion.samplers import Chance, FreshNoise, diffusion_of, evaluations, noise_for, sample, to_uint8
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
        guided = Guided(Plain(model), y, guidance)(x, t, 0.7)
        torch.testing.assert_close(guided, uncond + guidance * (cond - uncond))


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
    with pytest.raises(UsageError, match="no solver 'rk4'; known: euler, heun, ddim, sde"):
        sample(Gaussian("sit"), torch.zeros(1, 1, 1, 1), torch.zeros(1), solver="rk4")


def stream(seed, like, count):
    """The same fresh noise for two solvers."""
    generator = torch.Generator().manual_seed(seed)
    return iter([torch.randn(like.shape, dtype=like.dtype, generator=generator) for _ in range(count)]).__next__


@pytest.mark.parametrize("path", ["sit", "repa", "dit"])
@pytest.mark.parametrize("steps", [1, 4, 50])
def test_ddim_without_fresh_noise_is_euler(path, steps):
    noise, y = torch.randn(8, 1, 2, 2, dtype=torch.float64), torch.zeros(8, dtype=torch.long)
    ways = [sample(Gaussian(path), noise, y, steps=steps, solver=s) for s in ("euler", "ddim")]
    torch.testing.assert_close(*ways, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("steps", [1, 4, 50])
def test_ddim_goes_round_the_circle(steps):
    """On the cosine path a DDIM step turns by the angle between its times: x cos δ + 2/π v sin δ."""
    noise, model = torch.randn(8, 1, 2, 2, dtype=torch.float64), Gaussian("sit-cosine").eval()
    x, delta = noise, math.pi / 2 / steps
    with torch.inference_mode():
        for i in range(steps):
            v = model(x, torch.tensor([i / steps], dtype=torch.float64), torch.zeros(8))
            x = x * math.cos(delta) + 2 / math.pi * v * math.sin(delta)
    found = sample(Gaussian("sit-cosine"), noise, torch.zeros(8, dtype=torch.long), steps=steps, solver="ddim")
    torch.testing.assert_close(found, x, rtol=1e-9, atol=1e-9)


def test_the_sde_is_for_straight_paths():
    with pytest.raises(UsageError, match="not for path sit-cosine: use ddim"):
        sample(Gaussian("sit-cosine"), torch.zeros(1, 1, 1, 1), torch.zeros(1), solver="sde")


@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_ddim_with_fresh_noise_written_out(eta):
    """In ᾱ, as DDIM's equation 16 has it."""
    model, path = Gaussian("dit"), PATHS["dit"]
    noise, y = torch.randn(3, 1, 2, 2, dtype=torch.float64), torch.zeros(3)
    x, times, fresh = noise, path.grid(6), stream(0, noise, 6)
    with torch.inference_mode():
        for now, after in zip(times[:-1].reshape(-1, 1), times[1:].reshape(-1, 1), strict=True):
            a, b = path.alpha(now) ** 2, path.alpha(after) ** 2
            eps = model.eval()(x, now, y)
            s = eta * ((1 - b) / (1 - a)).sqrt() * (1 - a / b).sqrt()
            x = b.sqrt() * (x - (1 - a).sqrt() * eps) / a.sqrt() + (1 - b - s**2).clamp_min(0).sqrt() * eps
            x = x + s * fresh() if s > 0 else x
    found = sample(model, noise, y, steps=6, solver="ddim", chance=Chance(eta=eta), fresh=stream(0, noise, 6))
    torch.testing.assert_close(found, x)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_ddim_with_fresh_noise_keeps_the_distribution(path, eta):
    noise = torch.randn(4000, 1, 1, 1, generator=torch.Generator().manual_seed(1))
    chance, fresh = Chance(eta=eta), stream(2, noise, 200)
    out = sample(Gaussian(path), noise, torch.zeros(4000), steps=200, solver="ddim", chance=chance, fresh=fresh)
    assert out.mean().item() == pytest.approx(MEAN, abs=0.02)
    assert out.std().item() == pytest.approx(STD, abs=0.02)
    assert (out - exact(path, noise.double())).abs().mean() > 0.01  # not the ODE's images


FORMS = ("sigma", "constant", "sbdm", "decreasing", "increasing-decreasing")


@pytest.mark.parametrize("path", ["sit", "repa"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("last", ["mean", "euler", "none"])
def test_the_sde_reaches_the_distribution(path, form, last):
    if (form, last) == ("constant", "mean"):
        last = "none"  # noise at full strength until σ = .04, then a mean over all of it: too narrow by construction
    noise = torch.randn(4000, 1, 1, 1, generator=torch.Generator().manual_seed(1))
    chance, fresh = Chance(diffusion=form, last_step=last), stream(3, noise, 250)
    out = sample(Gaussian(path), noise, torch.zeros(4000), steps=250, solver="sde", chance=chance, fresh=fresh)
    assert out.mean().item() == pytest.approx(MEAN, abs=0.02)
    assert out.std().item() == pytest.approx(STD, abs=0.03)
    assert (out - exact(path, noise.double())).abs().mean() > 0.01


@pytest.mark.parametrize("form", FORMS)
def test_the_sde_written_out(form):
    """In SiT's variables: t = 1 is the data, the score is (t·v − x)/(1 − t), dW has the variance dt."""
    model, steps, last = Gaussian("sit"), 7, 0.04
    noise, y = torch.randn(5, 1, 2, 2, dtype=torch.float64), torch.zeros(5)
    times = torch.linspace(0, 1 - last, steps, dtype=torch.float64)
    dt, x, fresh = times[1] - times[0], noise, stream(4, noise, steps)
    coefficient = {
        "sigma": lambda t: 1 - t, "constant": torch.ones_like, "sbdm": lambda t: (1 - t) ** 2 / t + 1 - t,
        "decreasing": lambda t: 0.25 * (torch.cos(torch.pi * t) + 1) ** 2,
        "increasing-decreasing": lambda t: torch.sin(torch.pi * t) ** 2,
    }[form]  # fmt: skip
    with torch.inference_mode():
        for t in times[:-1].reshape(-1, 1):
            v, w = model.eval()(x, t, y), coefficient(t)
            w = torch.zeros_like(w) if w.isinf() else w
            x = x + (v + w * (t * v - x) / (1 - t)) * dt
            x = x + (2 * w * dt).sqrt() * fresh()
        t = times[-1:]
        v = model(x, t, y)
        x = x + (v + coefficient(t) * (t * v - x) / (1 - t)) * last
    options = {"steps": steps, "solver": "sde", "chance": Chance(diffusion=form), "fresh": stream(4, noise, steps)}
    torch.testing.assert_close(sample(model, noise, y, **options), x)


def test_the_last_step_of_the_ode_is_tweedie_s():
    """On a straight path x + σ·v is the clean image that the velocity points to."""
    model, noise, y = Gaussian("sit"), torch.randn(5, 1, 2, 2, dtype=torch.float64), torch.zeros(5)
    fresh = stream(5, noise, 9)
    found = sample(model, noise, y, steps=9, solver="sde", chance=Chance(last_step="euler", last_size=0.2), fresh=fresh)
    before, last = Gaussian("sit"), torch.tensor([0.8], dtype=torch.float64)

    def watch(x, t, y, forward=before.forward):
        before.x = x
        return forward(x, t, y)

    before.forward = watch
    sample(before, noise, y, steps=9, solver="sde", chance=Chance(last_size=0.2), fresh=stream(5, noise, 9))
    with torch.inference_mode():
        clean, _ = model.path.estimates(model.eval()(before.x, last, y), before.x, last)
    torch.testing.assert_close(found, clean)


def test_repa_and_sit_give_the_same_image_from_the_same_fresh_noise():
    noise = torch.randn(4, 1, 2, 2, dtype=torch.float64)
    for solver, chance in (("sde", Chance()), ("ddim", Chance(eta=0.7))):
        options = {"steps": 9, "solver": solver, "chance": chance}
        torch.testing.assert_close(
            *[sample(Gaussian(p), noise, torch.zeros(4), fresh=stream(0, noise, 9), **options) for p in ("sit", "repa")]
        )


def test_a_straight_path_s_sde_is_refused_where_the_path_is_not():
    with pytest.raises(UsageError, match="not for path dit: use ddim"):
        sample(Gaussian("dit"), torch.zeros(1, 1, 1, 1), torch.zeros(1), solver="sde")
    for wrong in (Chance(diffusion="vp"), Chance(last_step="tweedie")):
        with pytest.raises(UsageError, match="known: "):
            sample(Gaussian("sit"), torch.zeros(1, 1, 1, 1), torch.zeros(1), solver="sde", chance=wrong)
    with pytest.raises(UsageError, match="at least 2 steps"):
        sample(Gaussian("sit"), torch.zeros(1, 1, 1, 1), torch.zeros(1), solver="sde", steps=1)
    assert math.isinf(diffusion_of("sbdm", 0.0))


def test_fresh_noise_depends_on_seed_index_and_step_alone():
    cpu, shape = torch.device("cpu"), (2, 3, 3)
    whole, other = FreshNoise(3, range(6), shape, cpu), FreshNoise(3, [5, 1], shape, cpu)
    for _ in range(3):
        assert torch.equal(whole()[[5, 1]], other())
    first = FreshNoise(3, [2], shape, cpu)
    start, a, b = noise_for(3, [2], shape), first(), first()
    assert not torch.equal(a, b)
    assert not torch.equal(a, start)
    assert not torch.equal(FreshNoise(4, [2], shape, cpu)(), a)
    many = FreshNoise(0, range(500), (1, 8, 8), cpu)()
    assert many.mean().abs() < 0.02
    assert many.std().item() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("solver", ["ddim", "sde"])
def test_stochastic_solvers_do_not_depend_on_the_batch(tiny, solver):
    model, y, cpu = tiny(), torch.tensor([0, 1, 2, 3, 0]), torch.device("cpu")

    def draw(indices):
        fresh = FreshNoise(0, indices, (3, 8, 8), cpu)
        chance = Chance(eta=1.0)
        return sample(
            model,
            noise_for(0, indices, (3, 8, 8)),
            y[list(indices)],
            steps=4,
            solver=solver,
            chance=chance,
            fresh=fresh,
        )

    whole = draw(range(5))
    torch.testing.assert_close(torch.cat([draw([4, 1]), draw([0])]), whole[[4, 1, 0]], rtol=1e-4, atol=1e-5)
