"""Pictures inside the page: WebP as data URIs, small, many in one."""

from __future__ import annotations

import base64
import dataclasses
import io
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from d2c.artifacts import Artifact
from d2c.data.store import Images
from d2c.data.thumbnails import Thumbnails
from d2c.errors import D2CError

EXACT = 32  # px; images up to here are kept lossless, enlarged by whole factors so that browsers show square pixels
TILE = 72  # px; side of a larger image in a strip, and about that of an enlarged one
GAP = 6  # px between images, clear


@dataclasses.dataclass(frozen=True)
class Strip:
    """Images in one row (or rows of `columns`), square tiles of `tile` px, as one data URI, `width` × `height` px."""

    uri: str
    count: int
    columns: int
    tile: int
    width: int
    height: int
    alt: str


def data_uri(picture: Image.Image, *, exact: bool) -> str:
    """A picture as a WebP data URI, lossless where `exact`."""
    file = io.BytesIO()
    if exact:
        picture.save(file, "WEBP", lossless=True, quality=80, method=4)
    else:
        picture.save(file, "WEBP", quality=82, method=4)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()


def strip(pictures: Sequence[Image.Image], alt: str, *, columns: int = 0, tile: int = TILE) -> Strip:
    """Pictures as one, each fitted into a square and centred, at most `tile` px a side; tiny ones are enlarged."""
    side = min(tile, max((max(p.size) for p in pictures), default=1))
    factor = max(tile // side, 1) if side <= EXACT else 1
    step, columns = side * factor + GAP, min(columns or len(pictures), max(len(pictures), 1))
    rows = -(-len(pictures) // columns) if pictures else 1
    grey = all(p.mode == "L" for p in pictures)
    sheet = Image.new("LA" if grey else "RGBA", (max(columns, 1) * step - GAP, rows * step - GAP))
    for place, picture in enumerate(pictures):
        small = picture if grey or picture.mode == "RGB" else picture.convert("RGB")
        longest = max(small.size)
        if longest > side:
            shape = (max(1, round(small.width * side / longest)), max(1, round(small.height * side / longest)))
            small = small.resize(shape, Image.Resampling.LANCZOS, reducing_gap=2.0)
        small = small.resize((small.width * factor, small.height * factor), Image.Resampling.NEAREST)
        left, top = place % columns * step, place // columns * step
        middle = (left + (step - GAP - small.width) // 2, top + (step - GAP - small.height) // 2)
        sheet.paste(small.convert(sheet.mode), middle)
    uri = data_uri(sheet.convert("RGBA"), exact=side <= EXACT)
    return Strip(uri, len(pictures), columns, step - GAP, sheet.width, sheet.height, alt)


def array_picture(pixels: np.ndarray) -> Image.Image:
    """An image (H, W, C) uint8 as a picture."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def _small(thumbnails: Thumbnails) -> Callable[[int], Image.Image]:
    return lambda sample_id: Image.open(io.BytesIO(thumbnails.bytes(sample_id)))


def real_pictures(*holders: Artifact | None) -> Callable[[int], Image.Image] | None:
    """What reads a real image by sample_id from the first of these that has it; None when there is none of them.

    Thumbnails first, which are small and always at hand; then the images themselves (of a condensed set).
    """
    readers: list[Callable[[int], Image.Image]] = []
    for holder in holders:
        if holder is None:
            continue
        if (holder.path / "thumbnails.parquet").is_file():
            readers.append(_small(Thumbnails(holder)))
        elif (holder.path / "images.parquet").is_file():
            readers.append(Images(holder).image)
    if not readers:
        return None

    def read(sample_id: int) -> Image.Image:
        problem: Exception = D2CError(f"there is no image {sample_id}")
        for reader in readers:
            try:
                picture = reader(sample_id)
                return picture.convert("L" if picture.mode in ("L", "1") else "RGB")
            except (D2CError, OSError) as why:
                problem = why
        raise D2CError(f"image {sample_id} cannot be read ({problem}): copy its data set again")

    return read
