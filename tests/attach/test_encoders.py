"""The named vision encoders: architectures, prefix tokens, published layouts, grids and preprocessing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from d2c.attach import moco
from d2c.attach.dinov2 import TimmVision, locate, patch_of
from d2c.attach.grids import regrid, spatially_normalised
from d2c.attach.vision import VISION_ENCODERS, describe_vision
from d2c.errors import D2CError

CPU = torch.device("cpu")
NAMED = [name for name, info in VISION_ENCODERS.items() if info.reference]


def images(count: int, side: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 3, side, side), dtype=np.uint8)


def open_(name: str, file: Path, grid: int, **more: Any) -> TimmVision:
    return TimmVision(describe_vision(name), grid=grid, weights=file, device=CPU, precision="fp32", **more)


@pytest.mark.parametrize("name", NAMED)
def test_what_is_said_of_an_encoder_is_so(name: str) -> None:
    info = VISION_ENCODERS[name]
    arguments = moco.ARGUMENTS.get(name, {})
    with torch.device("meta"):
        model = timm.create_model(info.reference, num_classes=0, dynamic_img_size=True, **arguments)
    assert (model.embed_dim, patch_of(model)) == (info.dim, info.patch)
    assert info.licence
    assert info.address or timm.get_pretrained_cfg(info.reference, allow_unregistered=False).hf_hub_id
    if "-reg" in name or "dinov3" in name:
        assert model.num_prefix_tokens == 5
    cfg = timm.get_pretrained_cfg(info.reference, allow_unregistered=False)
    if cfg is not None and "cc-by-nc" in str(cfg.license):
        assert "NC" in info.licence


@pytest.mark.parametrize("name", ["dinov2-vit-s-14-reg", "dinov3-vit-s-16"])
def test_prefix_tokens_are_dropped(name: str, tmp_path: Path) -> None:
    """Random weights in the real layout: what comes out are the patches of forward_features, in order."""
    reference = VISION_ENCODERS[name].reference
    torch.manual_seed(0)
    model = timm.create_model(reference, num_classes=0, dynamic_img_size=True).eval()
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, tmp_path / "model.safetensors")
    encoder = open_(name, tmp_path / "model.safetensors", 4)
    assert encoder.image_size == 4 * VISION_ENCODERS[name].patch
    x = images(1, encoder.image_size)
    with torch.no_grad():
        normed = (torch.from_numpy(x) / 255 - encoder.mean) / encoder.std
        wanted = model.forward_features(normed)[:, model.num_prefix_tokens :]
    np.testing.assert_allclose(encoder.encode(x), wanted.numpy(), atol=1e-4)


@pytest.fixture(scope="module")
def moco_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A training checkpoint as MoCo v3 publishes them: twelve heads, projector, momentum encoder and predictor."""
    torch.manual_seed(0)
    model = timm.create_model("vit_small_patch16_224", num_classes=0, num_heads=12).eval()
    state = {f"module.base_encoder.{k}": v for k, v in model.state_dict().items()}
    state["module.base_encoder.head.0.weight"] = torch.zeros(8, 384)
    state |= {f"module.momentum_encoder.{k}": torch.zeros_like(v) for k, v in model.state_dict().items()}
    state["module.predictor.0.weight"] = torch.zeros(8, 8)
    file = tmp_path_factory.mktemp("moco") / "vit-s-300ep.pth.tar"
    torch.save({"epoch": 300, "arch": "vit_small", "state_dict": state, "optimizer": {}}, file)
    return file, model


def test_moco_v3_from_its_checkpoint(moco_file: tuple[Path, Any]) -> None:
    file, model = moco_file
    encoder = open_("moco-v3-vit-s-16", file, 14)
    assert (encoder.image_size, encoder.dim, encoder.model.blocks[0].attn.num_heads) == (224, 384, 12)
    x = images(1, 224)
    with torch.no_grad():
        wanted = model.forward_features((torch.from_numpy(x) / 255 - encoder.mean) / encoder.std)[:, 1:]
    np.testing.assert_allclose(encoder.encode(x), wanted.numpy(), atol=1e-4)
    assert open_("moco-v3-vit-s-16", file, 4).encode(images(1, 64)).shape == (1, 16, 384)


