"""Any image encoder of timm as an extractor; DINOv2 ViT-L/14 gives FD-DINOv2."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from d2c.attach.dinov2 import FLAG, Source, build, locate
from d2c.attach.vision import VisionInfo
from d2c.attach.weights import source_of
from d2c.download import digest
from d2c.evaluate.extractors.base import Extractor, Pictures, files_given_as, full_precision
from d2c.evaluate.extractors.names import OPTION, Asked

DINOV2_SIDE = 224  # px, as published for FD-DINOv2, though timm's DINOv2 is set up for 518


class Encoder:
    """uint8 [n, 3, S, S] → Pillow's bicubic resize → the encoder's normalisation → one vector an image, in fp32.

    The vector is the class token after the final norm, or the pooled features of a network without one. Images are
    square already, so the published centre crop takes nothing away.
    """

    def __init__(self, model: Any, side: int, device: torch.device) -> None:
        self.model, self.side, self.device = model.to(device), side, device
        cfg = model.pretrained_cfg
        self.mean = torch.tensor(cfg["mean"], device=device).view(1, -1, 1, 1)
        self.std = torch.tensor(cfg["std"], device=device).view(1, -1, 1, 1)

    @torch.inference_mode()
    @full_precision()
    def __call__(self, images: Pictures) -> dict[str, Tensor]:
        """Features float32 [n, D]."""
        x = torch.from_numpy(resized(images, self.side)).to(self.device).float() / 255
        maps = self.model.forward_features((x - self.mean) / self.std)
        if getattr(self.model, "cls_token", None) is not None:
            return {"features": maps[:, 0].float()}
        return {"features": self.model.forward_head(maps, pre_logits=True).flatten(1).float()}


def resized(images: Pictures, side: int) -> Pictures:
    """Images [n, 3, S, S] as Pillow resizes them bicubically to [n, 3, side, side], which antialiases."""
    if images.shape[-1] == side:
        return images
    out = np.empty((*images.shape[:2], side, side), np.uint8)
    for image, small in zip(images, out, strict=True):
        picture = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
        small[:] = np.asarray(picture.resize((side, side), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
    return out


def source_for(asked: Asked) -> Source:
    """Architecture, preprocessing and file of weights, fetched from the hub where it is not here."""
    reference = asked.network if "/" not in asked.network else f"hf-hub:{asked.network.removeprefix('hf-hub:')}"
    with files_given_as(FLAG, f"{OPTION} timm:{asked.network}=FILE"):
        return locate(VisionInfo(asked.network, None, "", reference=reference), asked.file)


def open_encoder(asked: Asked, device: torch.device) -> Extractor:
    """The encoder that timm knows by this name, with weights from a file, the hub's cache or the hub.

    Raises D2CError where there is no such network, or its weights are missing or do not fit.
    """
    source = source_for(asked)
    model, flexible = build(source, asked.network)
    side = DINOV2_SIDE if flexible and "dinov2" in asked.network else int(model.pretrained_cfg["input_size"][-1])
    about = {
        "what": f"the encoder {asked.network} of timm at {side} px, bicubic, "
        + ("class token" if getattr(model, "cls_token", None) is not None else "pooled features"),
        "source": source_of(source.file, given=asked.file is not None),
        "sha256": digest(source.file),
        "side": side,
    }
    return Extractor("timm", asked.label, Encoder(model, side, device), about)
