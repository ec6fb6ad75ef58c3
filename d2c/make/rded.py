"""RDED (`d2c.select.rded`): the crop of each image that convinces a classifier most, and images stitched of those."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from contextlib import closing

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torch.nn import functional as F

from d2c.data.store import Images, planes
from d2c.data.threads import in_order
from d2c.errors import D2CError
from d2c.evaluate.classifier import scaled

SMALLEST = 0.08  # of an image's area: the smallest crop
BATCH = 512  # crops at once; always the same, so that a score never depends on it

Box = tuple[int, int, int]  # left, top and side of a square crop [px]


@dataclasses.dataclass(frozen=True)
class Patch:
    """The best crop of one image, and the classifier's cross entropy for it [nats]."""

    sample_id: int
    box: Box
    loss: float


@dataclasses.dataclass(frozen=True, eq=False)
class Stitched:
    """One made image: uint8 [C, S, S], and its patches row by row."""

    pixels: NDArray[np.uint8]
    patches: tuple[Patch, ...]


def boxes(width: int, height: int, count: int, draw: np.random.Generator) -> list[Box]:
    """Square crops of 8 % to all of an image's area, uniformly drawn, anywhere in it."""
    found = []
    for _ in range(count):
        share = draw.uniform(SMALLEST, 1)
        side = min(max(round(math.sqrt(share * width * height)), 1), width, height)
        found.append((int(draw.integers(width - side + 1)), int(draw.integers(height - side + 1)), side))
    return found


def cut(image: Image.Image, box: Box, width: int, height: int) -> NDArray[np.uint8]:
    """A crop of an L or RGB image as uint8 [C, height, width]: bilinear, antialiased where it shrinks."""
    x, y, side = box
    alone = image.crop((x, y, x + side, y + side))  # `resize(box=…)` would let pixels around the crop in
    return planes(alone.resize((width, height), Image.Resampling.BILINEAR))


def edges(size: int, factor: int) -> list[int]:
    """Where the cells of a side begin, and the end [factor + 1]; the first `size % factor` have one pixel more."""
    wide, more = divmod(size, factor)
    return [i * wide + min(i, more) for i in range(factor + 1)]


@torch.inference_mode()
def losses(model: nn.Module, crops: NDArray[np.uint8], label: int, device: torch.device) -> NDArray[np.float32]:
    """The cross entropy of a class for crops uint8 [n, C, s, s]: float32 [n]. Raises D2CError for what is no number."""
    found = np.empty(len(crops), np.float32)
    for start in range(0, len(crops), BATCH):
        scores = model(scaled(crops[start : start + BATCH], device)).float()
        wanted = torch.full((len(scores),), label, device=device)
        found[start : start + BATCH] = F.cross_entropy(scores, wanted, reduction="none").cpu().numpy()
    if not np.isfinite(found).all():
        raise D2CError("the classifier's scores are not all numbers: delete its run, and it is trained again")
    return found


def best(ids: Sequence[int], crops: Sequence[Sequence[Box]], found: NDArray[np.float32]) -> list[Patch]:
    """Of each image its crop of the least loss (the first of equals); images by that loss, then by id.

    `found` is [n, crops].
    """
    at = found.argmin(axis=1)
    kept = [Patch(int(i), crops[n][at[n]], float(found[n, at[n]])) for n, i in enumerate(ids)]
    return sorted(kept, key=lambda patch: (patch.loss, patch.sample_id))


def deal(patches: Sequence[Patch], count: int, factor: int) -> list[tuple[Patch, ...]]:
    """The first count · factor² patches over `count` images: every image's first cell, then every second …"""
    cells = factor**2
    return [tuple(patches[cell * count + j] for cell in range(cells)) for j in range(count)]


def stitch(images: Sequence[Image.Image], patches: Sequence[Patch], size: int, factor: int) -> NDArray[np.uint8]:
    """Patches of these images, in the same order, into the cells of one image [C, size, size], row by row."""
    at = edges(size, factor)
    rows = []
    for row in range(factor):
        line = []
        for column in range(factor):
            cell = row * factor + column
            width, height = at[column + 1] - at[column], at[row + 1] - at[row]
            line.append(cut(images[cell], patches[cell].box, width, height))
        rows.append(np.concatenate(line, axis=2))
    return np.concatenate(rows, axis=1)


def make_class(
    images: Images,
    ids: NDArray[np.int64],
    label: int,
    count: int,
    model: nn.Module,
    *,
    size: int,
    side: int,
    channels: int,
    factor: int,
    pool: int,
    crops: int,
    seed: int,
    device: torch.device,
    each: Callable[[], None] = lambda: None,
) -> list[Stitched]:
    """`count` images of one class, the most convincing first.

    At most `pool` of the images `ids`, and never fewer than needed, are drawn by (seed, label); the crops of an image
    by (seed, label, its id), so that they depend on nothing else. `model` reads images of `side` px. `each` is called
    for every image looked at. Raises D2CError when one cannot be read.
    """
    mode = "L" if channels == 1 else "RGB"
    most = max(pool, count * factor**2)
    looked = np.sort(np.random.default_rng((seed, label)).permutation(ids)[:most]).tolist()

    def look(sample_id: int) -> tuple[list[Box], NDArray[np.uint8]]:
        image = images.image(sample_id).convert(mode)
        found = boxes(image.width, image.height, crops, np.random.default_rng((seed, label, sample_id)))
        return found, np.stack([cut(image, box, side, side) for box in found])

    at: list[list[Box]] = []
    seen = np.empty((len(looked), crops, channels, side, side), np.uint8)
    with closing(in_order(look, looked)) as coming:
        for n, (found, pixels) in enumerate(coming):
            at.append(found)
            seen[n] = pixels
            each()
    scored = losses(model, seen.reshape(-1, channels, side, side), label, device).reshape(len(looked), crops)
    dealt = deal(best(looked, at, scored), count, factor)

    def build(patches: tuple[Patch, ...]) -> Stitched:
        pictures = [images.image(p.sample_id).convert(mode) for p in patches]
        return Stitched(stitch(pictures, patches, size, factor), patches)

    with closing(in_order(build, dealt)) as built:
        return list(built)
