"""Latents of a data set by one autoencoder, kept beside it so that nothing is encoded twice.

    WORKSPACE/datasets/.latents/<data set's fingerprint, 12>-<key, 12>/cache.json, 000000.safetensors, …

A shard holds the rows of `d2c.data.shards`, by ascending sample_id. The key covers the autoencoder's weights and scale,
the image size, the arithmetic and what is kept. The folder can be deleted at any time.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load as from_bytes
from safetensors.numpy import save as to_bytes

from d2c.artifacts import Artifact, fingerprint_of
from d2c.data.loader import Slab, load
from d2c.data.mapped import checksum, open_shard, put
from d2c.data.shards import shards
from d2c.data.store import Images
from d2c.diffusion.autoencoders import Autoencoder, weights_digest
from d2c.diffusion.encode import LATENTS, auto_batch, encode_images, hasten, total_variation
from d2c.errors import D2CError
from d2c.progress import Progress

__all__ = ["Latents", "encode", "encode_images", "stream", "total_variation", "weights_digest"]
VERSION = 1  # of what a shard holds
BESIDE = {"sample_ids": "I64", "jpeg_bytes": "I32", "total_variation": "F32"}
TYPES = {"I64": np.int64, "I32": np.int32, "F32": np.float32, "F16": np.float16}
SLAB_BYTES = 64 << 20  # decoded images handed over at once
DAMAGED = (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError)  # what a bad header can lead to
ABANDONED = 3600.0  # s after which a file that was being written is no longer


class Latents:
    """The shards of one cache. Several processes may write different shards at once, and the same one harmlessly.

    A shard holds fp16 [n, c, h, w] under the names in `d2c.diffusion.encode.LATENTS[what]`; sample_ids int64 [n];
    jpeg_bytes int32 [n]; total_variation float32 [n]. Means are also found in a cache of moments.

    Raises D2CError for pixel space, which has nothing to keep, or an image size that the autoencoder does not divide.
    """

    def __init__(
        self, dataset: Artifact, autoencoder: Autoencoder, image_size: int, what: str, precision: str, digest: str = ""
    ) -> None:
        if autoencoder.name == "identity":
            raise D2CError("pixel space has no latents to keep: read the images themselves")
        if image_size % autoencoder.factor:
            raise D2CError(
                f"images of {image_size} px have no latents by {autoencoder.name}: its factor is {autoencoder.factor}"
            )
        side = image_size // autoencoder.factor
        self.what, self.whose = what, f"{dataset.kind}/{dataset.name}"
        self.shape = (autoencoder.channels, side, side)
        self.images = Images(dataset)
        self.ids, self.shards = self.images.ids, shards(len(self.images))
        self.facts: dict[str, Any] = {
            "version": VERSION,
            "digest": digest or weights_digest(autoencoder),
            "scale": getattr(autoencoder, "scale", 1.0),
            "shift": getattr(autoencoder, "shift", 0.0),
            "image_size": image_size,
            "precision": precision,
        }
        self.name = autoencoder.name
        start, beside = dataset.fingerprint[:12], dataset.path.parent / ".latents"
        keys = (fingerprint_of({**self.facts, "what": kept}, [])[:12] for kept in (what, "moments"))
        self.folder, richer = (beside / f"{start}-{key}" for key in keys)
        self._sources = [(self.folder, what), *([(richer, "moments")] if what != "moments" else [])]

    @property
    def complete(self) -> bool:
        """Whether every shard is there."""
        return not self.missing()

    def missing(self) -> list[int]:
        """The shards that are not there or not whole, by their headers and ids."""
        return [i for i in range(len(self.shards)) if not any(self._whole(i, *source) for source in self._sources)]

    def read(self, index: int) -> dict[str, np.ndarray] | None:
        """The arrays of a shard; None when it is absent, cut, damaged, or of other images: then write it."""
        for folder, kept in self._sources:
            with contextlib.suppress(*DAMAGED):
                data = self._file(index, folder).read_bytes()
                arrays = from_bytes(data)
                header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
                if header["__metadata__"]["crc32"] == _checksum(arrays) and self._fits(index, kept, arrays):
                    return {key: arrays[key] for key in (*LATENTS[self.what], *BESIDE)}
        return None

    def write(self, index: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Put a shard in place, whole or not at all. Raises D2CError when it cannot be written, or does not fit."""
        kept = {key: np.ascontiguousarray(arrays[key], TYPES[t]) for key, t in self._types(self.what).items()}
        if not self._fits(index, self.what, kept):
            shapes = {key: value.shape for key, value in kept.items()}
            raise D2CError(f"these are not the latents of shard {index} of {self.whose} ({shapes})")
        data = to_bytes(kept, {"crc32": _checksum(kept)})
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not (self.folder / "cache.json").is_file():
                count = len(self.ids)
                said = {**self.facts, "autoencoder": self.name, "what": self.what, "images": count, "of": self.whose}
                text = json.dumps(said, indent=1, ensure_ascii=False)
                put(self.folder / "cache.json", text.encode())
            put(self._file(index, self.folder), data)
        except OSError as problem:
            raise D2CError(
                f"the latents of {self.whose} cannot be kept in {self.folder} ({problem.strerror}): make room there; "
                "the same command then goes on"
            ) from None

    def fill(self, sample_ids: np.ndarray, into: Mapping[str, np.ndarray]) -> None:
        """Copy the latents of these images, in this order, into arrays [n, c, h, w] by name.

        Raises D2CError when a shard is missing or an image is not of this set.
        """
        rows = np.minimum(np.searchsorted(self.ids, sample_ids), len(self.ids) - 1)
        if np.any(self.ids[rows] != sample_ids):
            raise D2CError(f"{self.whose} has no image {sample_ids[self.ids[rows] != sample_ids][0]}")
        order = np.argsort(rows, kind="stable")
        for index, shard in enumerate(self.shards):
            first, last = np.searchsorted(rows[order], [shard.start, shard.stop])
            if first == last:
                continue
            there, places = self.read(index), order[first:last]
            if there is None:
                raise D2CError(f"shard {index} of {self.folder} is missing or damaged: start again, it is made anew")
            for key, array in into.items():
                array[places] = there[key][rows[places] - shard.start]

    def map(self, index: int) -> dict[str, np.ndarray]:
        """The arrays of a shard as memory maps, by name; their checksum is not looked at.

        Raises D2CError when it is missing, cut, or of other images.
        """
        for folder, kept in self._sources:
            if self._whole(index, folder, kept):
                return open_shard(self._file(index, folder), "start again").arrays
        raise D2CError(f"shard {index} of {self.folder} is missing or damaged: start again, it is made anew")

    def sweep(self) -> None:
        """Remove what killed processes had begun to write."""
        for file in self.folder.glob(".*.writing"):
            with contextlib.suppress(OSError):
                if time.time() - file.stat().st_mtime > ABANDONED:
                    file.unlink()

    def _types(self, what: str) -> dict[str, str]:
        return {**dict.fromkeys(LATENTS[what], "F16"), **BESIDE}

    def _shapes(self, index: int, what: str) -> dict[str, tuple[int, ...]]:
        n = len(self.shards[index])
        return {**dict.fromkeys(LATENTS[what], (n, *self.shape)), **dict.fromkeys(BESIDE, (n,))}

    def _fits(self, index: int, what: str, arrays: Mapping[str, np.ndarray]) -> bool:
        types, shard = self._types(what), self.shards[index]
        return {key: (a.shape, a.dtype) for key, a in arrays.items()} == {
            key: (shape, np.dtype(TYPES[types[key]])) for key, shape in self._shapes(index, what).items()
        } and np.array_equal(arrays["sample_ids"], self.ids[shard.start : shard.stop])

    def _whole(self, index: int, folder: Path, what: str) -> bool:
        shard, types = self.shards[index], self._types(what)
        expected = {key: (types[key], list(shape)) for key, shape in self._shapes(index, what).items()}
        try:
            with safe_open(self._file(index, folder), framework="numpy") as file:
                parts = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118 – it is no dict
                there = {key: (part.get_dtype(), part.get_shape()) for key, part in parts.items()}
                ids = self.ids[shard.start : shard.stop]
                return there == expected and np.array_equal(file.get_tensor("sample_ids"), ids)
        except DAMAGED:
            return False

    def _file(self, index: int, folder: Path) -> Path:
        return folder / f"{index:06d}.safetensors"


