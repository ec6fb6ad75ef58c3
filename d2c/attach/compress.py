"""Fewer channels a token: a PCA basis of the set's own tokens, and how much of them it keeps."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from d2c.errors import D2CError

SAMPLE = 256  # images whose tokens the basis is made of


def sample_rows(images: int) -> np.ndarray:
    """Rows spread evenly over the set, at most `SAMPLE` of them, int64 ascending."""
    return np.unique(np.linspace(0, images - 1, min(images, SAMPLE)).round().astype(np.int64))


class Moments:
    """Mean and covariance of tokens [n, D], batch by batch, in float64."""

    def __init__(self, dim: int, device: torch.device) -> None:
        where = torch.device("cpu") if device.type == "mps" else device
        self.count = 0
        self.total = torch.zeros(dim, dtype=torch.float64, device=where)
        self.products = torch.zeros(dim, dim, dtype=torch.float64, device=where)

    def add(self, tokens: Tensor) -> None:
        """Take in tokens [..., D]."""
        x = tokens.reshape(-1, tokens.shape[-1]).double()
        self.count += len(x)
        self.total += x.sum(0)
        self.products += x.T @ x

    def basis(self, components: int) -> tuple[Tensor, Tensor]:
        """Mean [D] and the first principal directions [d, D], float32; each points to where its largest entry is
        positive, so that the same tokens give the same basis.

        Raises D2CError when the tokens span fewer.
        """
        dim = len(self.total)
        if components > min(dim, max(self.count - 1, 0)):
            raise D2CError(
                f"{components} components of {self.count:,} tokens {dim} wide cannot be had: lower --components"
            )
        mean = self.total / self.count
        covariance = self.products / self.count - torch.outer(mean, mean)
        _, vectors = torch.linalg.eigh(covariance.cpu())
        chosen = vectors.flip(1)[:, :components].T
        strongest = chosen.gather(1, chosen.abs().argmax(1, keepdim=True))
        return mean.float().cpu(), (chosen * strongest.sign()).float().contiguous()


class Basis:
    """Tokens into components and back, on a device."""

    def __init__(self, mean: Tensor, components: Tensor, device: torch.device) -> None:
        self.mean, self.components = mean.to(device), components.to(device)

    def compress(self, tokens: Tensor) -> Tensor:
        """[..., D] → [..., d] float32."""
        return (tokens.float() - self.mean) @ self.components.T

    def expand(self, stored: Tensor) -> Tensor:
        """[..., d] → [..., D] float32."""
        return stored.float() @ self.components + self.mean


def kept(tokens: Tensor, stored: Tensor, basis: Basis | None) -> Tensor:
    """Mean cosine [B] between an image's tokens [B, N, D] and what its stored ones [B, N, d] stand for, float32."""
    back = basis.expand(stored) if basis is not None else stored.float()
    return F.cosine_similarity(tokens.float(), back, dim=-1, eps=1e-8).mean(1)
