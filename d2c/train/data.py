"""The training set, whole and in one place: pixels or latents, labels and vision tokens, on the device if they fit.

A condensed set of 100,000 images is 42 GB as 256² latents with DINOv2-B tokens, so one GPU can hold it and no
loader stands between the data and the step. `d2c.train.streamed` has the same rows from disk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from d2c.artifacts import Artifact
from d2c.attach.grids import regrid
from d2c.attach.stored import open_vision
from d2c.data.shards import shards
from d2c.errors import D2CError
from d2c.train.rows import Rows

CPU = torch.device("cpu")
Basis = tuple[Tensor, Tensor]  # mean [D] and components [d, D] of compressed tokens, fp32


class Moments(Protocol):
    """What training needs of `d2c.data.latents.Latents`."""

    shape: tuple[int, int, int]  # c, h, w

    def fill(self, sample_ids: np.ndarray, into: Mapping[str, np.ndarray]) -> None:
        """Copy mean, std, mean_flip, std_flip of these images into arrays [M, c, h, w]."""


class Data(Protocol):
    """A training set, wherever it lies."""

    def __len__(self) -> int: ...

    @property
    def device(self) -> torch.device:
        """Where its rows come from."""

    @property
    def latent(self) -> bool:
        """Whether images are latents with their deviation, and not pixels."""

    def shape(self, count: int) -> tuple[int, int, int, int]:
        """[B, C, S, S] of a batch of `count`."""

    def rows(self, index: Tensor, flipped: Tensor) -> Rows:
        """What is stored of the images `index` [B], mirrored where `flipped` [B], on the set's device."""


