"""Vision encoders of timm: a vision transformer's patch tokens, or the last feature map of any other model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from torch import Tensor
from torch.nn import functional as F

from d2c.attach import moco
from d2c.attach.grids import regrid
from d2c.attach.vision import VisionInfo
from d2c.attach.weights import beside, fetch, read_config, source_of, unfit
from d2c.device import autocast
from d2c.errors import D2CError

FLAG = "--vision-weights"
CONFIG = "config.json"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
REPA_PATCH = 16  # pixels of the image a token stands for in REPA: 256 px, 16 × 16 tokens


class TimmVision:
    """Patch tokens after the final norm, without class and register tokens (x_norm_patchtokens of DINOv2).

    Images are ADM-cropped to grid × patch pixels a side at once ("direct", ours: small images lose nothing twice),
    or as REPA does ("repa"): cropped to 16 px a token, normalised, then resized bicubically without antialiasing.
    Position embeddings are resampled to the grid by timm. A model of fixed input size keeps it; where its own grid is
    another than the one asked for, its tokens are resized to that.
    """

    channels = 3

    def __init__(
        self,
        info: VisionInfo,
        *,
        grid: int,
        weights: Path | None,
        device: torch.device,
        precision: str,
        preprocess: str = "direct",
        class_token: bool = False,
    ) -> None:
        source = locate(info, weights)
        model, flexible = build(source, info.name)
        self.model = model.to(device)
        if class_token and getattr(model, "cls_token", None) is None:
            raise D2CError(f"{info.name} has no class token: attach without --class-token, or use a DINOv2")
        self.class_token = class_token
        self.device, self.precision = device, precision
        self.name, self.note, self.grid = info.name, info.note, grid
        self.source = source_of(source.file, given=weights is not None)
        cfg: dict[str, Any] = model.pretrained_cfg
        self.mean = torch.tensor(cfg["mean"], device=device).view(1, -1, 1, 1)
        self.std = torch.tensor(cfg["std"], device=device).view(1, -1, 1, 1)
        self.input_size = grid * patch_of(model) if flexible else int(cfg["input_size"][-1])
        self.image_size = grid * REPA_PATCH if preprocess == "repa" else self.input_size
        self._forward: Any = self._maps
        try:
            with torch.inference_mode():
                probe, _ = self._maps(torch.zeros(1, 3, self.input_size, self.input_size, device=device))
        except (AssertionError, RuntimeError, ValueError) as problem:  # as timm says that a size does not suit it
            raise D2CError(f"{info.name} takes no images of {self.input_size} px: {str(problem)[:200]}") from None
        self.dim = int(probe.shape[1])

    @torch.inference_mode()
    def encode(self, images: np.ndarray) -> np.ndarray:
        """Tokens [B, grid², D] float32 of uint8 images [B, 3, S, S]."""
        tokens: np.ndarray = self.tokens(torch.from_numpy(images).to(self.device)).float().cpu().numpy()
        return tokens

    @torch.inference_mode()
    def tokens(self, images: Tensor) -> Tensor:
        """Tokens [B, grid², D] of uint8 images [B, 3, S, S] on the device, in the arithmetic they were made in."""
        return self.both(images)[0]

    @torch.inference_mode()
    def both(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Those tokens, and the class tokens [B, D] after the final norm (x_norm_clstoken) where they are kept."""
        x = (images.float() / 255.0 - self.mean) / self.std
        if x.shape[-1] != self.input_size:
            x = F.interpolate(x, size=(self.input_size,) * 2, mode="bicubic", align_corners=False)
        maps, head = self._forward(x)
        return regrid(maps.flatten(2).transpose(1, 2), self.grid), head

    def hasten(self) -> None:
        """Compile the forward pass for one batch size."""
        self._forward = torch.compile(self._maps, dynamic=False)

    def _maps(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """The last feature map [B, D, h, w] of normalised images, and the class token [B, D] where it is kept."""
        more = {"return_prefix_tokens": True} if self.class_token else {}
        with autocast(self.device, self.precision):
            maps: Any = self.model.forward_intermediates(x, indices=1, norm=True, intermediates_only=True, **more)
        features: Tensor = maps[-1][0] if self.class_token else maps[-1]
        head: Tensor | None = maps[-1][1][:, 0] if self.class_token else None
        if features.shape[-1] != features.shape[-2]:
            raise D2CError(f"{self.name} gives a feature map of {tuple(features.shape[-2:])}: not a square grid")
        return features, head


@dataclass(frozen=True)
class Source:
    """A timm architecture, the arguments that change it, its preprocessing and the file of its weights."""

    architecture: str
    arguments: dict[str, Any]
    preprocessing: dict[str, Any]
    file: Path


def locate(info: VisionInfo, weights: Path | None) -> Source:
    """Find architecture and weights. For hf-hub:ORG/NAME the architecture is in config.json, beside a given
    file or in the repository. Raises D2CError for what is not there.
    """
    if info.address:
        return Source(info.reference, moco.ARGUMENTS[info.name], moco.PREPROCESSING, weights or moco.download(info))
    _, hub, repository = info.reference.partition("hf-hub:")
    if hub:
        config = beside(weights, CONFIG) or fetch(repository, [CONFIG], wanted_by=info.name, flag=FLAG)
        settings = read_config(config)
        if "architecture" not in settings:
            raise D2CError(f"{info.name} is not a timm model: {config} names no architecture")
        file = weights or fetch(repository, WEIGHTS, wanted_by=info.name, flag=FLAG)
        about = settings.get("pretrained_cfg", settings)
        kept = {k: about[k] for k in ("mean", "std", "input_size", "fixed_input_size", "num_classes") if k in about}
        return Source(str(settings["architecture"]), dict(settings.get("model_args") or {}), kept, file)
    if not timm.is_model(info.reference.partition(".")[0]):
        raise D2CError(f"{info.name}: timm knows no model of that name; see timm.list_models(pretrained=True)")
    if weights is None:
        known = timm.get_pretrained_cfg(info.reference, allow_unregistered=False)
        if known is None or not known.hf_hub_id:
            raise D2CError(f"{info.name} has no weights on the hub: give a file with {FLAG} FILE")
        names = [known.hf_hub_filename] if known.hf_hub_filename else WEIGHTS
        weights = fetch(str(known.hf_hub_id), names, wanted_by=info.name, flag=FLAG)
    return Source(info.reference, {}, {}, weights)


def build(source: Source, name: str) -> tuple[Any, bool]:
    """The model with its weights, and whether it takes images of any size.

    Raises D2CError when the file does not fit the architecture.
    """
    model: Any
    if source.preprocessing is moco.PREPROCESSING:
        return moco.build(source.architecture, source.arguments, source.file, name), True
    overlay = {**source.preprocessing, "file": str(source.file), "hf_hub_id": None, "url": None}
    common = {**source.arguments, "pretrained": True, "pretrained_cfg_overlay": overlay, "num_classes": 0}
    try:
        try:
            model = timm.create_model(source.architecture, **{**common, "dynamic_img_size": True})
            flexible = True
        except TypeError:  # not a plain vision transformer
            model = timm.create_model(source.architecture, **common)
            flexible = not model.pretrained_cfg.get("fixed_input_size", False)
    except Exception as problem:  # whatever a foreign file can make torch, safetensors or timm raise
        raise unfit(source.file, name, problem) from None
    if not hasattr(model, "forward_intermediates"):
        raise D2CError(f"{name} gives no feature map: choose a vision transformer or a convolutional network")
    return model.eval().requires_grad_(False), flexible


def patch_of(model: Any) -> int:
    """Pixels a side that one token covers: the stride of the last feature map."""
    return int(model.feature_info[-1]["reduction"])
