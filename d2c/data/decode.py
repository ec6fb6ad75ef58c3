"""From encoded bytes to an upright 8-bit image in grey (L) or RGB, or the reason why not."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageOps

EMPTY = "empty"
NOT_AN_IMAGE = "not an image"
DAMAGED = "damaged or truncated"
TOO_LARGE = "too large"
UNREADABLE = "cannot be read"

MOST_PIXELS = 178_956_970
"""Pillow itself refuses a header that claims more."""

# Named, because Pillow's other plugins hand files to outside programs (EPS) or are no photographs.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "MPO", "JPEG2000", "AVIF")
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"II*\x00", b"MM\x00*")


class Unusable(Exception):
    """Why an image cannot be used: `reason` is one of this module's phrases, `detail` says more or is empty."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason} ({detail})" if detail else reason)
        self.reason, self.detail = reason, detail


def decode(data: bytes, max_pixels: int = MOST_PIXELS) -> Image.Image:
    """Decode fully and turn upright (EXIF). Mode L for grey sources, else RGB; alpha over white; 16 bit to 8.

    The header's size is checked against `max_pixels` before any pixel is decoded. Animations and
    multi-page files give their first picture.

    Raises Unusable with the reason.
    """
    if not data:
        raise Unusable(EMPTY)
    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError:
        raise Unusable(TOO_LARGE, f"over {MOST_PIXELS:,} px") from None
    except Exception:  # Pillow's parsers raise a dozen types on bad headers
        known = data.startswith(_MAGIC) or data[8:12] == b"WEBP"
        raise Unusable(DAMAGED if known else NOT_AN_IMAGE) from None
    width, height = image.size
    if width * height > max_pixels:
        raise Unusable(TOO_LARGE, f"{width} × {height} px")
    try:
        image.load()
        return _flatten(_upright(image))
    except Exception as problem:
        raise Unusable(DAMAGED, " ".join(str(problem).split())[:200]) from None


def _upright(image: Image.Image) -> Image.Image:
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except Exception:  # unreadable EXIF says nothing about the picture beside it
        return image
    return image


def _flatten(image: Image.Image) -> Image.Image:
    if image.mode == "I" or image.mode.startswith("I;16"):
        values = np.clip(np.asarray(image), 0, 65535).astype(np.uint32)
        return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))
    if image.mode == "F":
        floats = np.nan_to_num(np.asarray(image))
        scale = 255.0 if floats.max(initial=0.0) <= 1.0 else 1.0
        return Image.fromarray(np.rint(np.clip(floats * scale, 0, 255)).astype(np.uint8))
    target = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    if image.has_transparency_data:
        image = image.convert("LA" if target == "L" else "RGBA")
        flat = Image.new(target, image.size, "white")
        flat.paste(image.convert(target), mask=image.getchannel("A"))
        return flat
    return image if image.mode == target else image.convert(target)
