"""A training set that stays on disk: rows read from memory-mapped shards when a step wants them.

Latents come from the cache beside the set, vision tokens from the set's own shards, pixels from shards that are made
once. What is mapped is the system's to take back; of the set itself this holds labels, and of a batch its rows.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from d2c.artifacts import Artifact
from d2c.attach.stored import CLASS, CLASS_FLIPPED, FLIPPED, TOKENS, VisionTokens, open_vision
from d2c.data.latents import Latents
from d2c.data.mapped import open_shard, room_for, widened
from d2c.train.data import CPU, basis_of, not_finite, prepared
from d2c.train.rows import Rows

READERS = 8  # threads that read a batch's rows: a disk serves several at once faster than one after the other


@dataclass(frozen=True)
class Column:
    """One array [M, …] over the files that hold it."""

    parts: Sequence[np.ndarray]
    kind: str = ""  # as safetensors calls its type, where NumPy has none

    @functools.cached_property
    def starts(self) -> np.ndarray:
        """First row of each file."""
        return np.cumsum([0, *map(len, self.parts)])[:-1]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one row."""
        return tuple(self.parts[0].shape[1:])

    def row(self, number: int) -> np.ndarray:
        """One row, still on disk."""
        part = int(np.searchsorted(self.starts, number, side="right")) - 1
        found: np.ndarray = self.parts[part][number - self.starts[part]]
        return found


@dataclass(frozen=True)
class Vision:
    """The vision tokens of a set, of one side or of both, and what makes of them what is trained with."""

    data: Artifact
    found: VisionTokens
    tokens: tuple[Column, ...]
    heads: tuple[Column, ...]
    grid: int

    @functools.cached_property
    def basis(self) -> tuple[Tensor, Tensor] | None:
        """Of compressed tokens."""
        return basis_of(self.found.basis)


class StreamedSet:
    """M images on disk, as `d2c.train.data.TrainingSet` has them in memory, to the bit.

    `images` and `spread` hold one column, or two where the mirrored images were encoded too; row i of the set is row
    `order[i]` of those.
    """

    device = CPU

    def __init__(
        self,
        images: Sequence[Column],
        spread: Sequence[Column],
        labels: np.ndarray,
        order: np.ndarray,
        vision: Vision | None,
    ) -> None:
        self.images, self.spread, self.order, self.vision = images, spread, order, vision
        self.labels = torch.from_numpy(labels).long()
        self._pool = ThreadPoolExecutor(READERS, thread_name_prefix="read")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def latent(self) -> bool:
        """Whether images are latents."""
        return bool(self.spread)

    def shape(self, count: int) -> tuple[int, int, int, int]:
        """[B, C, S, S] of a batch of `count`."""
        c, h, w = self.images[0].shape
        return count, c, h, w

    def rows(self, index: Tensor, flipped: Tensor) -> Rows:
        """What is stored of the images `index` [B], mirrored where `flipped` [B], in memory.

        Raises D2CError when vision tokens are not finite.
        """
        at, side = index.cpu().numpy(), flipped.cpu().numpy().astype(np.int64)
        encoded = self.order[at]
        mean = torch.from_numpy(self._read(self.images, encoded, side))
        std = torch.from_numpy(self._read(self.spread, encoded, side)) if self.spread else None
        tokens, heads, vision = None, None, self.vision
        if vision is not None:
            stored = self._read(vision.tokens, at, side)
            tokens = prepared(stored, vision.tokens[0].kind, vision.basis, vision.grid)
            if not torch.isfinite(tokens.sum()):
                bad = int(at[int((~torch.isfinite(tokens.float().sum((1, 2)))).nonzero()[0])])
                raise not_finite(vision.data, bad, bad)
            if vision.heads:
                heads = torch.from_numpy(widened(self._read(vision.heads, at, side), vision.heads[0].kind))
                heads = heads.to(torch.bfloat16)
        return Rows(mean, std, self.labels[index.cpu()], tokens, heads, vision is not None and len(vision.tokens) == 2)

    def _read(self, columns: Sequence[Column], rows: np.ndarray, side: np.ndarray) -> np.ndarray:
        """Rows [B, …] of the column of each one's side, copied by several threads."""
        into = np.empty((len(rows), *columns[0].shape), columns[0].parts[0].dtype)
        whose = side if len(columns) == 2 else np.zeros_like(side)

        def copy(some: np.ndarray) -> None:
            for i in some:
                into[i] = columns[whose[i]].row(int(rows[i]))

        list(self._pool.map(copy, np.array_split(np.arange(len(rows)), READERS)))
        return into


def mapped_latents(latents: Latents, ids: np.ndarray, *, flip: bool) -> tuple[list[Column], list[Column], np.ndarray]:
    """Columns of means and deviations, with those of the mirrored images when `flip`, and the cache's row of each id.

    Raises D2CError when a shard is missing, cut, or of other images.
    """
    room_for(2 * len(latents.shards))
    shards = [latents.map(number) for number in range(len(latents.shards))]
    sides = ("", "_flip") if flip else ("",)
    mean, std = ([Column([shard[key + side] for shard in shards]) for side in sides] for key in ("mean", "std"))
    return mean, std, np.searchsorted(latents.ids, ids)


def mapped_vision(data: Artifact, grid: int, *, flip: bool, heads: bool) -> Vision | None:
    """The vision tokens of a condensed set where they lie, with the class tokens when `heads`; None without any.

    Raises D2CError for what `d2c.attach.open_vision` refuses.
    """
    found = open_vision(data)
    if found is None:
        return None
    room_for(2 * len(found.files))  # latents or pixels beside them
    opened = [open_shard(file) for file in found.files]
    both = flip and found.flips

    def column(name: str) -> Column:
        return Column([shard.arrays[name] for shard in opened], opened[0].types[name])

    tokens = (column(TOKENS), *([column(FLIPPED)] if both else []))
    own = (column(CLASS), *([column(CLASS_FLIPPED)] if both else [])) if heads and found.class_tokens else ()
    return Vision(data, found, tokens, own, grid)
