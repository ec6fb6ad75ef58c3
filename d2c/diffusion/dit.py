"""DiT: a transformer on patches, conditioned through adaptive layer norms (2212.09748).

Reads top to bottom: the model, its block, its last layer, positions. The parameter names and shapes are
those of the released DiT, SiT and REPA checkpoints, which load unchanged. SiT is this network on another
path (see `sit` and `paths`).

Sizes: N images, C channels, T tokens of width D, patches of p × p.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2c.diffusion.conditioning import DCEmbedder, LabelEmbedder, TimestepEmbedder
from d2c.diffusion.config import ModelConfig
from d2c.diffusion.paths import PATHS, Path
from d2c.diffusion.projector import projector
from d2c.errors import D2CError


class DiT(nn.Module):
    """The network. `path` says what its input's clock and its output mean."""

    pos_embed: Tensor
    projectors: nn.ModuleList

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.path: Path = PATHS[config.path]
        width = config.width
        self.x_embedder = PatchEmbed(config.patch, config.channels, width)
        self.t_embedder = TimestepEmbedder(width)
        self.y_embedder = (
            DCEmbedder(config.num_classes, width, config.text_length, config.text_dim, config.class_vector)
            if config.text_dim
            else LabelEmbedder(config.num_classes, width)
        )
        positions = sincos_2d(width, config.grid)
        if config.feature_dim:  # REG: the class token goes first, and has no place
            positions = torch.cat([torch.zeros(1, width), positions])
            self.cls_projectors2 = nn.Linear(config.feature_dim, width)
            self.wg_norm = nn.LayerNorm(width, eps=1e-6)
        self.register_buffer("pos_embed", positions[None])  # (1, T, D), fixed
        self.blocks = nn.ModuleList(Block(width, config.heads, config.qk_norm) for _ in range(config.depth))
        self.final_layer = FinalLayer(width, config.patch, config.out_channels, config.feature_dim)
        if config.align_dim:
            self.projectors = nn.ModuleList([projector(width, config.align_dim, config.projector)])
        self.reset()

    def reset(self) -> None:
        """Initialise as DiT does."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        patches = self.x_embedder.proj
        nn.init.xavier_uniform_(patches.weight.view(patches.weight.shape[0], -1))  # as the linear map it is
        if patches.bias is not None:
            nn.init.zeros_(patches.bias)
        self.y_embedder.reset()
        self.t_embedder.reset()
        # Zero gates make every block the identity at first; a zero last layer makes the first output zero.
        for part in (*self.blocks, self.final_layer):
            nn.init.zeros_(part.adaLN_modulation[1].weight)
        nn.init.zeros_(self.final_layer.linear.weight)
        if self.config.feature_dim:
            nn.init.zeros_(self.final_layer.linear_cls.weight)

    def forward(self, x: Tensor, t: Tensor, y: Tensor, *, tap: int | None = None) -> Tensor | tuple[Tensor, Tensor]:
        """The raw output (N, C_out, H, W); with `tap`, also the tokens (N, T, D) after that many blocks.

        x (N, C, H, W); t (N,), or (1,) for one time shared by all; y (N,) int64, `num_classes` for no class.
        A model with a class token (REG, 2507.01467) takes and gives the joint state of `join`, and has T + 1 tokens.
        """
        h = self._tokens(x) + self.pos_embed  # (N, T, D)
        c = self.t_embedder(t) + self.y_embedder(y)  # (N, D)
        tokens = h
        for done, block in enumerate(self.blocks, start=1):
            h = block(h, c)  # (N, T, D)
            if done == tap:
                tokens = h
        if self.config.feature_dim:
            last = self.final_layer.modulated(h, c)
            image = self.unpatchify(self.final_layer.linear(last[:, 1:]))
            out = self.join(image, self.final_layer.linear_cls(last[:, 0]))
        else:
            out = self.unpatchify(self.final_layer(h, c))  # (N, C_out, H, W)
        return out if tap is None else (out, tokens)

    def prediction(self, out: Tensor) -> Tensor:
        """The part of the raw output that the path's prediction is: its first C channels, (N, C, H, W).

        With a class token all of it, in the form of `join`.
        """
        return out if self.config.feature_dim else out[:, : self.config.channels]

    def join(self, images: Tensor, feature: Tensor) -> Tensor:
        """(N, C, S, S) and class tokens (N, Z) as one state (N, C·S·S + Z), which paths and samplers carry as it is."""
        return torch.cat([images.flatten(1), feature.to(images.dtype)], dim=1)

    def split(self, state: Tensor) -> tuple[Tensor, Tensor | None]:
        """What `join` made one of; see the function `split`."""
        return split(self.config, state)

    def _tokens(self, x: Tensor) -> Tensor:
        """Tokens (N, T, D) of an image, before their positions; of a joint state the class token first."""
        image, feature = self.split(x)
        tokens: Tensor = self.x_embedder(image)
        if feature is None:
            return tokens
        return torch.cat([self.wg_norm(self.cls_projectors2(feature))[:, None].to(tokens.dtype), tokens], dim=1)

    def project(self, tokens: Tensor) -> Tensor:
        """Tokens at the tap (N, T, D) → the vision encoder's width (N, T, align_dim)."""
        projected: Tensor = self.projectors[0](tokens)
        return projected

    def set_text(self, tokens: Tensor, mask: Tensor) -> None:
        """Take the text of every class, tokens (C, L, d_text) and mask (C, L). See `DCEmbedder.set_text`."""
        if not isinstance(self.y_embedder, DCEmbedder):
            raise D2CError(f"this {self.config.name} takes no text: build it with text_dim and text_length")
        self.y_embedder.set_text(tokens, mask)

    def unpatchify(self, tokens: Tensor) -> Tensor:
        """(N, T, p·p·C) → (N, C, H, W); within a token the channel runs fastest."""
        n, grid, p = tokens.shape[0], self.config.grid, self.config.patch
        patches = tokens.reshape(n, grid, grid, p, p, -1)  # (N, h, w, p, q, C)
        return patches.permute(0, 5, 1, 3, 2, 4).reshape(n, -1, grid * p, grid * p)


