"""Vision encoders: their common shape, the known ones, and the grid they look at. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from d2c.errors import UsageError


class VisionEncoder(Protocol):
    """A frozen encoder of images into grid × grid tokens, row by row from the top left.

    It reads crops of `image_size` pixels a side with `channels` channels.
    """

    name: str
    grid: int
    dim: int
    image_size: int
    channels: int
    note: str
    source: str

    def encode(self, images: np.ndarray) -> np.ndarray:
        """Tokens [B, grid², D] float32 of uint8 images [B, C, S, S]; a row depends on its own image alone."""


@dataclass(frozen=True)
class VisionInfo:
    """What can be said of a vision encoder before it is opened. `dim` and `patch` are None until it is."""

    name: str
    dim: int | None
    note: str
    patch: int | None = None  # pixels a token covers
    licence: str = ""
    reference: str = ""  # how timm is asked for it: a model name or hf-hub:ORG/NAME


_DINO = "DINOv2 patch tokens after the last layer norm."

VISION_ENCODERS = {
    info.name: info
    for info in (
        VisionInfo("scorer", None, "Tokens of the scorer's own middle block at low noise, without the label."),
        VisionInfo("dinov2-vit-s-14", 384, _DINO, 14, "Apache-2.0 (DINOv2)", "vit_small_patch14_dinov2.lvd142m"),
        VisionInfo("dinov2-vit-b-14", 768, _DINO, 14, "Apache-2.0 (DINOv2)", "vit_base_patch14_dinov2.lvd142m"),
        VisionInfo("none", 0, "No vision tokens: trained without alignment."),
    )
}


def describe_vision(name: str) -> VisionInfo:
    """What is known of an encoder by its name: a known one, `timm:NAME` or `hf-hub:ORG/NAME`.

    Raises UsageError for any other name.
    """
    if name in VISION_ENCODERS:
        return VISION_ENCODERS[name]
    scheme, _, rest = name.partition(":")
    if rest and scheme == "timm":
        return VisionInfo(name, None, f"Last feature map of timm's {rest}.", reference=rest)
    if rest.count("/") == 1 and scheme == "hf-hub":
        return VisionInfo(name, None, f"Last feature map of {rest}.", reference=name)
    raise UsageError(
        f"unknown vision encoder {name!r}; known: {', '.join(VISION_ENCODERS)}, timm:NAME, hf-hub:ORG/NAME"
    )


def default_grid(image_side: float) -> int:
    """Tokens a side for images of a size [px]: 16 from 128 px on, as in the paper; below, half the side within 4…16.

    The paper's 16 × 16 tokens are of 256 px images. A token of a smaller image would cover less than two
    pixels, so the grid shrinks with it (ours).
    """
    return 16 if image_side >= 128 else min(max(int(image_side) // 2, 4), 16)
