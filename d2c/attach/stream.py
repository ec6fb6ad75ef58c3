"""decode → encode → keep, shard by shard: what one process does of the vision tokens, alone or in a team."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import time
from collections import deque
from collections.abc import Generator, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from d2c.attach.compress import Basis, Moments, kept, sample_rows
from d2c.attach.grids import spatially_normalised
from d2c.attach.stored import BASIS, CLASS, CLASS_FLIPPED, FLIPPED, TOKENS, shard_file
from d2c.attach.vision import VisionEncoder
from d2c.data.loader import load, share_of_cores
from d2c.data.mapped import checksum, open_shard
from d2c.data.shards import shards
from d2c.data.store import Images
from d2c.device import compiles
from d2c.errors import D2CError
from d2c.progress import Progress
from d2c.team import Team

AUTO_BATCH = {"cuda": 256, "cpu": 32}  # images
WRITERS = 4  # shards on their way to the disk at most
#: Images times grid² times width² from which compiling (half a minute) pays on a GPU: 30,000 of ViT-B at 256 tokens.
COMPILE_FROM = 5e12
_TYPES: dict[str, tuple[str, torch.dtype]] = {
    TOKENS: ("BF16", torch.bfloat16),
    FLIPPED: ("BF16", torch.bfloat16),
    CLASS: ("BF16", torch.bfloat16),
    CLASS_FLIPPED: ("BF16", torch.bfloat16),
    "sample_ids": ("I64", torch.int64),
    "cosine": ("F32", torch.float32),
    "mean": ("F32", torch.float32),
    "components": ("F32", torch.float32),
}
Slab = tuple[np.ndarray, list[Tensor], list[Tensor]]


@dataclass(frozen=True)
class How:
    """How tokens are made of an encoder's, and in which steps. `batch` and `workers` 0 are found."""

    flip: bool = False
    components: int = 0
    normalise: str = "none"
    batch: int = 0
    workers: int = 0
    class_token: bool = False


