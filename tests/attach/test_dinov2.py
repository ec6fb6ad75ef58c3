from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file

from d2c.attach.dinov2 import TimmVision, build, locate
from d2c.attach.vision import describe_vision
from d2c.errors import D2CError

NAME = "hf-hub:org/tiny-vit"
CPU = torch.device("cpu")


def open_(folder: Path, grid: int = 4, precision: str = "fp32", name: str = NAME) -> TimmVision:
    file = folder / "model.safetensors"
    return TimmVision(describe_vision(name), grid=grid, weights=file, device=CPU, precision=precision)


def images(count: int, side: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 3, side, side), dtype=np.uint8)


def test_tokens_are_the_normed_patches(tiny_vit: Path) -> None:
    settings = json.loads((tiny_vit / "config.json").read_text())
    plain = timm.create_model("vit_tiny_patch16_224", num_classes=3, **settings["model_args"]).eval()
    plain.load_state_dict(load_file(tiny_vit / "model.safetensors"))
    encoder = open_(tiny_vit)
    assert (encoder.grid, encoder.dim, encoder.image_size) == (4, 32, 56)
    x = images(2, 56)
    mean, std = (torch.tensor(settings["pretrained_cfg"][k]).view(1, 3, 1, 1) for k in ("mean", "std"))
    with torch.no_grad():
        wanted = plain.forward_features((torch.from_numpy(x) / 255 - mean) / std)[:, 1:]
    tokens = encoder.encode(x)
    assert tokens.dtype == np.float32
    np.testing.assert_allclose(tokens, wanted.numpy(), atol=1e-5)


def test_tokens_run_row_by_row_from_the_top_left(tiny_vit: Path) -> None:
    encoder = open_(tiny_vit)
    for part in encoder.model.blocks:  # without attention a token sees its own patch alone
        torch.nn.init.zeros_(part.attn.proj.weight)
        torch.nn.init.zeros_(part.attn.proj.bias)
    x = images(1, 56)
    changed = x.copy()
    changed[:, :, 14:28, 42:56] ^= 255  # patch of row 1, column 3
    moved = np.abs(encoder.encode(x) - encoder.encode(changed)).max(-1)[0]
    assert np.flatnonzero(moved > 1e-6).tolist() == [1 * 4 + 3]


@pytest.mark.parametrize("grid", [2, 3, 6])
def test_any_grid(tiny_vit: Path, grid: int) -> None:
    encoder = open_(tiny_vit, grid)
    assert encoder.image_size == 14 * grid
    assert encoder.encode(images(2, 14 * grid)).shape == (2, grid**2, 32)


def test_a_row_depends_on_its_own_image(tiny_vit: Path) -> None:
    encoder, x = open_(tiny_vit), images(5, 56)
    together = encoder.encode(x)
    order = np.array([3, 0, 4, 2, 1])
    np.testing.assert_allclose(encoder.encode(x[order]), together[order], atol=1e-5)
    np.testing.assert_allclose(encoder.encode(x[2:3])[0], together[2], atol=1e-5)


def test_bf16_is_near_fp32(tiny_vit: Path) -> None:
    x = images(2, 56)
    exact, rounded = open_(tiny_vit).encode(x), open_(tiny_vit, precision="bf16").encode(x)
    assert rounded.dtype == np.float32
    assert 0 < np.abs(exact - rounded).max() < 0.1


def test_dinov2_is_built_as_timm_builds_it(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    name = "vit_small_patch14_dinov2.lvd142m"
    with torch.device("meta"):
        shapes = timm.create_model(name).state_dict()
    save_file({k: torch.full(v.shape, 0.01) for k, v in shapes.items()}, tmp_path / "model.safetensors")
    encoder = open_(tmp_path, grid=4, name="dinov2-vit-s-14")
    assert (encoder.grid, encoder.dim, encoder.image_size) == (4, 384, 56)
    np.testing.assert_allclose(encoder.mean.flatten(), [0.485, 0.456, 0.406])
    np.testing.assert_allclose(encoder.std.flatten(), [0.229, 0.224, 0.225])
    assert encoder.encode(images(1, 56)).shape == (1, 16, 384)


@pytest.mark.parametrize("name", ["dinov2-vit-s-14", "dinov2-vit-b-14"])
def test_where_dinov2_comes_from(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def note(repository: str, names: tuple[str, ...], **_: str) -> Path:
        asked.append((repository, names[0]))
        return Path("file")

    monkeypatch.setattr(sys.modules["d2c.attach.dinov2"], "fetch", note)
    info = describe_vision(name)
    assert locate(info, None).architecture == info.reference
    assert asked == [(f"timm/{info.reference}", "model.safetensors")]


def test_a_convolutional_network(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    model = timm.create_model("test_resnet", num_classes=0)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    encoder = open_(tmp_path, grid=2, name="timm:test_resnet")
    assert encoder.encode(images(1, encoder.image_size)).shape == (1, 4, encoder.dim)


def test_a_file_that_does_not_fit_is_one_line(tiny_vit: Path, tmp_path: Path) -> None:
    shutil.copy(tiny_vit / "config.json", tmp_path)
    (tmp_path / "model.safetensors").write_bytes((tiny_vit / "model.safetensors").read_bytes()[:500])
    with pytest.raises(D2CError, match=r"model\.safetensors is cut off or damaged: copy it again") as caught:
        open_(tmp_path)
    assert "\n" not in str(caught.value)
    with pytest.raises(D2CError, match="does not hold the weights of dinov2-vit-s-14"):
        open_(tiny_vit, name="dinov2-vit-s-14")


def test_configurations_that_are_none(tiny_vit: Path, tmp_path: Path) -> None:
    shutil.copy(tiny_vit / "model.safetensors", tmp_path)
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(D2CError, match=r"config\.json is not a model's configuration"):
        open_(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "dinov2"}')
    with pytest.raises(D2CError, match="names no architecture"):
        open_(tmp_path)


def test_names_that_timm_does_not_have() -> None:
    with pytest.raises(D2CError, match="timm knows no model of that name"):
        locate(describe_vision("timm:nonsense"), None)


def test_the_class_head_is_left_behind(tiny_vit: Path) -> None:
    source = locate(describe_vision(NAME), tiny_vit / "model.safetensors")
    model, flexible = build(source, NAME)
    assert flexible
    assert not any("head" in name for name, _ in model.named_parameters())
