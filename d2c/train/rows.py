"""A batch as it is stored: what a training set gives of the images that a step draws."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rows:
    """What is stored of B images, each of the side that was drawn where both sides are stored."""

    mean: Tensor  # (B, C, S, S) uint8 pixels | fp16 latents
    std: Tensor | None  # as `mean` for latents
    labels: Tensor  # (B,) int64
    tokens: Tensor | None  # (B, T, D) on the transformer's grid
    heads: Tensor | None = None  # (B, D) class tokens; None: the mean of an image's tokens stands for it
    own: bool = False  # whether the tokens of a mirrored image are its own

    def tensors(self) -> tuple[Tensor, ...]:
        """All that there is."""
        return tuple(part for part in (self.mean, self.std, self.labels, self.tokens, self.heads) if part is not None)

    def part(self, some: slice) -> Rows:
        """Some images of the batch."""
        return self._each(lambda tensor: tensor[some])

    def sent(self, device: torch.device) -> Rows:
        """The same on a device; to a GPU by way of memory that it reads by itself, so that nobody waits."""
        if device.type != "cuda":
            return self
        return self._each(lambda tensor: _pinned(tensor).to(device, non_blocking=True))

    def inputs(self, flipped: Tensor, posterior: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """(x [B, C, S, S] fp32, labels [B], tokens [B, T, D] | None) to train on.

        `flipped` [B] bool mirrors left and right; `posterior` is the noise that a latent is sampled with.
        """
        x = self.mean.float()
        if self.std is None:
            x = x / 127.5 - 1.0
            x = torch.where(flipped[:, None, None, None], x.flip(-1), x)
        elif posterior is not None:
            x = x + self.std.float() * posterior
        z = self.tokens
        if z is not None and not self.own:
            z = torch.where(flipped[:, None, None], mirror(z), z)
        return x, self.labels, z

    def feature(self, tokens: Tensor) -> Tensor:
        """What stands for whole images: class tokens [B, D] fp32 of those that `tokens` [B, T, D] are of."""
        return tokens.float().mean(1) if self.heads is None else self.heads.float()

    def _each(self, change: object) -> Rows:
        assert callable(change)
        names = ("mean", "std", "labels", "tokens", "heads")
        new = {name: change(part) for name in names if (part := getattr(self, name)) is not None}
        return dataclasses.replace(self, **new)


def mirror(tokens: Tensor) -> Tensor:
    """Tokens [B, T, D] of a square grid with left and right exchanged.

    Stands for the tokens of the mirrored image, which are not stored: exact for an encoder that
    commutes with mirroring, close for the usual ones.
    """
    b, t, d = tokens.shape
    side = round(t**0.5)
    return tokens.view(b, side, side, d).flip(2).view(b, t, d)


def _pinned(tensor: Tensor) -> Tensor:
    return tensor if tensor.is_cuda or tensor.is_pinned() else tensor.pin_memory()