class Stream:
    """One process's part of the vision tokens of a set whose images lie in `images`, in a folder of shards."""

    def __init__(
        self,
        images: Images,
        sample_ids: np.ndarray,
        encoder: VisionEncoder,
        how: How,
        folder: Path,
        progress: Progress,
        device: torch.device,
    ) -> None:
        self.images, self.ids, self.encoder, self.how = images, sample_ids, encoder, how
        self.folder, self.progress, self.device = folder, progress, device
        self.shards = shards(len(sample_ids))
        self.batch = even_batch(len(self.shards[0]), how.batch or AUTO_BATCH[device.type])
        self.basis: Basis | None = None
        self.width = how.components or encoder.dim
        self.done, self.seconds = 0, 0.0
        self.fixed = device.type == "cuda" and self._long() and compiles(device)
        if self.fixed:
            encoder.hasten()

    def fit(self) -> None:
        """The basis of compressed tokens, from the folder or made of a sample of the images; in a team the first."""
        if not self.how.components:
            return
        file = self.folder / BASIS
        if not self._is_basis(file):
            rows = sample_rows(len(self.ids))
            self.progress.stage("fit components", len(rows), "image")
            moments = Moments(self.encoder.dim, self.device)
            slabs = [self.ids[rows[i : i + self.batch]] for i in range(0, len(rows), self.batch)]
            with contextlib.closing(self.tokens(slabs)) as found:
                for ids, sides, _ in found:
                    for side in sides:
                        moments.add(side)
                    self.progress.advance(len(ids))
            mean, components = moments.basis(self.how.components)
            write_shard(file, {"mean": mean, "components": components})
        found_ = open_shard(file)
        mean, components = (torch.from_numpy(np.array(found_.floats(name))) for name in ("mean", "components"))
        self.basis = Basis(mean, components, self.device)

    def run(self, team: Team) -> None:
        """Make this process's shards that are not there yet."""
        ours = [i for i in range(len(self.shards)) if team.mine(i)]
        todo = [i for i in ours if not self._is_there(i)]
        total, left = (sum(len(self.shards[i]) for i in part) for part in (ours, todo))
        self.progress.stage("encode images", total, "image", done=total - left)
        if not todo:
            return
        slabs = [self.ids[start:stop] for i in todo for start, stop in self._cuts(i)]
        keeper = _Keeper(self.device)
        started, warm, first = time.monotonic(), 0.0, 0
        try:
            with contextlib.closing(self.tokens(slabs)) as coming:
                for index in todo:
                    parts: list[list[Tensor]] = []
                    heads: list[list[Tensor]] = []
                    cosines = []
                    for _ in self._cuts(index):
                        ids, sides, own = next(coming)
                        stored = [self._stored(side) for side in sides]
                        near = [kept(side, bits, self.basis) for side, bits in zip(sides, stored, strict=True)]
                        cosines.append(torch.stack(near).mean(0))
                        parts.append(stored)
                        heads.append(own)
                        self.progress.advance(len(ids))
                        self.done += len(ids)
                        if not warm:  # the first batch pays for what is set up once
                            warm, first = time.monotonic() - started, len(ids)
                    shard = self.shards[index]
                    arrays = {"sample_ids": torch.from_numpy(self.ids[shard.start : shard.stop].copy())}
                    arrays["cosine"] = torch.cat(cosines)
                    for k, name in enumerate((TOKENS, FLIPPED)[: len(parts[0])]):
                        arrays[name] = torch.cat([part[k] for part in parts])
                    for k, name in enumerate((CLASS, CLASS_FLIPPED)[: len(heads[0])]):
                        arrays[name] = torch.cat([head[k].to(torch.bfloat16) for head in heads])
                    keeper.put(shard_file(self.folder, index), arrays, self.images)
        finally:
            keeper.close()
        self.seconds = time.monotonic() - started
        if self.done > first:
            self.done, self.seconds = self.done - first, self.seconds - warm

    def tokens(self, slabs: Iterable[np.ndarray]) -> Generator[Slab, None, None]:
        """Ids; tokens [b, grid², D] of the images, then of the mirrored with flips; class tokens [b, D] likewise."""
        encoder, slabs = self.encoder, list(slabs)
        pin = str(self.device) if self.device.type == "cuda" else False
        count = sum(map(len, slabs))
        coming = load(
            self.images, slabs, encoder.image_size, encoder.channels, workers=self.how.workers, total=count, pin=pin
        )
        with contextlib.closing(coming):
            for slab in coming:
                x = torch.from_numpy(slab.images).to(self.device, non_blocking=True)
                n = len(x)
                if self.fixed and n < self.batch:  # a compiled model takes one size
                    x = torch.cat([x, x[-1:].expand(self.batch - n, -1, -1, -1)])
                views = [x, x.flip(-1)] if self.how.flip else [x]
                heads: list[Tensor] = []
                if self.how.class_token:
                    whole: Any = encoder  # timm's alone have a class token, and refuse without
                    both = [whole.both(view) for view in views]
                    sides, heads = ([pair[i][:n] for pair in both] for i in (0, 1))
                else:
                    sides = [encoder.tokens(view)[:n] for view in views]
                if self.how.normalise == "spatial":
                    sides = [spatially_normalised(side) for side in sides]
                yield slab.sample_ids.copy(), sides, heads

    def facts(self) -> dict[str, Any]:
        """How fast this process was: images a second, without the first batch where there are more."""
        return {"images_per_second": round(self.done / self.seconds, 2) if self.seconds > 0 else None}

    def _cuts(self, index: int) -> list[tuple[int, int]]:
        shard = self.shards[index]
        return [(i, min(i + self.batch, shard.stop)) for i in range(shard.start, shard.stop, self.batch)]

    def _stored(self, tokens: Tensor) -> Tensor:
        return (tokens if self.basis is None else self.basis.compress(tokens)).to(torch.bfloat16)

    def _long(self) -> bool:
        return len(self.ids) * self.encoder.grid**2 * self.encoder.dim**2 * (1 + self.how.flip) > COMPILE_FROM

    def _is_there(self, index: int) -> bool:
        """Whether a shard lies there whole and of these images; one that does not is removed."""
        file, shard = shard_file(self.folder, index), self.shards[index]
        try:
            found = open_shard(file)
            shape = (len(shard), self.encoder.grid**2, self.width)
            names, heads = {TOKENS, FLIPPED} if self.how.flip else {TOKENS}, set[str]()
            if self.how.class_token:
                heads = {CLASS, CLASS_FLIPPED} if self.how.flip else {CLASS}
            if (
                {*found.arrays} == {*names, *heads, "cosine", "sample_ids"}
                and all(found.arrays[name].shape == shape for name in names)
                and np.array_equal(found.arrays["sample_ids"], self.ids[shard.start : shard.stop])
            ):
                return True
        except D2CError:
            pass
        file.unlink(missing_ok=True)
        return False

    def _is_basis(self, file: Path) -> bool:
        try:
            return open_shard(file).arrays["components"].shape == (self.how.components, self.encoder.dim)
        except (D2CError, KeyError):
            return False