def encode(
    dataset: Artifact,
    autoencoder: Autoencoder,
    image_size: int,
    what: str,
    device: torch.device | str,
    precision: str,
    batch: int = 0,
    *,
    rank: int = 0,
    world: int = 1,
    workers: int = 0,
    progress: Progress | None = None,
) -> Latents:
    """Make the shards that are missing, of those whose index is `rank` modulo `world`, and give the cache.

    See `stream`; stopping loses at most one shard that was begun.
    Raises D2CError when an image cannot be read, has no finite latent, or the disk is full.
    """
    latents = Latents(dataset, autoencoder, image_size, what, precision)
    ours = range(rank, len(latents.shards), world)
    todo = [index for index in latents.missing() if index in ours]
    total, left = (sum(len(latents.shards[i]) for i in indices) for indices in (ours, todo))
    progress = progress or Progress(None, quiet=True)
    progress.stage("encode", total=total, unit="image", done=total - left)
    if todo:
        fixed = hasten(autoencoder, torch.device(device), precision, float(left) * image_size**2)
        options: dict[str, Any] = {"batch": batch, "workers": workers, "done": progress.advance, "fixed": fixed}
        with contextlib.closing(stream(latents, todo, autoencoder, device, precision, **options)) as made:
            for _ in made:
                pass
    return latents


