"""A small data set whose classes can be told apart, and a tiny scorer."""

from __future__ import annotations

import json
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


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """open_clip_config.json and open_clip_model.safetensors of a random CLIP 16 wide, as the hub holds them."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("tiny-clip")
    text = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
    vision = {"image_size": 16, "patch_size": 8, "width": 16, "head_width": 8, "layers": 1}
    settings = {
        "model_cfg": {"embed_dim": 8, "vision_cfg": vision, "text_cfg": text},
        "preprocess_cfg": {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(settings))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / "open_clip_model.safetensors")
    return folder


@pytest.fixture
def clip_map(dataset: Artifact, clip_folder: Path) -> Artifact:
    """A map of the pictures by that CLIP."""
    from d2c.explore.map import map_

    file = clip_folder / "open_clip_model.safetensors"
    options = {"neighbours": 4, "device": "cpu", "precision": "fp32", "method": "pca", "quiet": True}
    return map_(dataset, features="open_clip:hf-hub:org/tiny-clip", weights=str(file), **options)
