"""A small data set whose classes can be told apart, and a tiny scorer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from d2c.artifacts import Artifact, Workspace
from d2c.data import ingest

CLASSES = ("bars", "rings", "spots")


def blobs(label: int, draw: np.random.Generator) -> np.ndarray:
    """A 12 px colour image [H, W, 3] whose bright third says its class."""
    image = draw.integers(0, 60, (12, 12, 3))
    image[:, 4 * label : 4 * label + 4] += draw.integers(120, 180)
    return image.astype(np.uint8)


@pytest.fixture
def dataset(tmp_path: Path, workspace: Workspace) -> Artifact:
    """Three classes of eight colour images; the last two of the last class are one and the same picture."""
    draw = np.random.default_rng(0)
    for label, name in enumerate(CLASSES):
        folder = tmp_path / "source" / name
        folder.mkdir(parents=True)
        for i in range(8):
            if (label, i) != (2, 7):
                image = Image.fromarray(blobs(label, draw))
            image.save(folder / f"{i}.png")
    return ingest(tmp_path / "source", workspace=workspace, quiet=True)


@pytest.fixture
def scorer_file(tmp_path: Path) -> Path:
    """A two-block SiT on 8 px grey images with random weights, its gates opened so that blocks do something."""
    import torch

    from d2c.diffusion.checkpoints import save_model
    from d2c.diffusion.config import ModelConfig
    from d2c.diffusion.sit import build

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build(ModelConfig("SiT", "Ti", patch=2, image_size=8, channels=1, num_classes=10, layers=2))
        for weight in model.parameters():
            if weight.requires_grad and weight.dim() > 1:
                torch.nn.init.normal_(weight, std=0.05)
    file = tmp_path / "tiny.safetensors"
    save_model(file, model)
    return file
