"""The encoder's class token beside its patch tokens: stored on demand, read by REG."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from d2c.artifacts import Artifact
from d2c.attach import attach, open_vision
from d2c.attach.dinov2 import TimmVision
from d2c.attach.vision import describe_vision
from d2c.errors import D2CError
from d2c.train import TrainConfig, read_metrics, train
from d2c.train.data import stored_heads
from d2c.train.plan import plan

NAME = "timm:test_vit"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = timm.create_model("test_vit", num_classes=0)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def attached(subset: Artifact, weights: Path, **more: object) -> Artifact:
    options = {"vision": NAME, "vision_weights": str(weights), "vision_grid": 2, "device": "cpu", "precision": "fp32"}
    return attach(subset, **{**options, "class_token": True, "quiet": True, **more})


def direct(weights: Path, images: np.ndarray) -> torch.Tensor:
    """The first of timm's own normalised tokens."""
    model = timm.create_model("test_vit", num_classes=0, dynamic_img_size=True).eval()
    from safetensors.torch import load_file

    model.load_state_dict(load_file(weights))
    cfg = model.pretrained_cfg
    mean, std = (torch.tensor(cfg[k]).view(1, -1, 1, 1) for k in ("mean", "std"))
    with torch.no_grad():
        found: torch.Tensor = model.forward_features((torch.from_numpy(images) / 255 - mean) / std)[:, 0]
    return found


def test_it_is_the_normalised_first_token(weights: Path) -> None:
    where = {"grid": 3, "weights": weights, "device": torch.device("cpu"), "precision": "fp32"}
    encoder = TimmVision(describe_vision(NAME), **where, class_token=True)
    plain = TimmVision(describe_vision(NAME), **where)
    x = np.random.default_rng(0).integers(0, 256, (2, 3, encoder.image_size, encoder.image_size), dtype=np.uint8)
    tokens, head = encoder.both(torch.from_numpy(x))
    assert head is not None
    torch.testing.assert_close(head, direct(weights, x))
    torch.testing.assert_close(tokens, plain.tokens(torch.from_numpy(x)))
    assert plain.both(torch.from_numpy(x))[1] is None


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("components", [0, 3])
def test_stored_and_read(subset: Artifact, weights: Path, flip: bool, components: int) -> None:
    made = attached(subset, weights, flip=flip, components=components)
    found = open_vision(made)
    assert found is not None
    assert found.class_tokens
    assert made.facts["vision"]["class_token"] is True
    assert "with each image's class token" in (made.path / "README.md").read_text()
    heads = found.read_class()
    assert heads.shape == (found.images, found.dim)
    from d2c.data.store import pixels

    side = TimmVision(
        describe_vision(NAME), grid=2, weights=weights, device=torch.device("cpu"), precision="fp32"
    ).image_size
    x = pixels(made, made.table("subset.parquet")["sample_id"].to_numpy(), side, 3)
    np.testing.assert_allclose(heads, direct(weights, x).numpy(), atol=0.02, rtol=0.01)  # bf16
    kept = stored_heads(made, flip=True)
    assert kept is not None
    assert kept.shape == ((2, *heads.shape) if flip else heads.shape)
    if flip:
        mirrored = direct(weights, np.ascontiguousarray(x[..., ::-1])).numpy()
        np.testing.assert_allclose(found.read_class(flip=True), mirrored, atol=0.02, rtol=0.01)
        assert not np.allclose(heads, mirrored, atol=0.02)
    else:
        with pytest.raises(D2CError, match="holds no class tokens"):
            found.read_class(flip=True)


def test_reg_trains_on_it(subset: Artifact, weights: Path) -> None:
    made = attached(subset, weights, normalise="spatial", text="none")
    assert not any("class token" in line for line in plan(made, TrainConfig(reg=0.03)).warnings)
    options = {"model": "SiT-Ti/8", "steps": 2, "batch": 4, "log_every": 1, "sample_every": 0, "image_size": 16}
    run = train(made, reg=0.03, device="cpu", precision="fp32", quiet=True, **options)
    assert "class_token" in set(read_metrics(run.path)["name"])
    bare = attached(subset, weights, class_token=False, text="none")
    assert any("mean of the image's vision tokens" in line for line in plan(bare, TrainConfig(reg=0.03)).warnings)
    assert stored_heads(bare, flip=False) is None
    found = open_vision(bare)
    assert found is not None
    with pytest.raises(D2CError, match="attach with --class-token"):
        found.read_class()


def test_an_encoder_without_one_says_so(tmp_path: Path) -> None:
    model = timm.create_model("test_resnet", num_classes=0)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, tmp_path / "net.safetensors")
    where = {"weights": tmp_path / "net.safetensors", "device": torch.device("cpu"), "precision": "fp32"}
    with pytest.raises(D2CError, match="has no class token"):
        TimmVision(describe_vision("timm:test_resnet"), grid=2, class_token=True, **where)
