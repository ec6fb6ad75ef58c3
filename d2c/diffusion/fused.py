"""A DiT's forward and backward pass arranged for training on a GPU: the numbers of `DiT.forward`, sooner.

Each block is two functions with a backward pass of their own. What that buys:

- The residual stream is bf16; a branch is added where the next norm reads it, and everything between two matrix
  products is one kernel (`d2c.diffusion.kernels`), in both directions; gradients of biases fall out of the same passes.
- What a norm or a GELU put out is not kept but made again on the way back, in the pass that has its input in hand
  anyway: 12 arrays of the stream's size a block are kept (with SiT-XL/2 at batch 256: 51 GB).
- Gradients of weights leave their product in fp32.
- Nothing is compiled ahead: the first step takes a second, not minutes.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

from d2c.diffusion.attention import attention, attention_backward
from d2c.diffusion.dit import Block, DiT
from d2c.diffusion.kernels import gelu_backward, gelu_forward, norm_backward, norm_forward, pack

# Ours (`d2c.diffusion.attention`) is correct and was never timed on a GPU: until it was, the library's does.
OWN_ATTENTION = False
# cuDNN's attention saves a twentieth of a step on Hopper.
KERNELS = [
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.MATH,
]
# h (N, T, D), the branch o still to be added to it, the branch's bias b (D,) and its gate g (N, D)
Stream = tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]


class AttentionHalf(torch.autograd.Function):
    """h' = h + g·(o + b); attention on its modulated norm: (h', the new branch without its bias)."""

    @staticmethod
    def forward(ctx: Any, h, o, b, g, s, c, w_qkv, b_qkv, w_proj, heads):  # type: ignore[no-untyped-def]
        """h, o (N, T, D); b (D,); g, s, c (N, D); weights as the module has them."""
        added = None if o is None else (o, b, g)
        h, m, mean, rstd = norm_forward(h, added, s, c)
        n, tokens, width = h.shape
        wide, narrow = w_qkv.to(h.dtype), w_proj.to(h.dtype)
        qkv = F.linear(m, wide, b_qkv.to(h.dtype))
        if OWN_ATTENTION:
            flat, lse = attention(qkv, heads)
            ctx.heads, ctx.graph = heads, None
            ctx.save_for_backward(h, o, b, g, s, c, mean, rstd, wide, narrow, qkv, flat, lse)
            return h, F.linear(flat, narrow)
        qkv = qkv.view(n, tokens, 3, heads, -1)
        with torch.enable_grad(), sdpa_kernel(KERNELS, set_priority=True):  # its backward is the library's own
            q, k, v = (qkv[:, :, i].transpose(1, 2).detach().requires_grad_() for i in range(3))
            mixed = F.scaled_dot_product_attention(q, k, v)
        flat = mixed.detach().transpose(1, 2).reshape(n, tokens, width)
        ctx.save_for_backward(h, o, b, g, s, c, mean, rstd, wide, narrow)
        ctx.graph = (mixed, q, k, v, flat)
        return h, F.linear(flat, narrow)

    @staticmethod
    def backward(ctx: Any, dh, do):  # type: ignore[no-untyped-def]
        """Gradients in the order of the inputs."""
        h, o, b, g, s, c, mean, rstd, wide, narrow, *own = ctx.saved_tensors
        n, tokens, width = h.shape
        back = (do.reshape(-1, width) @ narrow).view_as(h)
        if own:
            qkv, flat, lse = own
            dqkv, d_bias = attention_backward(qkv, flat, lse, back, ctx.heads)
        else:
            (mixed, q, k, v, flat), ctx.graph = ctx.graph, None
            apart = back.view(n, tokens, q.shape[1], -1).transpose(1, 2)
            dqkv, d_bias = pack(*torch.autograd.grad(mixed, (q, k, v), apart))
            del mixed, q, k, v, apart
        d_proj = _weight(do, flat)
        del own, flat, back
        dm = dqkv.view(-1, 3 * width) @ wide
        added = None if o is None else (o, b, g)
        dh, do, m, sums = norm_backward(dm.view_as(h), dh, h, added, s, c, mean, rstd)
        return dh, do, *_of_norm(sums, added, s), _weight(dqkv, m), d_bias, d_proj, None


class MLPHalf(torch.autograd.Function):
    """h' = h + g·(o + b); the MLP on its modulated norm: (h', the new branch without its bias)."""

    @staticmethod
    def forward(ctx: Any, h, o, b, g, s, c, w_in, b_in, w_out):  # type: ignore[no-untyped-def]
        """As `AttentionHalf.forward`."""
        h, m, mean, rstd = norm_forward(h, (o, b, g), s, c)
        wide, narrow = w_in.to(h.dtype), w_out.to(h.dtype)
        u = F.linear(m, wide).view(-1, len(wide))
        ctx.save_for_backward(h, o, b, g, s, c, mean, rstd, wide, narrow, u, b_in)
        return h, F.linear(gelu_forward(u, b_in), narrow).view_as(h)

    @staticmethod
    def backward(ctx: Any, dh, do):  # type: ignore[no-untyped-def]
        """Gradients in the order of the inputs."""
        h, o, b, g, s, c, mean, rstd, wide, narrow, u, b_in = ctx.saved_tensors
        out = do.reshape(-1, do.shape[-1])
        du, a, d_bias = gelu_backward(u, b_in, out @ narrow)
        d_out = _weight(out, a)
        del a
        dm = du @ wide
        dh, do, m, sums = norm_backward(dm.view_as(h), dh, h, (o, b, g), s, c, mean, rstd)
        return dh, do, *_of_norm(sums, (o, b, g), s), _weight(du, m), d_bias, d_out


class Norm(torch.autograd.Function):
    """The modulated norm of h + g·(o + b), for the last layer."""

    @staticmethod
    def forward(ctx: Any, h, o, b, g, s, c):  # type: ignore[no-untyped-def]
        """As `AttentionHalf.forward`."""
        h, m, mean, rstd = norm_forward(h, (o, b, g), s, c)
        ctx.save_for_backward(h, o, b, g, s, c, mean, rstd)
        return m

    @staticmethod
    def backward(ctx: Any, dm):  # type: ignore[no-untyped-def]
        """Gradients in the order of the inputs."""
        h, o, b, g, s, c, mean, rstd = ctx.saved_tensors
        dh, do, _, sums = norm_backward(dm.contiguous(), None, h, (o, b, g), s, c, mean, rstd)
        return dh, do, *_of_norm(sums, (o, b, g), s)


def _weight(dy: Tensor, x: Tensor) -> Tensor:
    """dyᵀ·x over all rows, (out, in) in fp32."""
    dy, x = dy.reshape(-1, dy.shape[-1]), x.reshape(-1, x.shape[-1])
    if dy.is_cuda and dy.dtype != torch.float32:
        return torch.mm(dy.T, x, out_dtype=torch.float32)
    return (dy.T @ x).float()


def _of_norm(sums: Tensor, added: tuple[Tensor, Tensor, Tensor] | None, s: Tensor) -> tuple[Tensor | None, ...]:
    """Gradients of b, g, s and c from the sums of `norm_backward`."""
    d_s, d_c = sums[:, 0].to(s.dtype), sums[:, 1].to(s.dtype)
    if added is None:
        return None, None, d_s, d_c
    return (sums[:, 3] * added[2]).sum(0), sums[:, 2].to(s.dtype), d_s, d_c


def forward(
    model: DiT, x: Tensor, t: Tensor, y: Tensor, *, tap: int | None = None, checkpointed: bool = False
) -> Tensor | tuple[Tensor, Tensor]:
    """What `DiT.forward` gives, for training; call it under bf16 autocast. `checkpointed` keeps only the stream."""
    h = model.x_embedder(x)
    h = (h + model.pos_embed.to(h.dtype)).contiguous()  # (N, T, D)
    c = F.silu(model.t_embedder(t) + model.y_embedder(y))  # (N, D)
    stream: Stream = (h, None, None, None)
    tokens = h
    for done, block in enumerate(model.blocks, start=1):
        assert isinstance(block, Block)
        rows = block.adaLN_modulation[1](c).to(h.dtype)  # (N, 6·D); its SiLU is taken once for all blocks
        if checkpointed:
            stream = checkpoint(_block, block, stream, rows, use_reentrant=False)
        else:
            stream = _block(block, stream, rows)
        if done == tap:
            tokens = merged(stream)
    last = model.final_layer
    shift, scale = last.adaLN_modulation[1](c).to(h.dtype).chunk(2, dim=-1)
    out = model.unpatchify(last.linear(Norm.apply(*_even(stream, shift, scale))))
    return out if tap is None else (out, tokens)


def merged(stream: Stream) -> Tensor:
    """The tokens (N, T, D) that a stream stands for."""
    h, o, b, g = stream
    return h if o is None or b is None or g is None else h + g[:, None] * (o + b.to(o.dtype))


def fits(model: nn.Module) -> bool:
    """Whether the model's blocks are those that the functions here know."""
    return isinstance(model, DiT) and not (model.config.qk_norm or model.config.feature_dim)


def _block(block: Block, stream: Stream, rows: Tensor) -> Stream:
    shift1, scale1, gate1, shift2, scale2, gate2 = rows.chunk(6, dim=-1)
    attn, mlp = block.attn, block.mlp
    h, o = AttentionHalf.apply(
        *_even(stream, shift1, scale1), attn.qkv.weight, attn.qkv.bias, attn.proj.weight, attn.heads
    )
    h, o = MLPHalf.apply(
        *_even((h, o, attn.proj.bias, gate1), shift2, scale2), mlp.fc1.weight, mlp.fc1.bias, mlp.fc2.weight
    )
    return h, o, mlp.fc2.bias, gate2


def _even(stream: Stream, shift: Tensor, scale: Tensor) -> tuple[Tensor | None, ...]:
    """Stream and modulation with one row stride for gate, shift and scale, as the kernels read them."""
    h, o, b, g = stream
    if g is not None and g.stride(0) != shift.stride(0):
        g, shift, scale = g.contiguous(), shift.contiguous(), scale.contiguous()
    return h, o, b, g, shift, scale
