from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from d2c.attach.scorer import ScorerVision
from d2c.diffusion.checkpoints import load_model


@pytest.fixture
def encoder(scorer_file: Path) -> ScorerVision:
    return made(scorer_file)


def made(file: Path, seed: int = 0, precision: str = "fp32") -> ScorerVision:
    model = load_model(file)
    return ScorerVision(model, source="tiny", seed=seed, device=torch.device("cpu"), precision=precision)


def images(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 3, 8, 8), dtype=np.uint8)


def test_shape(encoder: ScorerVision) -> None:
    assert (encoder.grid, encoder.dim, encoder.image_size, encoder.channels, encoder.tap) == (4, 192, 8, 3, 1)
    tokens = encoder.encode(images(2))
    assert tokens.shape == (2, 16, 192)
    assert tokens.dtype == np.float32
    np.testing.assert_allclose(tokens.mean(-1), 0, atol=1e-5)
    np.testing.assert_allclose(tokens.std(-1), 1, atol=1e-3)


def test_a_row_depends_on_its_own_image(encoder: ScorerVision) -> None:
    x = images(5)
    together, order = encoder.encode(x), np.array([3, 0, 4, 2, 1])
    np.testing.assert_allclose(encoder.encode(x[order]), together[order], atol=1e-5)
    np.testing.assert_allclose(encoder.encode(x[2:3])[0], together[2], atol=1e-5)
    assert np.abs(together[0] - together[1]).max() > 0.1


def test_noise_is_low_and_comes_from_the_seed(scorer_file: Path, encoder: ScorerVision) -> None:
    x = images(1)
    np.testing.assert_array_equal(made(scorer_file).encode(x), encoder.encode(x))
    assert np.abs(made(scorer_file, seed=1).encode(x) - encoder.encode(x)).max() > 1e-3
    seen = {}
    encoder.model.register_forward_pre_hook(lambda _, args: seen.update(x=args[0], t=args[1]))
    encoder.encode(x)
    clean = torch.from_numpy(x).float() / 127.5 - 1
    torch.testing.assert_close(seen["x"], 0.9 * clean + 0.1 * encoder.noise, rtol=1e-4, atol=1e-5)
    assert float(seen["t"]) == pytest.approx(0.9)


def test_the_label_is_not_in_the_tokens(encoder: ScorerVision) -> None:
    seen = []
    encoder.model.register_forward_pre_hook(lambda _, args: seen.append(args[2]))
    x = images(3)
    before = encoder.encode(x)
    assert seen[0].tolist() == [3, 3, 3]  # the null class of three classes
    with torch.no_grad():
        encoder.model.y_embedder.embedding_table.weight[:3] += 1
    np.testing.assert_array_equal(encoder.encode(x), before)


def test_bf16_is_near_fp32(scorer_file: Path, encoder: ScorerVision) -> None:
    x = images(2)
    rounded = made(scorer_file, precision="bf16").encode(x)
    assert 0 < np.abs(rounded - encoder.encode(x)).max() < 0.2
