from __future__ import annotations

import numpy as np
import pytest
import torch

from d2c.diffusion.autoencoders import load
from d2c.errors import D2CError
from d2c.score.estimator import Estimator, noise_bank

K = 5


@pytest.fixture(scope="module")
def images() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return rng.integers(0, 256, (64, 1, 8, 8), np.uint8), rng.integers(0, 3, 64)


def estimator(model, **changes) -> Estimator:
    fields = {"device": torch.device("cpu"), "precision": "fp32", "evaluations": K, "seed": 3} | changes
    return Estimator(model, load("identity"), **fields)


def one_by_one(model, images: np.ndarray, labels: np.ndarray, seed: int) -> list[list[float]]:
    """The estimator written from its definition, one image and one timestep at a time."""
    name, rows = model.config.path, []
    base = [np.random.default_rng((seed, 0, i)).standard_normal((1, 8, 8), np.float32) for i in range(3)]
    alpha_bar = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
    for image, label in zip(images, labels, strict=True):
        x, row = torch.tensor(image / 127.5 - 1, dtype=torch.float32)[None], []
        for j in range(K):
            eps = torch.tensor(base[j // 2] if j % 2 == 0 else -base[j // 2])[None]
            t = (j + 0.5) / K
            if name == "sit":
                x_t, target = t * x + (1 - t) * eps, x - eps
            elif name == "repa":
                x_t, target = (1 - t) * x + t * eps, eps - x
            else:
                t = int(t * 1000)
                x_t, target = alpha_bar[t] ** 0.5 * x + (1 - alpha_bar[t]) ** 0.5 * eps, eps
            with torch.no_grad():
                out = model(x_t, torch.tensor([t]), torch.tensor([int(label)]))[:, :1]
            row.append(float(((out - target) ** 2).mean()))
        rows.append(row)
    return rows


@pytest.mark.parametrize(
    ("family", "changes"),
    [("SiT", {}), ("SiT", {"path": "repa"}), ("SiT", {"learn_sigma": True}), ("DiT", {"learn_sigma": True})],
)
def test_equals_the_definition(make_model, images, family, changes):
    model = make_model(family, **changes)
    found = estimator(model).errors(images[0][:9], images[1][:9])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, one_by_one(model, images[0][:9], images[1][:9], seed=3), rtol=1e-5)


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
    a, b = (estimator(make_model()).errors(*images, bank=bank) for bank in (0, 1))
    assert not np.allclose(a, b, rtol=1e-3)
    assert abs(a.mean() / b.mean() - 1) < 0.3


def test_nothing_gives_nothing(make_model, images):
    assert estimator(make_model()).errors(images[0][:0], images[1][:0]).shape == (0, K)


class Halved:
    """An autoencoder of factor 2 with four latent channels; its std must play no part."""

    name, factor, channels = "halved", 2, 4

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        z = torch.nn.functional.pixel_unshuffle(x.mean(1, keepdim=True), 2)
        return z, torch.full_like(z, 1e6)


def test_latents_are_the_autoencoders_means(make_model):
    model = make_model(channels=4)
    latent = Estimator(model, Halved(), torch.device("cpu"), "fp32", K, 3)
    assert (latent.side, latent.channels) == (16, 3)
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 16, 16), np.uint8)
    found = latent.errors(images, np.zeros(5))
    x, y = Halved().encode(torch.tensor(images).float() / 127.5 - 1)[0], torch.zeros(5, dtype=torch.int64)
    for j, (t, eps) in enumerate(zip(model.path.timesteps(K), noise_bank(3, 0, K, (4, 8, 8)), strict=True)):
        with torch.no_grad():
            v = model(t * x + (1 - t) * eps, t[None], y)
        np.testing.assert_allclose(found[:, j], (v - (x - eps)).square().mean(dim=(1, 2, 3)), rtol=1e-5)


def test_an_autoencoder_of_another_kind_is_refused(make_model):
    with pytest.raises(D2CError, match="takes 1 channels, its autoencoder halved gives 4"):
        Estimator(make_model(), Halved(), torch.device("cpu"), "fp32", K, 0)


def test_a_compiled_model_meets_one_shape_and_gives_the_same(make_model, images):
    model, shapes = make_model(), set()

    def forward(x, t, y):
        shapes.add((x.shape, y.shape))
        return model(x, t, y)

    compiled = estimator(model, batch=7)
    compiled.compiled, compiled._forward = True, forward
    np.testing.assert_allclose(compiled.errors(*images), estimator(model).errors(*images), rtol=1e-5)
    assert shapes == {((7, 1, 8, 8), (7,))}


def test_without_a_compiler_the_model_runs_as_it_is(make_model, images):
    def broken(x, t, y):
        raise RuntimeError("no C compiler")

    compiled = estimator(make_model())
    compiled.compiled, compiled._forward = True, broken
    np.testing.assert_allclose(compiled.errors(*images), estimator(make_model()).errors(*images), rtol=1e-5)
    compiled._forward = broken  # and without compilation it is an error like any other
    with pytest.raises(RuntimeError, match="no C compiler"):
        compiled.errors(*images)


@pytest.mark.parametrize("compiled", [False, True])
def test_too_large_a_batch_is_said_in_one_line(make_model, images, compiled):
    def full(x, t, y):
        raise torch.OutOfMemoryError("CUDA out of memory")

    large = estimator(make_model(), batch=64)
    large.compiled, large._forward = compiled, full
    with pytest.raises(D2CError, match="batch of 64 does not fit into the memory of cpu: give --batch-size 32"):
        large.errors(*images)
