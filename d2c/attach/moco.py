"""MoCo v3's vision transformers, from the files its authors publish: timm knows the architecture, not the weights.

A published file is a training checkpoint: of `state_dict`, the keys below `module.base_encoder.` are the encoder that
is used (its projector, `head`, is left behind), beside the momentum encoder and the predictor.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
import torch

from d2c.attach.vision import VisionInfo
from d2c.attach.weights import unfit
from d2c.errors import D2CError

PREFIXES = ("module.base_encoder.", "base_encoder.", "module.", "")
PREPROCESSING: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
#: MoCo v3's small model has twelve heads, timm's six.
ARGUMENTS: dict[str, dict[str, Any]] = {"moco-v3-vit-s-16": {"num_heads": 12}, "moco-v3-vit-b-16": {}}


def download(info: VisionInfo) -> Path:
    """The published file, from the cache or the web. Raises D2CError saying where to put it by hand."""
    from d2c import download as web

    file = web.cache_folder() / f"moco-v3-{info.address.rpartition('/')[2]}"
    return file if file.is_file() else web.download(info.address, file, flag="--vision-weights")


def build(architecture: str, arguments: dict[str, Any], file: Path, name: str) -> Any:
    """The encoder with its weights. Raises D2CError when the file holds others."""
    model: Any = timm.create_model(architecture, num_classes=0, dynamic_img_size=True, **arguments)
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            found: Any = load_file(file)
        else:
            found = torch.load(file, map_location="cpu", weights_only=True)
        weights = encoder_of(found.get("state_dict", found), file, name)
        model.load_state_dict(weights)
    except D2CError:
        raise
    except Exception as problem:  # whatever a foreign file can make torch or safetensors raise
        raise unfit(file, name, problem) from None
    model.pretrained_cfg = {**model.pretrained_cfg, **PREPROCESSING}
    return model.eval().requires_grad_(False)


def encoder_of(state: dict[str, Any], file: Path, name: str) -> dict[str, Any]:
    """The encoder's tensors under timm's names. Raises D2CError when there are none."""
    for prefix in PREFIXES:
        if f"{prefix}patch_embed.proj.weight" in state:
            inner = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            return {k: v for k, v in inner.items() if not k.startswith("head.")}
    raise D2CError(f"{file} does not hold the weights of {name}: no patch embedding is in it")
