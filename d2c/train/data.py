"""The training set, whole and in memory: pixels or latents, labels and vision tokens, on the device if they fit.

A condensed set of 100,000 images is 26 GB as 256² latents with DINOv2-B tokens, so one GPU holds it and no
loader stands between the data and the step. What does not fit stays in host memory and is sent batch by batch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from d2c.artifacts import Artifact
from d2c.attach.grids import regrid
from d2c.attach.stored import open_vision
from d2c.errors import D2CError


class Moments(Protocol):
    """What training needs of `d2c.data.latents.Latents`."""

    shape: tuple[int, int, int]  # c, h, w

    def fill(self, sample_ids: np.ndarray, into: Mapping[str, np.ndarray]) -> None:
        """Copy mean, std, mean_flip, std_flip of these images into arrays [M, c, h, w]."""


@dataclass(frozen=True)
class TrainingSet:
    """M images ready for training. `mean` is uint8 pixels, or fp16 latents with their `std`.

    With flips, latents hold both encodings on a leading axis: a latent cannot be flipped itself.
    """

    mean: Tensor  # (M, C, S, S) uint8 | (1 or 2, M, C, S, S) fp16
    std: Tensor | None  # as `mean` for latents
    labels: Tensor  # (M,) int64
    tokens: Tensor | None  # (M, T, D) on the transformer's grid; (2, M, T, D) with those of the mirrored images
    device: torch.device  # where batches go, wherever the set lies
    heads: Tensor | None = None  # (M, D) class tokens, or (2, M, D); None: the mean of an image's tokens stands for it

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def bytes(self) -> int:
        """Size of the whole set."""
        parts = (self.mean, self.std, self.labels, self.tokens, self.heads)
        return sum(p.numel() * p.element_size() for p in parts if p is not None)

    def shape(self, count: int) -> tuple[int, int, int, int]:
        """[B, C, S, S] of a batch of `count`."""
        c, h, w = self.mean.shape[-3:]
        return count, c, h, w

    def batch(self, index: Tensor, flipped: Tensor, posterior: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """(x [B, C, S, S] fp32, labels [B], tokens [B, T, D] | None) of the images `index`, on the device.

        `flipped` [B] bool mirrors left and right; `posterior` is the noise that a latent is sampled with.
        """
        where = self.labels.device
        index, side = index.to(where), flipped.to(where)
        if self.std is None:
            pixels = self.mean[index].to(self.device, non_blocking=True)
            x = pixels.float() / 127.5 - 1.0
            x = torch.where(flipped[:, None, None, None], x.flip(-1), x)
        else:
            side = side.long() if len(self.mean) == 2 else torch.zeros_like(index)
            x = self.mean[side, index].to(self.device, non_blocking=True).float()
            if posterior is not None:
                x = x + self.std[side, index].to(self.device, non_blocking=True).float() * posterior
        y = self.labels[index].to(self.device, non_blocking=True)
        if self.tokens is None:
            return x, y, None
        if self.tokens.dim() == 4:  # the mirrored image's own, for a latent or picture that was mirrored
            own = flipped.to(where).long()
            return x, y, self.tokens[own, index].to(self.device, non_blocking=True)
        z = self.tokens[index].to(self.device, non_blocking=True)
        return x, y, torch.where(flipped[:, None, None], mirror(z), z)

    def feature(self, index: Tensor, flipped: Tensor, tokens: Tensor) -> Tensor:
        """What stands for whole images: class tokens [B, D] fp32 of those that `tokens` [B, T, D] are of."""
        if self.heads is None:
            return tokens.float().mean(1)
        index = index.to(self.heads.device)
        heads = self.heads[flipped.to(index.device).long(), index] if self.heads.dim() == 3 else self.heads[index]
        return heads.to(self.device, non_blocking=True).float()

    def placed(self, device: torch.device) -> TrainingSet:
        """The same set on the device when it takes at most half of the free memory there, else as it is."""
        if device.type == "cuda" and self.bytes <= torch.cuda.mem_get_info(device)[0] // 2:
            std, tokens, heads = (
                None if part is None else part.to(device) for part in (self.std, self.tokens, self.heads)
            )
            return TrainingSet(self.mean.to(device), std, self.labels.to(device), tokens, device, heads)
        return dataclasses.replace(self, device=device)


def pixel_set(pixels: np.ndarray, labels: np.ndarray, tokens: Tensor | None) -> TrainingSet:
    """A set in pixel space from uint8 [M, C, S, S]."""
    cpu = torch.device("cpu")
    return TrainingSet(torch.from_numpy(pixels), None, torch.from_numpy(labels).long(), tokens, cpu)


def latent_set(
    latents: Moments, ids: np.ndarray, labels: np.ndarray, tokens: Tensor | None, *, flip: bool
) -> TrainingSet:
    """The latents of images `ids` [M], in that order: mean and std as fp16, of the mirrored images too when `flip`."""
    shape = (2 if flip else 1, len(ids), *latents.shape)
    mean, std = np.empty(shape, np.float16), np.empty(shape, np.float16)
    into = {"mean": mean[0], "std": std[0]}
    if flip:
        into |= {"mean_flip": mean[1], "std_flip": std[1]}
    latents.fill(ids, into)
    of = torch.from_numpy
    return TrainingSet(of(mean), of(std), of(labels).long(), tokens, torch.device("cpu"))


def on_grid(tokens: np.ndarray, grid: int, *, chunk: int = 512) -> Tensor:
    """Vision tokens [M, N, D] resampled from their own square grid to `grid`², fp16 [M, grid², D].

    Shrinking takes area means and enlarging is bilinear. Raises D2CError when N is no square.
    """
    m, n, d = tokens.shape
    side = round(n**0.5)
    if side * side != n:
        raise D2CError(f"vision tokens [{m}, {n}, {d}]: {n} is not a square grid; attach them again")
    if side == grid:
        return torch.from_numpy(tokens).half()
    resampled = torch.empty(m, grid * grid, d, dtype=torch.float16)
    for start in range(0, m, chunk):
        part = torch.from_numpy(tokens[start : start + chunk]).float().view(-1, side, side, d).permute(0, 3, 1, 2)
        if grid < side:
            part = F.adaptive_avg_pool2d(part, grid)
        else:
            part = F.interpolate(part, size=(grid, grid), mode="bilinear", align_corners=False)
        resampled[start : start + chunk] = part.permute(0, 2, 3, 1).reshape(-1, grid * grid, d).half()
    return resampled


def stored_tokens(data: Artifact, grid: int, *, flip: bool) -> Tensor | None:
    """The vision tokens of a condensed set on the transformer's grid, bf16 [M, grid², D], row i = row i of its table.

    With `flip` and tokens of the mirrored images in the set, [2, M, grid², D]. Compressed tokens are expanded. File by
    file, so that memory holds little more than the result. None where the set has none.
    Raises D2CError for what `d2c.attach.open_vision` refuses.
    """
    found = open_vision(data)
    if found is None:
        return None
    sides = 2 if flip and found.flips else 1
    tokens = torch.empty(sides, found.images, grid * grid, found.dim, dtype=torch.bfloat16)
    basis = None if found.basis is None else [torch.from_numpy(np.array(part)) for part in found.basis]
    for side in range(sides):
        for start, stored, kind in found.parts(flip=side == 1):
            part = torch.from_numpy(np.array(stored).view(np.int16 if kind == "BF16" else stored.dtype))
            part = part.view(torch.bfloat16) if kind == "BF16" else part
            if basis is not None:
                part = part.float() @ basis[1] + basis[0]
            placed = tokens[side, start : start + len(part)]
            placed.copy_(regrid(part, grid))
            if not torch.isfinite(placed.sum(dtype=torch.float32)):
                raise D2CError(
                    f"{data.kind}/{data.name} has vision tokens that are not finite (images {start} to "
                    f"{start + len(part) - 1} of its table): attach again with --force"
                )
    return tokens if sides == 2 else tokens[0]


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


def mirror(tokens: Tensor) -> Tensor:
    """Tokens [B, T, D] of a square grid with left and right exchanged.

    Stands for the tokens of the mirrored image, which are not stored: exact for an encoder that
    commutes with mirroring, close for the usual ones.
    """
    b, t, d = tokens.shape
    side = round(t**0.5)
    return tokens.view(b, side, side, d).flip(2).view(b, t, d)


def check_labels(labels: Sequence[int] | np.ndarray, classes: int, where: str) -> None:
    """Raise D2CError unless every label names one of `classes` classes."""
    found = np.asarray(labels)
    if len(found) == 0:
        raise D2CError(f"{where} holds no image: nothing to train on")
    if found.min() < 0 or found.max() >= classes:
        raise D2CError(f"{where} has labels {found.min()}…{found.max()} for {classes} classes: make it again")


def loudness(data: TrainingSet, *, count: int = 2048) -> float:
    """What the class tokens of the first `count` images are to be multiplied by to have RMS 1.

    Encoders differ by orders of magnitude, and the noise that is mixed with a class token has RMS 1. The same number
    for every process, device and batch.
    """
    if data.heads is not None:
        means = (data.heads[0] if data.heads.dim() == 3 else data.heads)[:count].cpu().float()
    elif data.tokens is not None:
        kept = (data.tokens[0] if data.tokens.dim() == 4 else data.tokens)[:count].cpu()
        means = torch.cat([kept[i : i + 64].float().mean(1) for i in range(0, len(kept), 64)])
    else:
        return 1.0
    return 1.0 / max(float(means.square().mean().sqrt()), 1e-12)
