"""Decoded images of a set kept as shards beside it, for what reads them at random and cannot hold them all.

    WORKSPACE/<kind>/.pixels/<fingerprint, 12>-<side>-<channels>/000000.safetensors: pixels U8 [n, C, S, S],
        sample_ids I64 [n]; rows of `d2c.data.shards`, in the order of the set's table

The folder can be deleted at any time.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from safetensors.numpy import save as to_bytes

from d2c.artifacts import Artifact
from d2c.data.mapped import open_shard, put
from d2c.data.shards import shards
from d2c.data.store import Images, pixels
from d2c.errors import D2CError
from d2c.progress import Progress


def decoded(
    data: Artifact, ids: np.ndarray, side: int, channels: int, progress: Progress | None = None
) -> Iterator[tuple[int, np.ndarray]]:
    """First row and uint8 [n, channels, side, side] of the images `ids`, a shard's worth at a time."""
    images = Images(data)
    for part in shards(len(ids)):
        yield part.start, pixels(images, ids[part.start : part.stop], side, channels, progress=progress)


def mapped_pixels(
    data: Artifact, ids: np.ndarray, side: int, channels: int, progress: Progress | None = None
) -> list[np.ndarray]:
    """The same as memory maps, one a shard; those that are missing or damaged are decoded and kept first.

    Raises D2CError when an image cannot be read, or the disk is full.
    """
    folder = data.path.parent / ".pixels" / f"{data.fingerprint[:12]}-{side}-{channels}"
    images, found = Images(data), []
    for number, part in enumerate(shards(len(ids))):
        file, own = folder / f"{number:06d}.safetensors", ids[part.start : part.stop]
        kept = _opened(file, own, (len(own), channels, side, side))
        if kept is None:
            made = pixels(images, own, side, channels, progress=progress)
            try:
                folder.mkdir(parents=True, exist_ok=True)
                put(file, to_bytes({"pixels": made, "sample_ids": np.ascontiguousarray(own, np.int64)}))
            except OSError as problem:
                raise D2CError(
                    f"the decoded images of {data.kind}/{data.name} cannot be kept in {folder} ({problem.strerror}): "
                    "make room there; the same command then goes on"
                ) from None
            kept = open_shard(file, "start again").arrays["pixels"]
        elif progress is not None:
            progress.advance(len(own))
        found.append(kept)
    return found


def _opened(file: Path, ids: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    try:
        arrays = open_shard(file).arrays
    except D2CError:
        return None
    there = arrays.get("pixels"), arrays.get("sample_ids")
    if there[0] is None or there[1] is None or there[0].shape != shape or not np.array_equal(there[1], ids):
        return None
    return there[0]
