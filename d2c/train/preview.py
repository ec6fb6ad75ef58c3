"""A grid of small pictures in one file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

SMALLEST = 48  # px a tile is enlarged to, so that digits of 16 px can be seen


def write_grid(file: Path, tiles: np.ndarray, columns: int) -> None:
    """Write uint8 tiles [n, C, S, S] row by row as lossless WebP, whole or not at all."""
    beside = file.with_name(f".{file.name}")
    Image.fromarray(grid(tiles, columns)).save(beside, format="WEBP", lossless=True)
    beside.replace(file)


def grid(tiles: np.ndarray, columns: int, gap: int = 1) -> np.ndarray:
    """Tiles [n, C, S, S] laid out with a grey line between them, uint8 [H, W] or [H, W, 3]."""
    n, c, s, _ = tiles.shape
    zoom = max(1, -(-SMALLEST // s))
    tiles = tiles.repeat(zoom, axis=2).repeat(zoom, axis=3)
    side, rows = s * zoom + gap, -(-n // columns)
    sheet = np.full((c, rows * side - gap, columns * side - gap), 128, np.uint8)
    for i, tile in enumerate(tiles):
        y, x = (i // columns) * side, (i % columns) * side
        sheet[:, y : y + side - gap, x : x + side - gap] = tile
    return sheet[0] if c == 1 else np.ascontiguousarray(sheet.transpose(1, 2, 0))