def test_moco_v3_from_another_file(tmp_path: Path, tiny_vit: Path) -> None:
    save_file({"x": torch.zeros(2)}, tmp_path / "x.safetensors")
    with pytest.raises(D2CError, match=r"x\.safetensors does not hold the weights of moco-v3-vit-s-16: no patch"):
        open_("moco-v3-vit-s-16", tmp_path / "x.safetensors", 4)
    with pytest.raises(D2CError, match="does not hold the weights of moco-v3-vit-s-16: ") as caught:
        open_("moco-v3-vit-s-16", tiny_vit / "model.safetensors", 4)
    assert "\n" not in str(caught.value)


def test_moco_v3_that_is_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    nowhere = describe_vision("moco-v3-vit-b-16")
    import dataclasses

    closed = dataclasses.replace(nowhere, address="http://127.0.0.1:9/moco-v3/vit-b-300ep.pth.tar")
    with pytest.raises(
        D2CError, match=r"put it at .*vit-b-300ep\.pth\.tar by hand, or .*--vision-weights FILE"
    ) as caught:
        locate(closed, None)
    assert "\n" not in str(caught.value)


def test_repas_preprocessing(tiny_vit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Normalised at 16 px a token, then bicubic to 14 px a token, without antialiasing."""
    encoder = open_("hf-hub:org/tiny-vit", tiny_vit / "model.safetensors", 4, preprocess="repa")
    assert (encoder.image_size, encoder.input_size) == (64, 56)
    x = images(2, 64)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ([0.5, 0.4, 0.3], [0.2, 0.3, 0.4]))
    resized = F.interpolate((torch.from_numpy(x) / 255 - mean) / std, 56, mode="bicubic", align_corners=False)
    with torch.no_grad():
        wanted = encoder.model.forward_features(resized)[:, 1:]
    np.testing.assert_allclose(encoder.encode(x), wanted.numpy(), atol=1e-5)
    plain = open_("hf-hub:org/tiny-vit", tiny_vit / "model.safetensors", 4)
    assert plain.image_size == plain.input_size == 56


def test_a_fixed_input_is_brought_to_the_grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An encoder whose own grid is another than the transformer's: its tokens are resized."""
    from d2c.attach import dinov2

    model = timm.create_model("test_vit", num_classes=0)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    real = dinov2.build
    monkeypatch.setattr(sys.modules["d2c.attach.dinov2"], "build", lambda *a: (real(*a)[0], False))
    encoder = open_("timm:test_vit", tmp_path / "model.safetensors", 5)
    assert (encoder.input_size, encoder.grid) == (160, 5)
    x = images(2, 160)
    own, _ = encoder._maps((torch.from_numpy(x) / 255 - encoder.mean) / encoder.std)
    assert own.shape[-1] == 10
    wanted = own.view(2, -1, 5, 2, 5, 2).mean((3, 5)).flatten(2).transpose(1, 2)  # the mean of each 2 × 2
    np.testing.assert_allclose(encoder.encode(x), wanted.numpy(), atol=1e-5)


def test_regrid() -> None:
    x = torch.arange(16.0).view(1, 16, 1)
    assert regrid(x, 4) is x
    assert regrid(x, 2).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    assert regrid(x, 8).shape == (1, 64, 1)
    assert regrid(x.bfloat16(), 2).dtype == torch.bfloat16
    with pytest.raises(D2CError, match="5 tokens are no square grid; attach them again"):
        regrid(torch.zeros(1, 5, 3), 2)


def test_spatial_normalisation() -> None:
    x = torch.from_numpy(np.random.default_rng(0).normal(3, 5, (2, 9, 4)).astype(np.float32))
    z = spatially_normalised(x)
    for b in range(2):
        for c in range(4):
            values = x[b, :, c].numpy()
            wanted = (values - values.mean()) / (values.std(ddof=1) + 1e-6)
            np.testing.assert_allclose(z[b, :, c], wanted, atol=1e-5)


def test_compiled_gives_the_same(tiny_vit: Path, scorer_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced and taken apart as for a GPU, but not turned into its code, which takes a minute."""
    import functools

    from d2c.attach.scorer import ScorerVision
    from d2c.diffusion.checkpoints import load_model

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    vit = open_("hf-hub:org/tiny-vit", tiny_vit / "model.safetensors", 4)
    own = ScorerVision(load_model(scorer_file), source="", seed=0, device=CPU, precision="fp32")
    for encoder in (vit, own):
        x = images(3, encoder.image_size)
        plain = encoder.encode(x)
        encoder.hasten()
        np.testing.assert_allclose(encoder.encode(x), plain, atol=1e-4)
