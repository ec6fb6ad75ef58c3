"""A DiT arranged to be asked often and never trained: what scoring runs on.

The same numbers as `DiT.forward` with one time for the whole batch, up to the arithmetic asked for. What changes:

- Weights are cast once. In bf16 the residual stream is bf16 too, which halves what every norm and sum has to move.
- All adaLN modulations of the network are one matrix product a class and time (`condition`), not one a block and image.
- A block adds the branch that the one before it left over, so that sum, norm and modulation are one pass when compiled.
- The GELU is in the epilogue of its matrix product where the library has one (CUDA).
- Only the channels that are read are computed: a learnt variance is left out of the last layer.
- In precision "fp8" the products of the blocks multiply e4m3 matrices (Hopper and later), each with one scale for its
  weights and one for its input, which is told what it reaches before (`observe`, `quantise`); the rest stays bf16.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from d2c.diffusion.dit import Block, DiT, modulate
from d2c.errors import UsageError

PRECISIONS = ("fp32", "bf16", "fp8")
E4M3_MAX = 448.0
HEADROOM = 2.0  # of an fp8 scale over what its input was seen to reach; e4m3 loses nothing by it


class FrozenDiT:
    """A copy of a model's weights with a quick forward pass. The model's two embedders are taken over, to the device.

    `compile` fuses the passes between the matrix products (see `d2c.device.compiles`; ten seconds on an H100).
    """

    def __init__(self, model: DiT, device: torch.device, precision: str, *, compile: bool = False) -> None:
        if precision not in PRECISIONS:
            raise UsageError(f"no precision {precision!r}; known: {', '.join(PRECISIONS)}")
        if model.config.feature_dim:
            raise UsageError(f"{model.config.name} was trained with a class token (REG): it cannot score")
        model.eval()
        self.config, self.path = model.config, model.path
        self.device, self.precision = device, precision
        self.dtype = torch.float32 if precision == "fp32" else torch.bfloat16
        with torch.no_grad():
            parts = [*model.blocks, model.final_layer]
            self._modulation = self._cast(
                torch.cat([p.adaLN_modulation[1].weight for p in parts]),
                torch.cat([p.adaLN_modulation[1].bias for p in parts]),
            )
            self._patches = self._cast(model.x_embedder.proj.weight.flatten(1), model.x_embedder.proj.bias)
            self._positions = model.pos_embed.to(device, self.dtype)
            self._blocks = [_pack(block, self) for block in model.blocks if isinstance(block, Block)]
            self._last = self._cast(*self._read_channels(model.final_layer.linear))
        self._time, self._label = model.t_embedder.to(device), model.y_embedder.to(device)
        self.compiled, self.quantised = compile, False
        self._stem, self._block, self._head = self._embed, _block, self._finish
        if compile:
            self._stem = torch.compile(self._embed, dynamic=False, fullgraph=True)
            self._block = torch.compile(_block, dynamic=False, fullgraph=True)
            self._head = torch.compile(self._finish, dynamic=False, fullgraph=True)

    def condition(self, t: Tensor, y: Tensor) -> Tensor:
        """Every modulation of the network at time t (1,) for classes y (U,): (U, (6·depth + 2)·D)."""
        c = self._time(t) + self._label(y)  # (U, D), fp32
        return F.linear(F.silu(c).to(self.dtype), *self._modulation)

    def __call__(self, x: Tensor, rows: Tensor) -> Tensor:
        """The path's prediction (N, C, H, W) in fp32, at x (N, C, H, W) under modulations (N, (6·depth + 2)·D)."""
        h: Tensor = self._stem(x)
        branch: Tensor | None = None
        gate: Tensor | None = None
        wide = 6 * self.config.width
        for i, block in enumerate(self._blocks):
            h, branch, gate = self._block(h, branch, gate, rows[:, i * wide : (i + 1) * wide], block)
        assert branch is not None  # a model has blocks
        assert gate is not None
        out: Tensor = self._head(h, branch, gate, rows[:, len(self._blocks) * wide :])
        return out

    def observe(self, x: Tensor, rows: Tensor) -> Tensor:
        """How large the inputs of each block's four matrix products get here: (depth, 4), fp32."""
        h, branch, gate = self._embed(x), None, None
        wide, reach = 6 * self.config.width, []
        for i, block in enumerate(self._blocks):
            seen: list[Tensor] = []
            h, branch, gate = _block(h, branch, gate, rows[:, i * wide : (i + 1) * wide], block, seen)
            reach.append(torch.stack([inputs.abs().amax().float() for inputs in seen]))
        return torch.stack(reach)

    def quantise(self, reach: Tensor) -> None:
        """Multiply in e4m3 from now on, with input scales for what was observed, (depth, 4)."""
        self.quantised = True
        self._blocks = [
            block._replace(
                gelu=False,
                qkv=_eight(block.qkv, own[0]),
                proj=_eight(block.proj, own[1]),
                fc1=_eight(block.fc1, own[2]),
                fc2=_eight(block.fc2, own[3]),
            )
            for block, own in zip(self._blocks, reach.to(self.device), strict=True)
        ]

    def _embed(self, x: Tensor) -> Tensor:
        n, c, p, grid = x.shape[0], x.shape[1], self.config.patch, self.config.grid
        patches = x.to(self.dtype).reshape(n, c, grid, p, grid, p).permute(0, 2, 4, 1, 3, 5).reshape(n, grid * grid, -1)
        return F.linear(patches, *self._patches) + self._positions  # (N, T, D)

    def _finish(self, h: Tensor, branch: Tensor, gate: Tensor, rows: Tensor) -> Tensor:
        shift, scale = rows[:, None].chunk(2, dim=-1)
        tokens = F.linear(modulate(_norm(h + gate * branch), shift, scale), *self._last)  # (N, T, p·p·C)
        n, p, grid = h.shape[0], self.config.patch, self.config.grid
        patches = tokens.reshape(n, grid, grid, p, p, self.config.channels)
        return patches.permute(0, 5, 1, 3, 2, 4).reshape(n, -1, grid * p, grid * p).float()

    def _read_channels(self, linear: nn.Linear) -> tuple[Tensor, Tensor]:
        """The rows of the last layer that put out the first C channels of each pixel; the channel runs fastest."""
        out = self.config.out_channels
        kept = torch.arange(linear.out_features, device=linear.weight.device) % out < self.config.channels
        return linear.weight[kept], linear.bias[kept]

    def _cast(self, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
        if bias is None:  # none of a DiT's layers; `nn.Linear` allows it
            bias = torch.zeros(len(weight))
        return weight.to(self.device, self.dtype).contiguous(), bias.to(self.device, self.dtype)


class _Block(NamedTuple):
    """One block's weights. A tuple, so that one compiled function serves every block."""

    heads: int
    gelu: bool
    qkv: tuple[Tensor, ...]
    proj: tuple[Tensor, ...]
    fc1: tuple[Tensor, ...]
    fc2: tuple[Tensor, ...]
    norms: tuple[Tensor, ...]  # weight and bias of q's norm, then of k's; empty without


def _pack(block: Block, frozen: FrozenDiT) -> _Block:
    linears = (block.attn.qkv, block.attn.proj, block.mlp.fc1, block.mlp.fc2)
    qkv, proj, fc1, fc2 = (_linear(m, frozen) for m in linears)
    norms = [
        frozen._cast(m.weight, m.bias) for m in (block.attn.q_norm, block.attn.k_norm) if isinstance(m, nn.LayerNorm)
    ]
    fused = frozen.precision != "fp32" and frozen.device.type == "cuda"
    return _Block(block.attn.heads, fused, qkv, proj, fc1, fc2, tuple(tensor for norm in norms for tensor in norm))


def _linear(module: nn.Linear, frozen: FrozenDiT) -> tuple[Tensor, ...]:
    return frozen._cast(module.weight, module.bias)


def _eight(linear: tuple[Tensor, ...], reach: Tensor) -> tuple[Tensor, ...]:
    """(e4m3 weight, bias, its scale, the scale of its input) from (weight, bias) and the input's largest size."""
    weight, bias = linear
    scale = weight.float().abs().amax().clamp_min(1e-12) / E4M3_MAX
    own = reach.float().clamp_min(1e-12) * HEADROOM / E4M3_MAX  # of what was only seen to be zero too
    return (weight.float() / scale).to(torch.float8_e4m3fn), bias, scale, own


def _apply(tokens: Tensor, linear: tuple[Tensor, ...], gelu: bool = False) -> Tensor:
    """(…, in) → (…, out)."""
    if len(linear) == 2 and not gelu:
        return F.linear(tokens, *linear)
    flat = tokens.reshape(-1, tokens.shape[-1])
    if len(linear) == 2:
        weight, bias = linear
        out = torch._addmm_activation(bias, flat, weight.T, use_gelu=True)
    else:
        weight, bias, scale, own = linear
        eight = (flat.float() / own).clamp(-E4M3_MAX, E4M3_MAX).to(torch.float8_e4m3fn)
        out = torch._scaled_mm(
            eight, weight.T, scale_a=own, scale_b=scale, bias=bias, out_dtype=torch.bfloat16, use_fast_accum=True
        )
    return out.reshape(*tokens.shape[:-1], -1)


def _block(
    h: Tensor, branch: Tensor | None, gate: Tensor | None, rows: Tensor, block: _Block, seen: list[Tensor] | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """The residual stream (N, T, D), the branch still to be added and its gate, after one more block.

    `seen` takes the inputs of the four matrix products.
    """
    shift1, scale1, gate1, shift2, scale2, gate2 = rows[:, None].chunk(6, dim=-1)
    if branch is not None and gate is not None:
        h = h + gate * branch
    n, tokens, width = h.shape
    outer = modulate(_norm(h), shift1, scale1)
    qkv = _apply(outer, block.qkv)
    q, k, v = qkv.reshape(n, tokens, 3, block.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)  # (N, heads, T, D/heads)
    if block.norms:
        wq, bq, wk, bk = block.norms
        q, k = F.layer_norm(q, wq.shape, wq, bq), F.layer_norm(k, wk.shape, wk, bk)
    mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, tokens, width)
    h = h + gate1 * _apply(mixed, block.proj)
    inner = modulate(_norm(h), shift2, scale2)
    wide = _apply(inner, block.fc1, gelu=True) if block.gelu else F.gelu(_apply(inner, block.fc1), approximate="tanh")
    if seen is not None:
        seen += [outer, mixed, inner, wide]
    return h, _apply(wide, block.fc2), gate2


def _norm(h: Tensor) -> Tensor:
    return F.layer_norm(h, h.shape[-1:], eps=1e-6)
