"""Samples beside their nearest training images, on one sheet."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

COLUMNS, TILE, GAP = 8, 64, 8  # pairs in a row; px of a picture, small ones enlarged by whole factors; px between pairs


def pairs_sheet(samples: NDArray[np.uint8], nearest: NDArray[np.uint8]) -> Image.Image:
    """Pairs of images [n, C, s, s] side by side, sample left and training image right, row by row."""
    n, channels, side, _ = samples.shape
    tile = side * max(TILE // side, 1)
    columns = min(COLUMNS, n)
    rows = -(-n // columns)
    width, height = 2 * tile + GAP, tile + GAP
    sheet = Image.new("RGB", (columns * width - GAP, rows * height - GAP), "white")
    for place, pair in enumerate(zip(samples, nearest, strict=True)):
        row, column = divmod(place, columns)
        for which, image in enumerate(pair):
            pixels = image[0] if channels == 1 else image.transpose(1, 2, 0)
            picture = Image.fromarray(pixels).resize((tile, tile), Image.Resampling.NEAREST)
            sheet.paste(picture, (column * width + which * tile, row * height))
    return sheet
