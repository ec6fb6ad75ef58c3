"""The two towers of a CLIP model: images and words in one space, where a cosine says how well they fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from torch import Tensor
from torch.nn import functional as F

from d2c.attach.openclip import load
from d2c.attach.weights import source_of
from d2c.device import autocast
from d2c.explore.clip import described

FLAG = "--weights"


class ClipImages:
    """CLIP's image vectors, of unit length, as one token an image.

    Images are ADM-cropped to the tower's size, where CLIP's own preprocessing resizes bicubically: the crop is the
    same, the filter differs a little. Normalised by the mean and deviation that the weights were trained with.
    """

    channels = 3
    note = "CLIP's image vectors: alike means alike in what is shown, and words can be looked for."

    def __init__(self, name: str, *, weights: Path | None, device: torch.device, precision: str) -> None:
        info = described(name)
        model, _, file = load(info, weights, images=True, flag=FLAG)
        tower: Any = model.visual
        side = tower.image_size
        architecture, _, tag = info.reference.partition("/")
        trained: dict[str, Any] = {}
        if not info.reference.startswith("hf-hub:"):
            trained = open_clip.get_pretrained_cfg(architecture, tag) or {}
        mean, deviation = trained.get("mean") or tower.image_mean, trained.get("std") or tower.image_std
        self.image_size = int(side[0] if isinstance(side, tuple | list) else side)
        self.tower = tower.to(device)
        self.device, self.precision = device, precision
        self.source = source_of(file, given=weights is not None)
        self.mean = torch.tensor(mean, device=device).view(1, -1, 1, 1)
        self.deviation = torch.tensor(deviation, device=device).view(1, -1, 1, 1)

    @torch.inference_mode()
    def encode(self, images: np.ndarray) -> np.ndarray:
        """Vectors [B, 1, D] float32 of unit length of uint8 images [B, 3, S, S]."""
        x = torch.from_numpy(images).to(self.device).float() / 255.0
        with autocast(self.device, self.precision):
            found: Tensor = self.tower((x - self.mean) / self.deviation)
        vectors: np.ndarray = F.normalize(found.float(), dim=-1)[:, None].cpu().numpy()
        return vectors


class ClipWords:
    """CLIP's text vectors, of unit length, fp32 on the CPU."""

    def __init__(self, name: str, *, weights: Path | None) -> None:
        model, self.tokenizer, self.file = load(described(name), weights, flag=FLAG)
        self.model: Any = model

    @torch.inference_mode()
    def encode(self, text: str) -> np.ndarray:
        """The vector [D] float32 of unit length of a text; what its tower's length leaves no room for is cut off."""
        vector: np.ndarray = F.normalize(self.model.encode_text(self.tokenizer([text])), dim=-1)[0].numpy()
        return vector
