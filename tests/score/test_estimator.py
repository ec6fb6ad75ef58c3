from __future__ import annotations

import numpy as np
import pytest
import torch

from d2c.diffusion.paths import PATHS
from d2c.errors import D2CError
from d2c.progress import Progress
from d2c.score.estimator import BATCH, Estimator, noise_bank
from d2c.score.grid import Grid, tuned, uniform
from d2c.score.judges import ClassJudge

K = 5
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def images() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return rng.integers(0, 256, (64, 1, 8, 8), np.uint8), rng.integers(0, 3, 64)


def estimator(model, grid: Grid | None = None, precision: str = "fp32", **changes) -> Estimator:
    return Estimator(ClassJudge(model, CPU, precision), CPU, grid or uniform(K), **{"seed": 3} | changes)


def one_by_one(model, x: torch.Tensor, labels, places, seed: int, bank: int = 0) -> list[list[float]]:
    """The estimator written from its definition, one image and one timestep at a time. x (n, C, S, S) float."""
    name, channels, rows = model.config.path, model.config.channels, []
    shape = x.shape[1:]
    base = [np.random.default_rng((seed, bank, i)).standard_normal(shape, np.float32) for i in range(3)]
    alpha_bar = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    for image, label in zip(x, labels, strict=True):
        row = []
        for j, place in enumerate(places):
            eps, t = torch.tensor(base[j // 2] if j % 2 == 0 else -base[j // 2])[None], float(place)
            if name == "sit":
                x_t, target = t * image + (1 - t) * eps, image - eps
            elif name == "repa":
                x_t, target = (1 - t) * image + t * eps, eps - image
            else:
                t = int(t * 1000)
                x_t, target = alpha_bar[t] ** 0.5 * image + (1 - alpha_bar[t]) ** 0.5 * eps, eps
            with torch.no_grad():
                out = model(x_t, torch.tensor([t]), torch.tensor([int(label)]))[:, :channels]
            row.append(float(((out - target) ** 2).mean()))
        rows.append(row)
    return rows


def scaled(images: np.ndarray) -> torch.Tensor:
    return torch.tensor(images / 127.5 - 1, dtype=torch.float32)


UNEVEN = tuned(np.array([1.0, 5, 0.3, 2]), K)
KINDS = [
    ("SiT", {}),
    ("SiT", {"path": "repa"}),
    ("SiT", {"learn_sigma": True}),
    ("DiT", {"learn_sigma": True}),
    ("DiT", {}),
]


@pytest.mark.parametrize("grid", [uniform(K), UNEVEN], ids=["uniform", "tuned"])
@pytest.mark.parametrize(("family", "changes"), KINDS)
def test_equals_the_definition(make_model, images, family, changes, grid):
    model, (x, y) = make_model(family, **changes), images
    expected = one_by_one(model, scaled(x[:9]), y[:9], grid.places, seed=3)
    found = estimator(model, grid).errors(x[:9], y[:9])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_latents_are_taken_as_they_are(make_model):
    model = make_model(channels=4)
    z = torch.randn(5, 4, 8, 8, generator=torch.Generator().manual_seed(0)).half()
    y = np.array([0, 1, 2, 0, 1])
    expected = one_by_one(model, z.float(), y, uniform(K).places, seed=3)
    np.testing.assert_allclose(estimator(model).errors(z.numpy(), y), expected, rtol=1e-5)
    np.testing.assert_allclose(estimator(model).errors(z, y), expected, rtol=1e-5)


def test_does_not_depend_on_batch_or_order(make_model, images):
    model, (x, y) = make_model(), images
    whole = estimator(model, batch=64).errors(x, y)
    for batch in (1, 7):
        np.testing.assert_allclose(estimator(model, batch=batch).errors(x, y), whole, rtol=1e-5)
    order = np.random.default_rng(0).permutation(len(x))
    np.testing.assert_allclose(estimator(model, batch=7).errors(x[order], y[order]), whole[order], rtol=1e-5)


def test_labels_count(make_model, images):
    model, (x, y) = make_model(), images
    assert not np.allclose(estimator(model).errors(x, y), estimator(model).errors(x, (y + 1) % 3), rtol=1e-3)


def test_null_is_the_class_that_stands_for_none(make_model, images):
    model, (x, y) = make_model(), images
    judge = estimator(model, batch=7)
    found = judge.errors(x, y, null=True)
    np.testing.assert_allclose(found, one_by_one(model, scaled(x), [3] * 64, uniform(K).places, seed=3), rtol=1e-5)
    np.testing.assert_array_equal(found, judge.errors(x, np.full(64, 3)))
    assert not np.allclose(found, judge.errors(x, y), rtol=1e-3)


def test_a_model_in_train_mode_scores_the_same(make_model, images):
    model = make_model()
    expected = estimator(model).errors(*images)
    np.testing.assert_array_equal(estimator(model.train()).errors(*images), expected)


def test_noise_comes_from_seed_and_bank_alone():
    shape = (2, 4, 4)
    bank = noise_bank(0, 0, 8, shape)
    assert bank.shape == (8, *shape)
    torch.testing.assert_close(noise_bank(0, 0, 3, shape), bank[:3])
    torch.testing.assert_close(bank[0::2], -bank[1::2])
    for other in (noise_bank(1, 0, 8, shape), noise_bank(0, 1, 8, shape)):
        assert abs(float((bank[0] * other[0]).mean())) < 0.6
        assert not torch.equal(bank, other)


def test_banks_give_other_errors_of_the_same_size(make_model, images):
    model, (x, y) = make_model(), images
    a, b = (estimator(model).errors(x, y, bank=bank) for bank in (0, 1))
    np.testing.assert_allclose(b[:3], one_by_one(model, scaled(x[:3]), y[:3], uniform(K).places, 3, bank=1), rtol=1e-5)
    assert not np.allclose(a, b, rtol=1e-3)
    assert abs(a.mean() / b.mean() - 1) < 0.3


@pytest.mark.parametrize("family", ["SiT", "DiT"])
def test_the_pilot_asks_every_part_of_the_clock_under_one_noise(make_model, images, family):
    model, (x, y) = make_model(family), (images[0][:4], images[1][:4])
    found = estimator(model).pilot(x, y)
    assert found.shape == (4, 32)
    noise = torch.from_numpy(np.random.default_rng((3, 2, 0)).standard_normal((1, 8, 8), np.float32))[None]
    times = PATHS[model.config.path].timesteps(32)
    for j in (0, 13, 31):
        eps, t = noise.expand(4, -1, -1, -1), times[j : j + 1]
        x_t = model.path.interpolate(scaled(x), eps, t)
        with torch.no_grad():
            out = model.prediction(model(x_t, t, torch.from_numpy(y)))
        np.testing.assert_allclose(found[:, j], model.path.squared_error(out, scaled(x), eps, t), rtol=1e-5)


def test_observed_inputs_reach_over_all_of_the_pilot(make_model, images):
    judge = estimator(make_model(layers=2))
    whole = judge.observe(images[0][:6], images[1][:6])
    parts = [judge.observe(images[0][a : a + 3], images[1][a : a + 3]) for a in (0, 3)]
    assert whole.shape == (2, 4)
    torch.testing.assert_close(whole, torch.stack(parts).amax(0), rtol=1e-5, atol=1e-6)


def test_bf16_scores_nearly_the_same(make_model, images):
    model = make_model()
    np.testing.assert_allclose(
        estimator(model, precision="bf16").errors(*images), estimator(model).errors(*images), rtol=3e-2
    )


def test_nothing_gives_nothing(make_model, images):
    assert estimator(make_model()).errors(images[0][:0], images[1][:0]).shape == (0, K)


def test_the_batch_is_found_within_bounds(make_model):
    assert estimator(make_model()).batch == 512  # 8,192 tokens of 16 an image
    assert estimator(make_model(patch=1)).batch == 128
    assert estimator(make_model(image_size=2)).batch == BATCH[1]
    assert estimator(make_model(), batch=3).batch == 3


class Small(ClassJudge):
    """A judge on a device that holds so many images and no more; it may want batches of one shape."""

    def __init__(self, model, most: int, fixed: bool = False) -> None:
        super().__init__(model, CPU, "fp32")
        self.most, self.fixed, self.met = most, fixed, []

    @property
    def fixed_batch(self) -> bool:
        return self.fixed

    def ask(self, x_t, t, condition):
        self.met.append((len(x_t), len(condition[1])))
        if len(x_t) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().ask(x_t, t, condition)


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize(("start", "most", "found"), [(64, 20, 16), (50, 7, 6), (9, 1, 1), (8, 64, 8)])
def test_short_of_memory_the_batch_halves_and_no_score_changes(make_model, images, fixed, start, most, found):
    model = make_model()
    judge = Small(model, most, fixed)
    small = Estimator(judge, CPU, uniform(K), 3, start)
    np.testing.assert_allclose(small.errors(*images), estimator(model).errors(*images), rtol=1e-5)
    assert small.batch == found
    judge.met.clear()
    small.errors(*images, bank=1)  # and stays there
    assert max(n for n, _ in judge.met) == found


def test_an_image_that_does_not_fit_is_said_in_one_line(make_model, images):
    with pytest.raises(D2CError, match="not even one image fits into the memory of cpu") as caught:
        Estimator(Small(make_model(), 0), CPU, uniform(K), 3, 16).errors(*images)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("null", [False, True])
def test_a_judge_of_one_shape_meets_one_shape(make_model, images, null):
    model, (x, y) = make_model(), images
    judge = Small(model, 64, fixed=True)
    found = Estimator(judge, CPU, uniform(K), 3, 7).errors(x, y, null=null)
    assert set(judge.met) == {(7, 7)}
    np.testing.assert_allclose(found, estimator(model).errors(x, y, null=null), rtol=1e-5)


def test_progress_moves_batch_by_batch(make_model, images, monkeypatch):
    progress, steps = Progress(None, quiet=True), []
    monkeypatch.setattr(progress, "advance", lambda n: steps.append(n))
    Estimator(Small(make_model(), 20), CPU, uniform(K), 3, 32).errors(*images, progress=progress)
    assert steps == [16, 16, 16, 16]
