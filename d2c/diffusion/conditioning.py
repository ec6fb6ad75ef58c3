"""What the transformer is conditioned on: the time, the class, and the class's text (DC-Embedding)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from d2c.errors import D2CError


class TimestepEmbedder(nn.Module):
    """Sinusoids of t, then a two-layer MLP. All in fp32: bf16 cannot tell t = 997 from 999."""

    def __init__(self, width: int, frequencies: int = 256) -> None:
        super().__init__()
        self.frequencies = frequencies
        self.mlp = nn.Sequential(nn.Linear(frequencies, width), nn.SiLU(), nn.Linear(width, width))

    def reset(self) -> None:
        """Initialise as in DiT."""
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=0.02)

    def forward(self, t: Tensor) -> Tensor:
        """(N,) → (N, D)."""
        with torch.autocast(t.device.type, enabled=False):
            at = sinusoids(t, self.frequencies)
            embedded: Tensor = self.mlp(at.to(next(self.mlp.parameters()).dtype))
            return embedded  # (N, D)


def sinusoids(t: Tensor, count: int, max_period: float = 10_000.0) -> Tensor:
    """[cos | sin] of t at count/2 frequencies from 1 down to 1/max_period: (N,) → (N, count), fp32; of fp64, fp64."""
    t = t if t.dtype == torch.float64 else t.float()
    angles = t[:, None] * frequencies(count, max_period, device=t.device)  # (N, F/2)
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def frequencies(count: int, max_period: float = 10_000.0, device: torch.device | str | None = None) -> Tensor:
    """[count/2] the frequencies of `sinusoids`, fp32."""
    half = count // 2
    return torch.exp(-math.log(max_period) * (torch.arange(half, dtype=torch.float32, device=device) / half))


class LabelEmbedder(nn.Module):
    """A learnt vector per class, and one more (index `num_classes`) that stands for no class.

    Labels are never dropped here, whatever the mode: the training step puts the null index in their place.
    """

    def __init__(self, num_classes: int, width: int) -> None:
        super().__init__()
        self.embedding_table = nn.Embedding(num_classes + 1, width)

    def reset(self) -> None:
        """Initialise as in DiT."""
        nn.init.normal_(self.embedding_table.weight, std=0.02)

    def forward(self, y: Tensor) -> Tensor:
        """(N,) → (N, D)."""
        embedded: Tensor = self.embedding_table(y)
        return embedded


class DCEmbedder(nn.Module):
    """The dual conditional embedding of D2C (eq. 9): y = MLP(t̃) + t̃ + e_c, with t̃ = pool(Conv1d(t_c · mask)).

    Without `class_vector` e_c is left out: the text alone.

    The paper leaves open, and here is: a convolution of width 3 along the tokens to the model's width D;
    pooling by the mean over the tokens that the mask keeps; an MLP D → D → D with SiLU; and for the null
    class, whose text is dropped with it, a learnt vector in place of t̃. The class texts are buffers of the
    checkpoint, so that a model samples without its condensed set. `set_text` scales them to RMS 1, because
    encoders differ by orders of magnitude, and the convolution starts so that t̃ is about as large as the
    time's embedding (0.1): the class and the time are heard from the first step.
    """

    text_tokens: Tensor
    text_mask: Tensor

    def __init__(
        self, num_classes: int, width: int, text_length: int, text_dim: int, class_vector: bool = True
    ) -> None:
        super().__init__()
        self.embedding_table = nn.Embedding(num_classes + 1, width) if class_vector else None
        self.num_classes = num_classes
        self.text_conv = nn.Conv1d(text_dim, width, kernel_size=3, padding=1)
        self.text_mlp = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.text_null = nn.Parameter(torch.empty(width))
        self.register_buffer("text_tokens", torch.zeros(num_classes, text_length, text_dim, dtype=torch.float16))
        self.register_buffer("text_mask", torch.ones(num_classes, text_length, dtype=torch.bool))

    def reset(self) -> None:
        """Initialise: t̃ of unit-RMS tokens with a standard deviation near 0.1."""
        if self.embedding_table is not None:
            nn.init.normal_(self.embedding_table.weight, std=0.02)
        nn.init.normal_(self.text_conv.weight, std=0.1 / math.sqrt(3 * self.text_conv.in_channels))
        if self.text_conv.bias is not None:
            nn.init.zeros_(self.text_conv.bias)
        nn.init.normal_(self.text_null, std=0.02)

    def set_text(self, tokens: Tensor, mask: Tensor) -> None:
        """Take the text of every class: tokens (C, L, d_text) of any scale, mask (C, L) true where a token is.

        Raises D2CError when the shapes are not this model's, or a class has no token.
        """
        if tokens.shape != self.text_tokens.shape or mask.shape != self.text_mask.shape:
            want = tuple(self.text_tokens.shape)
            raise D2CError(f"text tokens are {tuple(tokens.shape)}, mask {tuple(mask.shape)}; the model takes {want}")
        mask = mask.bool()
        if not bool(mask.any(1).all()):
            raise D2CError("a class without a single text token: encode its name again")
        kept = tokens.float() * mask[..., None]
        rms = (kept.square().sum() / (mask.sum() * tokens.shape[-1])).sqrt().clamp_min(1e-12)
        self.text_tokens.copy_(kept / rms)
        self.text_mask.copy_(mask)

    def forward(self, y: Tensor) -> Tensor:
        """(N,) → (N, D)."""
        null = (y == self.num_classes)[:, None]  # (N, 1)
        known = y.clamp_max(self.num_classes - 1)
        mask = self.text_mask[known][..., None]  # (N, L, 1)
        tokens = self.text_tokens[known].to(self.text_conv.weight.dtype) * mask  # (N, L, d_text)
        mixed = self.text_conv(tokens.transpose(1, 2)).transpose(1, 2)  # (N, L, D)
        mixed = mixed.to(torch.promote_types(mixed.dtype, torch.float32))
        pooled = (mixed * mask).sum(1) / mask.sum(1)  # (N, D)
        text = torch.where(null, self.text_null.to(pooled.dtype), pooled)
        embedded: Tensor = self.text_mlp(text) + text
        return embedded if self.embedding_table is None else embedded + self.embedding_table(y)
