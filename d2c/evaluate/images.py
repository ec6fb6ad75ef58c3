"""Samples and real images as the judge sees them: both cropped to the samples' size, then shrunk alike."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from d2c.artifacts import Artifact
from d2c.data.store import Images, pixels
from d2c.errors import D2CError
from d2c.progress import Progress

READ = 4096  # images at their full size in memory at a time
Pictures = NDArray[np.uint8]


def shrink(images: Pictures, side: int) -> Pictures:
    """uint8 [n, C, S, S] to [n, C, side, side], each pixel the mean of what it covers; side ≤ S."""
    if images.shape[-1] == side:
        return images
    out = np.empty((*images.shape[:2], side, side), np.uint8)
    for image, small in zip(images.reshape(-1, *images.shape[2:]), out.reshape(-1, side, side), strict=True):
        small[:] = np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BOX))
    return out


def real_images(
    artifact: Artifact,
    sample_ids: NDArray[np.int64],
    image_size: int,
    channels: int,
    side: int,
    progress: Progress | None = None,
) -> Pictures:
    """Images of a data set or a condensed set [n, channels, side, side], in the order of `sample_ids`."""
    stored = Images(artifact)
    out = np.empty((len(sample_ids), channels, side, side), np.uint8)
    for start in range(0, len(sample_ids), READ):
        ids = sample_ids[start : start + READ]
        out[start : start + READ] = shrink(pixels(stored, ids, image_size, channels, progress=progress), side)
    return out


def sample_images(samples: Artifact, table: pd.DataFrame, channels: int, side: int) -> Pictures:
    """Generated images [n, channels, side, side] in the order of samples.parquet.

    Raises D2CError when a file is missing or unreadable.
    """
    mode = {1: "L", 3: "RGB"}[channels]
    out = np.empty((len(table), channels, side, side), np.uint8)
    for row, file in enumerate(table["file"]):
        try:
            image = Image.open(samples.path / file).convert(mode)
        except OSError as problem:
            raise D2CError(
                f"samples/{samples.name}: {file} cannot be read ({problem}): sample again with --force"
            ) from None
        flat = np.asarray(image).reshape(image.height, image.width, channels).transpose(2, 0, 1)
        out[row] = shrink(flat[None], side)[0]
    return out