@dataclass(frozen=True)
class TrainingSet:
    """M images ready for training. `mean` is uint8 pixels, or fp16 latents with their `std`.

    With flips, latents hold both encodings on a leading axis: a latent cannot be flipped itself.
    """

    mean: Tensor  # (M, C, S, S) uint8 | (1 or 2, M, C, S, S) fp16
    std: Tensor | None  # as `mean` for latents
    labels: Tensor  # (M,) int64
    tokens: Tensor | None  # (M, T, D) on the transformer's grid; (2, M, T, D) with those of the mirrored images
    heads: Tensor | None = None  # (M, D) class tokens, or (2, M, D); None: the mean of an image's tokens stands for it

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def device(self) -> torch.device:
        """Where the set lies."""
        return self.labels.device

    @property
    def latent(self) -> bool:
        """Whether images are latents."""
        return self.std is not None

    @property
    def bytes(self) -> int:
        """Size of the whole set."""
        parts = (self.mean, self.std, self.labels, self.tokens, self.heads)
        return sum(p.numel() * p.element_size() for p in parts if p is not None)

    def shape(self, count: int) -> tuple[int, int, int, int]:
        """[B, C, S, S] of a batch of `count`."""
        c, h, w = self.mean.shape[-3:]
        return count, c, h, w

    def rows(self, index: Tensor, flipped: Tensor) -> Rows:
        """What is stored of the images `index` [B], mirrored where `flipped` [B], where the set lies."""
        index, side = index.to(self.device), flipped.to(self.device).long()
        if self.std is None:
            mean, std = self.mean[index], None
        else:
            encoded = side if len(self.mean) == 2 else torch.zeros_like(index)
            mean, std = self.mean[encoded, index], self.std[encoded, index]
        tokens, heads, own = self.tokens, self.heads, self.tokens is not None and self.tokens.dim() == 4
        if tokens is not None:
            tokens = tokens[side, index] if own else tokens[index]
        if heads is not None:
            heads = heads[side, index] if heads.dim() == 3 else heads[index]
        return Rows(mean, std, self.labels[index], tokens, heads, own)

    def batch(self, index: Tensor, flipped: Tensor, posterior: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """(x [B, C, S, S] fp32, labels [B], tokens [B, T, D] | None) of the images `index`. See `Rows.inputs`."""
        return self.rows(index, flipped).inputs(flipped, posterior)


def pixel_set(pixels: np.ndarray, labels: np.ndarray, tokens: Tensor | None) -> TrainingSet:
    """A set in pixel space from uint8 [M, C, S, S]."""
    return TrainingSet(torch.from_numpy(pixels), None, torch.from_numpy(labels).long(), tokens)


def latent_set(
    latents: Moments,
    ids: np.ndarray,
    labels: np.ndarray,
    tokens: Tensor | None,
    *,
    flip: bool,
    device: torch.device = CPU,
) -> TrainingSet:
    """The latents of images `ids` [M], in that order: mean and std as fp16, of the mirrored images too when `flip`.

    On a GPU a shard's worth at a time goes through memory.
    """
    shape = (2 if flip else 1, len(ids), *latents.shape)
    mean, std = (torch.empty(shape, dtype=torch.float16, device=device) for _ in range(2))
    order = np.argsort(ids, kind="stable")
    for part in shards(len(ids)):
        places = order[part.start : part.stop]
        own, spread = (np.empty((shape[0], len(places), *latents.shape), np.float16) for _ in "ab")
        into = {"mean": own[0], "std": spread[0]}
        if flip:
            into |= {"mean_flip": own[1], "std_flip": spread[1]}
        latents.fill(ids[places], into)
        at = torch.from_numpy(places).to(device)
        mean[:, at], std[:, at] = torch.from_numpy(own).to(device), torch.from_numpy(spread).to(device)
    return TrainingSet(mean, std, torch.from_numpy(labels).long().to(device), tokens)


def stored_tokens(data: Artifact, grid: int, *, flip: bool, device: torch.device = CPU) -> Tensor | None:
    """The vision tokens of a condensed set on the transformer's grid, bf16 [M, grid², D], row i = row i of its table.

    With `flip` and tokens of the mirrored images in the set, [2, M, grid², D]. Compressed tokens are expanded. File by
    file, so that memory holds little more than the result. None where the set has none.
    Raises D2CError for what `d2c.attach.open_vision` refuses.
    """
    found = open_vision(data)
    if found is None:
        return None
    sides = 2 if flip and found.flips else 1
    tokens = torch.empty(sides, found.images, grid * grid, found.dim, dtype=torch.bfloat16, device=device)
    basis = basis_of(found.basis)
    for side in range(sides):
        for start, stored, kind in found.parts(flip=side == 1):
            part = prepared(stored, kind, basis, grid)
            if not torch.isfinite(part.sum()):  # in the type it has: a thirtieth of the time of another
                raise not_finite(data, start, start + len(part) - 1)
            tokens[side, start : start + len(part)].copy_(part)
    return tokens if sides == 2 else tokens[0]


def basis_of(stored: tuple[np.ndarray, np.ndarray] | None) -> Basis | None:
    """Mean and components as tensors."""
    return None if stored is None else (torch.from_numpy(np.array(stored[0])), torch.from_numpy(np.array(stored[1])))


def prepared(stored: np.ndarray, kind: str, basis: Basis | None, grid: int) -> Tensor:
    """Stored tokens [n, N, d] as they are trained with, bf16 [n, grid², D].

    Expanded image by image: what an image has does not depend on those beside it, down to the last bit.
    """
    stored = stored if stored.flags.writeable else np.array(stored)  # what is mapped is read here
    part = torch.from_numpy(stored.view(np.int16 if kind == "BF16" else stored.dtype))
    part = part.view(torch.bfloat16) if kind == "BF16" else part
    if basis is not None:
        part = torch.stack([one.float() @ basis[1] + basis[0] for one in part])
    return regrid(part, grid).to(torch.bfloat16)


def not_finite(data: Artifact, first: int, last: int) -> D2CError:
    """What is said of vision tokens that training cannot use."""
    return D2CError(
        f"{data.kind}/{data.name} has vision tokens that are not finite (images {first} to {last} of its table): "
        "attach again with --force"
    )


def stored_heads(data: Artifact, *, flip: bool) -> Tensor | None:
    """The class tokens of a condensed set, bf16 [M, D], or [2, M, D] with those of the mirrored images; None without.

    A mirrored image's own are not to be had from its tokens: without them the image's stand for both.
    """
    found = open_vision(data)
    if found is None or not found.class_tokens:
        return None
    sides = [found.read_class(flip=side) for side in ((False, True) if flip and found.flips else (False,))]
    heads = torch.from_numpy(np.stack(sides)).to(torch.bfloat16)
    return heads if len(sides) == 2 else heads[0]


def check_labels(labels: Sequence[int] | np.ndarray, classes: int, where: str) -> None:
    """Raise D2CError unless every label names one of `classes` classes."""
    found = np.asarray(labels)
    if len(found) == 0:
        raise D2CError(f"{where} holds no image: nothing to train on")
    if found.min() < 0 or found.max() >= classes:
        raise D2CError(f"{where} has labels {found.min()}…{found.max()} for {classes} classes: make it again")


def loudness(data: Data, *, count: int = 2048, part: int = 64) -> float:
    """What the class tokens of the first `count` images are to be multiplied by to have RMS 1.

    Encoders differ by orders of magnitude, and the noise that is mixed with a class token has RMS 1. The same number
    for every process and batch, wherever the set lies.
    """
    means = []
    for start in range(0, min(count, len(data)), part):
        index = torch.arange(start, min(start + part, count, len(data)))
        rows = data.rows(index, torch.zeros(len(index), dtype=torch.bool))
        if rows.heads is not None:
            means.append(rows.heads.cpu().float())
        elif rows.tokens is not None:
            means.append(rows.tokens.cpu().float().mean(1))
        else:
            return 1.0
    return 1.0 / max(float(torch.cat(means).square().mean().sqrt()), 1e-12)
