from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import d2c
from d2c.artifacts import Artifact, Workspace, produce
from d2c.data import ingest
from d2c.evaluate.classifier import Classifier
from d2c.select.base import SelectConfig
from tests.make.common import QUICK


@pytest.fixture(scope="session")
def digits(digits_chain: dict[str, Artifact], tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """Scores of the digits in a workspace to write to, with the classifier that the images are made by."""
    root = shutil.copytree(digits_chain["scores"].workspace.root, tmp_path_factory.mktemp("made") / "workspace")
    scores = Workspace(root).find("scores", digits_chain["scores"].name)
    assert scores is not None
    d2c.select(scores, strategy="rded", factor=1, pool=20, **QUICK)  # trains it
    return scores


@pytest.fixture
def scored(tmp_path: Path) -> Callable[..., Artifact]:
    """Scores of a few small colour or grey pictures, so many of each class, whose sides differ; without a model."""

    def make(sizes: dict[str, int], *, grey: bool = False) -> Artifact:
        draw = np.random.default_rng(0)
        for c, (name, count) in enumerate(sizes.items()):
            folder = tmp_path / "source" / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = (120 * c + draw.integers(0, 120, (11 + i % 3, 9, 3))).astype(np.uint8)
                Image.fromarray(pixels).convert("L" if grey else "RGB").save(folder / f"{i:02d}.png")
        dataset = ingest(tmp_path / "source", workspace=Workspace(tmp_path / "workspace"), name="source", quiet=True)
        table = dataset.table("samples.parquet")[["sample_id", "label"]]
        table["difficulty"] = np.float32(1)

        def write(build: Any) -> None:
            table.to_parquet(build.folder / "scores.parquet", index=False)

        return produce(
            dataset.workspace, "scores", SelectConfig(), write, stem="s", name="s", parents=[dataset], quiet=True
        )

    return make


@pytest.fixture
def network() -> Callable[..., Classifier]:
    """A classifier with random weights and random running statistics, in eval mode."""

    def make(channels: int = 3, side: int = 8, classes: int = 4, seed: int = 0) -> Classifier:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = Classifier(channels, side, classes)
            for module in model.modules():
                if isinstance(module, torch.nn.BatchNorm2d):
                    module.running_mean.normal_()
                    module.running_var.uniform_(0.5, 2)
        return model.eval()

    return make