def split(config: ModelConfig, state: Tensor) -> tuple[Tensor, Tensor | None]:
    """Images (N, C, S, S) and class tokens (N, Z) of joint states; (state, None) for a model without class tokens.

    Raises D2CError for a state that is not the model's.
    """
    if not config.feature_dim:
        return state, None
    if tuple(state.shape[1:]) != config.state_shape:
        raise D2CError(
            f"this {config.name} was trained with a class token (REG): it takes states {config.state_shape} of an "
            "image, and can be sampled from, but neither score nor be a vision encoder"
        )
    image, feature = state[:, : -config.feature_dim], state[:, -config.feature_dim :]
    return image.reshape(-1, config.channels, config.image_size, config.image_size), feature


class PatchEmbed(nn.Module):
    """One token for each patch, row by row."""

    def __init__(self, patch: int, channels: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, kernel_size=patch, stride=patch)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, T, D)."""
        embedded: Tensor = self.proj(x).flatten(2).transpose(1, 2)
        return embedded


class Block(nn.Module):
    """Attention and MLP, each shifted, scaled and gated by the conditioning (adaLN-Zero)."""

    def __init__(self, width: int, heads: int, qk_norm: bool = False) -> None:
        super().__init__()
        self.norm1 = _norm(width)
        self.attn = Attention(width, heads, qk_norm)
        self.norm2 = _norm(width)
        self.mlp = MLP(width)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def forward(self, h: Tensor, c: Tensor) -> Tensor:
        """(N, T, D) under c (N, D) → (N, T, D)."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.adaLN_modulation(c)[:, None].chunk(6, dim=-1)
        h = h + gate1 * self.attn(modulate(self.norm1(h), shift1, scale1))
        out: Tensor = h + gate2 * self.mlp(modulate(self.norm2(h), shift2, scale2))
        return out


class Attention(nn.Module):
    """Self-attention over the tokens; q, k and v are one matrix, rows in that order."""

    def __init__(self, width: int, heads: int, qk_norm: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.q_norm = nn.LayerNorm(width // heads) if qk_norm else nn.Identity()
        self.k_norm = nn.LayerNorm(width // heads) if qk_norm else nn.Identity()
        self.proj = nn.Linear(width, width)

    def forward(self, h: Tensor) -> Tensor:
        """(N, T, D) → (N, T, D)."""
        n, tokens, width = h.shape
        qkv = self.qkv(h).reshape(n, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)  # each (N, heads, T, D/heads)
        q, k = self.q_norm(q).to(v.dtype), self.k_norm(k).to(v.dtype)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, tokens, width)
        out: Tensor = self.proj(mixed)
        return out


class MLP(nn.Module):
    """D → 4D → D with the tanh form of GELU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, h: Tensor) -> Tensor:
        """(N, T, D) → (N, T, D)."""
        out: Tensor = self.fc2(F.gelu(self.fc1(h), approximate="tanh"))
        return out


class FinalLayer(nn.Module):
    """The last norm, modulated, and the linear map to patches (and, for REG, to the class token)."""

    def __init__(self, width: int, patch: int, channels: int, feature_dim: int = 0) -> None:
        super().__init__()
        self.norm_final = _norm(width)
        self.linear = nn.Linear(width, patch * patch * channels)
        if feature_dim:
            self.linear_cls = nn.Linear(width, feature_dim)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def forward(self, h: Tensor, c: Tensor) -> Tensor:
        """(N, T, D) under c (N, D) → (N, T, p·p·C)."""
        out: Tensor = self.linear(self.modulated(h, c))
        return out

    def modulated(self, h: Tensor, c: Tensor) -> Tensor:
        """(N, T, D) under c (N, D) → (N, T, D), before the linear map."""
        shift, scale = self.adaLN_modulation(c)[:, None].chunk(2, dim=-1)
        return modulate(self.norm_final(h), shift, scale)


def modulate(h: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """h·(1 + scale) + shift."""
    return h * (1 + scale) + shift


def _norm(width: int) -> nn.LayerNorm:
    return nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)


def sincos_2d(width: int, grid: int) -> Tensor:
    """Fixed positions (T, D): the first half of a token encodes its column, the second its row."""
    at = torch.arange(grid, dtype=torch.float64)
    columns, rows = at.repeat(grid), at.repeat_interleave(grid)  # (T,) each, tokens row by row
    return torch.cat([_sincos_1d(width // 2, columns), _sincos_1d(width // 2, rows)], dim=1).float()


def _sincos_1d(width: int, at: Tensor) -> Tensor:
    """[sin | cos] at width/2 frequencies: (T,) → (T, width)."""
    frequencies = 10_000.0 ** -(torch.arange(width // 2, dtype=torch.float64) / (width / 2))
    angles = at[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)
