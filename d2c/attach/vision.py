"""Vision encoders: their common shape, the known ones, and the grid they look at. Free of torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from d2c.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

PREPROCESSING = ("direct", "repa")


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

    def tokens(self, images: Tensor) -> Tensor:
        """The same for a tensor on the encoder's device; the result stays there, float32 or bfloat16."""

    def hasten(self) -> None:
        """Compile the forward pass. From here on every batch must be as large as the next one given."""


@dataclass(frozen=True)
class VisionInfo:
    """What can be said of a vision encoder before it is opened. `dim` and `patch` are None until it is."""

    name: str
    dim: int | None
    note: str
    patch: int | None = None  # pixels a token covers
    licence: str = ""
    reference: str = ""  # how timm is asked for it: a model name or hf-hub:ORG/NAME
    address: str = ""  # of the published file, for weights that timm does not keep


_DINO = "DINOv2 patch tokens after the last layer norm."
_DINO3 = "DINOv3 patch tokens after the last layer norm."
_MAE = "Patch tokens of a masked autoencoder's encoder after the last layer norm."
_MOCO = "MoCo v3 patch tokens after the last layer norm."
_CLIP = "Patch tokens of CLIP's image tower after its last layer norm, before pooling."
_META, _NC = "Apache-2.0 (DINOv2)", "CC-BY-NC-4.0"
_MOCO_AT = "https://dl.fbaipublicfiles.com/moco-v3"


def _known() -> Iterator[VisionInfo]:
    yield VisionInfo("scorer", None, "Tokens of the scorer's own middle block at low noise, without the label.")
    for size, word, dim in (("s", "small", 384), ("b", "base", 768), ("l", "large", 1024)):
        for mark, more in (("", ""), ("-reg", "_reg4")):
            name = f"dinov2-vit-{size}-14{mark}"
            yield VisionInfo(name, dim, _DINO, 14, _META, f"vit_{word}_patch14{more}_dinov2.lvd142m")
    for size, word, dim in (("s", "small", 384), ("b", "base", 768), ("l", "large", 1024)):
        reference = f"vit_{word}_patch16_dinov3.lvd1689m"
        yield VisionInfo(f"dinov3-vit-{size}-16", dim, _DINO3, 16, "DINOv3 License (Meta)", reference)
    for size, word, dim in (("b", "base", 768), ("l", "large", 1024)):
        yield VisionInfo(f"mae-vit-{size}-16", dim, _MAE, 16, f"{_NC} (MAE)", f"vit_{word}_patch16_224.mae")
    for size, word, dim in (("s", "small", 384), ("b", "base", 768)):
        at = f"{_MOCO_AT}/vit-{size}-300ep/vit-{size}-300ep.pth.tar"
        architecture = f"vit_{word}_patch16_224"
        yield VisionInfo(f"moco-v3-vit-{size}-16", dim, _MOCO, 16, f"{_NC} (MoCo v3)", architecture, at)
    for size, word, dim, patch in (("b-16", "base_patch16", 768, 16), ("l-14", "large_patch14", 1024, 14)):
        reference = f"vit_{word}_clip_quickgelu_224.openai"
        yield VisionInfo(f"clip-vit-{size}", dim, _CLIP, patch, "MIT (OpenAI CLIP)", reference)
    yield VisionInfo("none", 0, "No vision tokens: trained without alignment.")


VISION_ENCODERS = {info.name: info for info in _known()}


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
