from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from d2c.artifacts import Artifact, Workspace
from d2c.data.ingest import ingest
from d2c.diffusion.checkpoints import save_model
from d2c.diffusion.config import ModelConfig
from d2c.diffusion.dit import DiT
from d2c.diffusion.sit import build
from d2c.score.estimator import Estimator

SIZES = (30, 25, 3)


@pytest.fixture(autouse=True)
def one_thread(request) -> Iterator[None]:
    """Tiny models: threads that wait for each other would cost more than they compute."""
    before = torch.get_num_threads()
    if "slow" not in request.keywords:
        torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def make_model() -> Callable[..., DiT]:
    """Tiny models with every weight random: the usual start predicts zero whatever it is given."""

    def make(family: str = "SiT", seed: int = 0, **changes: object) -> DiT:
        fields = {"size": "Ti", "patch": 2, "image_size": 8, "channels": 1, "num_classes": len(SIZES), "layers": 1}
        model = build(ModelConfig(family, **(fields | changes)))
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(std=0.05, generator=generator)
        return model.eval()

    return make


@pytest.fixture(scope="session")
def scorer_file(make_model, tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("scorer") / "tiny.safetensors"
    save_model(file, make_model(), {})
    return file


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> Callable[..., Path]:
    """A folder of class folders with random images, 8 × 8 unless said, grey ("L") or colour ("RGB")."""

    def make(mode: str, sizes: Sequence[int] = SIZES, sides: tuple[int, int] = (8, 8)) -> Path:
        folder = tmp_path_factory.mktemp("pictures")
        rng = np.random.default_rng(0)
        for name, size in zip(("ant", "bee", "cat"), sizes, strict=False):
            (folder / name).mkdir()
            for i in range(size):
                shape = sides if mode == "L" else (*sides, 3)
                smooth = rng.integers(0, 256) * rng.random()  # so that images differ in difficulty
                pixels = np.clip(smooth + rng.normal(0, rng.random() * 80, shape), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / name / f"{i:03d}.png")
        return folder

    return make


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    return Workspace(tmp_path / "w")


@pytest.fixture
def dataset(pictures, workspace) -> Artifact:
    return ingest(pictures("L"), workspace=workspace, name="bugs", quiet=True)


@pytest.fixture
def small_shards(monkeypatch) -> None:
    """Shards of 10 images, so that even a tiny data set has several."""
    monkeypatch.setattr("d2c.data.shards.SMALLEST", 10)


@pytest.fixture
def counted(monkeypatch) -> list[int]:
    """How many images the estimator was given, in either bank, call by call."""
    calls: list[int] = []
    errors = Estimator.errors

    def count(self, x, targets, bank=0, **options):
        calls.append(len(x))
        return errors(self, x, targets, bank, **options)

    monkeypatch.setattr(Estimator, "errors", count)
    return calls
