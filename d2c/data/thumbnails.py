"""Small pictures of every image, made once at ingest, and many of them in one picture."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from d2c.artifacts import Artifact
from d2c.data.spans import Spans
from d2c.errors import D2CError

SIDE = 128  # px, the longest side
_EXACT = 32  # px; up to here lossless WebP is small, and lossy would smear what little there is
_WEBP_SIDE = 16383  # px, the format's limit


def thumbnail(image: Image.Image) -> bytes:
    """WebP of at most 128 px on the long side, never enlarged, of an upright L or RGB image."""
    small = image.copy() if max(image.size) <= SIDE else _fit(image, SIDE)
    file = io.BytesIO()
    if max(small.size) <= _EXACT:
        small.save(file, "WEBP", lossless=True, quality=50, method=0)
    else:
        small.save(file, "WEBP", quality=80, method=2)
    return file.getvalue()


class Thumbnails:
    """The thumbnails of a data set by sample_id. Threads may share one."""

    def __init__(self, artifact: Artifact) -> None:
        self._spans = Spans(artifact, "thumbnails.parquet", "thumbnails.bin")

    @property
    def ids(self) -> np.ndarray:
        """Every sample_id there is, int64, ascending."""
        return self._spans.ids

    def bytes(self, sample_id: int) -> bytes:
        """One thumbnail as WebP. Raises D2CError when there is no such image."""
        return self._spans.read(sample_id)


def sprite(thumbs: Thumbnails, ids: Sequence[int], columns: int, tile: int) -> bytes:
    """Thumbnails in rows of `columns` square tiles of `tile` px, as one WebP; transparent where nothing is.

    Each is fitted into its tile and centred; small ones are enlarged with square pixels.
    Raises D2CError for an unknown id, or when the picture would be larger than WebP allows.
    """
    rows = -(-len(ids) // columns)
    width, height = min(columns, len(ids)) * tile, rows * tile
    if not ids or max(width, height) > _WEBP_SIDE:
        raise D2CError(f"a sprite of {width} × {height} px cannot be made: between 1 and {_WEBP_SIDE} are allowed")
    sheet = Image.new("RGBA", (width, height))
    for place, sample_id in enumerate(ids):
        picture = _fit(Image.open(io.BytesIO(thumbs.bytes(int(sample_id)))), tile)
        x, y = place % columns * tile, place // columns * tile
        sheet.paste(picture, (x + (tile - picture.width) // 2, y + (tile - picture.height) // 2))
    file = io.BytesIO()
    sheet.save(file, "WEBP", quality=80, method=0)
    return file.getvalue()


def _fit(image: Image.Image, side: int) -> Image.Image:
    """The image scaled so that its long side is `side`."""
    longest = max(image.size)
    size = (max(1, round(image.width * side / longest)), max(1, round(image.height * side / longest)))
    if longest * 2 <= side:
        return image.resize(size, Image.Resampling.NEAREST)
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