def stream(
    latents: Latents,
    indices: Sequence[int],
    autoencoder: Autoencoder,
    device: torch.device | str,
    precision: str,
    *,
    batch: int = 0,
    workers: int = 0,
    done: Callable[[int], None] | None = None,
    busy: contextlib.AbstractContextManager[Any] = contextlib.nullcontext(),  # noqa: B008 – holds nothing
    fixed: bool = False,
) -> Generator[tuple[int, dict[str, np.ndarray]], None, None]:
    """Each of these shards with its arrays, in order: read where it is kept, else decoded, encoded and kept.

    While one shard is worked on, the images of those to come are decoded, and the one before is written. `done` is
    called with the number of images after each batch that was encoded, `busy` entered for each; `fixed` is what
    `hasten` said. Close it when not every shard is taken.
    Raises what `encode` does.
    """
    latents.sweep()
    device, absent = torch.device(device), set(latents.missing())
    side = int(latents.facts["image_size"])
    batch = batch or auto_batch(device, side)
    step = max(1, SLAB_BYTES // (3 * side**2) // batch) * batch
    pin = str(device) if device.type == "cuda" else False

    def images(these: list[int]) -> Generator[Slab, None, None]:
        slabs = (latents.ids[part.start : part.stop] for i in these for part in _cut(latents.shards[i], step))
        total = sum(len(latents.shards[i]) for i in these)
        return load(latents.images, slabs, side, 3, workers=workers, total=total, pin=pin, jpeg=True)

    def make(index: int, coming: Iterator[Slab]) -> dict[str, np.ndarray]:
        made: list[dict[str, np.ndarray]] = []
        for _ in _cut(latents.shards[index], step):
            slab = next(coming)
            assert slab.jpeg_bytes is not None
            name = partial(_name, latents.images, slab.sample_ids)
            with busy:
                found = encode_images(
                    autoencoder, slab.images, latents.what, device, precision, batch, name=name, fixed=fixed
                )
            made.append({**found, "sample_ids": slab.sample_ids, "jpeg_bytes": slab.jpeg_bytes})
            if done is not None:
                done(len(slab.images))
        return {key: np.concatenate([part[key] for part in made]) for key in made[0]}

    writing: Future[None] | None = None
    with (
        ThreadPoolExecutor(1, thread_name_prefix="write") as writer,
        contextlib.closing(images([i for i in indices if i in absent])) as coming,
    ):
        for index in indices:
            arrays = None if index in absent else latents.read(index)
            if arrays is None:
                # not among those absent: its header was whole, what follows is not
                ahead = contextlib.nullcontext(coming) if index in absent else contextlib.closing(images([index]))
                with ahead as slabs:
                    arrays = make(index, slabs)
                if writing is not None:
                    writing.result()
                writing = writer.submit(latents.write, index, arrays)
            yield index, arrays
        if writing is not None:
            writing.result()


def _name(images: Images, ids: np.ndarray, row: int) -> str:
    return images.named(int(ids[row]))


def _cut(rows: range, step: int) -> Iterator[range]:
    return (rows[start : start + step] for start in range(0, len(rows), step))


def _checksum(arrays: Mapping[str, np.ndarray]) -> str:
    return checksum([arrays[key] for key in sorted(arrays)])