def even_batch(longest: int, most: int) -> int:
    """The batch that cuts the longest shard into pieces as even as can be, none larger than `most`."""
    return -(-longest // -(-longest // most))


class _Keeper:
    """Brings tokens from the device to the disk while the next ones are made."""

    def __init__(self, device: torch.device) -> None:
        self.writers = max(1, min(WRITERS, share_of_cores()))
        self.pool = ThreadPoolExecutor(self.writers, thread_name_prefix="keep")
        self.waiting: deque[Future[None]] = deque()
        cuda: Any = torch.cuda
        self.side: Any = cuda.Stream(device) if device.type == "cuda" else None

    def put(self, file: Path, arrays: Mapping[str, Tensor], images: Images) -> None:
        """Queue a shard; waits when enough of them are on their way. Raises what an earlier one failed with."""
        while len(self.waiting) >= self.writers:
            self.waiting.popleft().result()
        ready = torch.cuda.current_stream(self.side.device).record_event() if self.side else None
        self.waiting.append(self.pool.submit(self._keep, file, arrays, ready, images))

    def close(self) -> None:
        """Wait for all of them. Raises what the first failed with."""
        self.pool.shutdown(wait=True)
        while self.waiting:
            self.waiting.popleft().result()

    def _keep(self, file: Path, arrays: Mapping[str, Tensor], ready: Any, images: Images) -> None:
        here = dict(arrays)
        if self.side is not None:
            with torch.cuda.stream(self.side):
                self.side.wait_event(ready)
                for name, value in arrays.items():
                    if value.is_cuda:
                        here[name] = torch.empty(value.shape, dtype=value.dtype, pin_memory=True)
                        here[name].copy_(value, non_blocking=True)
                        value.record_stream(self.side)
            self.side.synchronize()
        bad = torch.nonzero(~torch.isfinite(here["cosine"]))
        if len(bad):
            which = images.named(int(here["sample_ids"][bad[0, 0]]))
            raise D2CError(f"{which} has tokens that are not numbers: try --precision fp32, or other weights")
        write_shard(file, here)


def write_shard(file: Path, arrays: Mapping[str, Tensor]) -> None:
    """A safetensors file of these tensors, whole or not at all, flushed to the disk.

    Raises D2CError when its disk is full: what was written before stays.
    """
    header: dict[str, Any] = {}
    blocks: list[np.ndarray] = []
    at = 0
    for name, value in arrays.items():
        kind, dtype = _TYPES[name]
        block = value.to(dtype).contiguous().view(torch.uint8).reshape(-1).numpy()
        header[name] = {"dtype": kind, "shape": list(value.shape), "data_offsets": [at, at + block.nbytes]}
        blocks.append(block)
        at += block.nbytes
    tokens = [block for name, block in zip(arrays, blocks, strict=True) if name in (TOKENS, FLIPPED)]
    header["__metadata__"] = {"crc32": checksum(tokens)}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as handle:
            handle.write(len(text).to_bytes(8, "little") + text)
            for block in blocks:
                handle.write(block.data)
            handle.flush()
            os.fsync(handle.fileno())
        beside.replace(file)
    except OSError as problem:
        full = problem.errno in (errno.ENOSPC, errno.EDQUOT)
        raise D2CError(
            f"{'the disk is full' if full else f'a shard cannot be written ({problem.strerror})'}: no room for "
            f"{file.name} in {file.parent}: make room there; the same command then goes on after the last whole shard"
        ) from None
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
