"""Self-attention in Triton for training: from packed q, k, v to packed gradients, nothing copied between.

The libraries' kernels take heads of 72 (SiT-XL) as if they were 128 wide, want q, k and v apart, and leave their
gradients apart; on 256 tokens that takes longer than the products themselves. Here a head is read as 64 + the rest; k's
and v's gradients come of one walk over the queries, q's of one over the keys, with the weights exp(q·k/√d − lse) made
anew from what the forward pass kept of each row (FlashAttention-2, 2307.08691, algorithm 2). Products take bf16 and sum
in fp32. Loaded only where there is a GPU; `TRITON_INTERPRET=1` runs it on a CPU.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 64  # rows of queries, and of keys, at once


@triton.jit
def _rows(ptr, row, at, tokens, wide, head):
    return tl.load(
        ptr + row[:, None] * wide + at[None, :], mask=(row[:, None] < tokens) & (at[None, :] < head), other=0.0
    )


@triton.jit
def _forward(
    qkv_ptr, out_ptr, lse_ptr, tokens, width, head, heads, scale,
    BLOCK: tl.constexpr, LOW: tl.constexpr, HIGH: tl.constexpr,
):  # fmt: skip
    start = tl.program_id(0) * BLOCK
    image, which = (tl.program_id(1) // heads).to(tl.int64), tl.program_id(1) % heads
    row, key = start + tl.arange(0, BLOCK), tl.arange(0, BLOCK)
    low = tl.arange(0, LOW)
    q_ptr = qkv_ptr + image * tokens * 3 * width + which * head
    k_ptr, v_ptr = q_ptr + width, q_ptr + 2 * width
    q = _rows(q_ptr, row, low, tokens, 3 * width, head)
    acc = tl.zeros([BLOCK, LOW], tl.float32)
    if HIGH > 0:
        high = LOW + tl.arange(0, HIGH)
        q_high = _rows(q_ptr, row, high, tokens, 3 * width, head)
        acc_high = tl.zeros([BLOCK, HIGH], tl.float32)
    top = tl.full([BLOCK], -float("inf"), tl.float32)
    total = tl.zeros([BLOCK], tl.float32)
    for begin in range(0, tokens, BLOCK):
        at = begin + key
        s = tl.dot(q, tl.trans(_rows(k_ptr, at, low, tokens, 3 * width, head)))
        if HIGH > 0:
            s += tl.dot(q_high, tl.trans(_rows(k_ptr, at, high, tokens, 3 * width, head)))
        s = tl.where(at[None, :] < tokens, s * scale, -float("inf"))
        now = tl.maximum(top, tl.max(s, 1))
        p = tl.exp2(s - now[:, None])
        less = tl.exp2(top - now)
        total = total * less + tl.sum(p, 1)
        p = p.to(q.dtype)
        acc = acc * less[:, None] + tl.dot(p, _rows(v_ptr, at, low, tokens, 3 * width, head))
        if HIGH > 0:
            acc_high = acc_high * less[:, None] + tl.dot(p, _rows(v_ptr, at, high, tokens, 3 * width, head))
        top = now
    o_ptr = out_ptr + image * tokens * width + which * head
    inside = row[:, None] < tokens
    kind = out_ptr.dtype.element_ty
    place = o_ptr + row[:, None] * width
    tl.store(place + low[None, :], (acc / total[:, None]).to(kind), mask=inside & (low[None, :] < head))
    if HIGH > 0:
        tl.store(place + high[None, :], (acc_high / total[:, None]).to(kind), mask=inside & (high[None, :] < head))
    tl.store(lse_ptr + tl.program_id(1) * tokens + row, top + tl.log2(total), mask=row < tokens)


@triton.jit
def _backward(
    qkv_ptr, out_ptr, do_ptr, lse_ptr, d_ptr, sums_ptr, tokens, width, head, heads, scale, blocks,
    BLOCK: tl.constexpr, LOW: tl.constexpr, HIGH: tl.constexpr,
):  # fmt: skip
    block = tl.program_id(0)
    image, which = (tl.program_id(1) // heads).to(tl.int64), tl.program_id(1) % heads
    own, other = block * BLOCK + tl.arange(0, BLOCK), tl.arange(0, BLOCK)
    low = tl.arange(0, LOW)
    wide = 3 * width
    q_ptr = qkv_ptr + image * tokens * wide + which * head
    k_ptr, v_ptr = q_ptr + width, q_ptr + 2 * width
    o_ptr = out_ptr + image * tokens * width + which * head
    g_ptr = do_ptr + image * tokens * width + which * head
    l_ptr = lse_ptr + tl.program_id(1) * tokens
    plain = scale * 0.6931471805599453  # scale is in powers of two

    # Of keys and values `own`: a walk over the queries.
    k = _rows(k_ptr, own, low, tokens, wide, head)
    v = _rows(v_ptr, own, low, tokens, wide, head)
    dk = tl.zeros([BLOCK, LOW], tl.float32)
    dv = tl.zeros([BLOCK, LOW], tl.float32)
    if HIGH > 0:
        high = LOW + tl.arange(0, HIGH)
        k_high = _rows(k_ptr, own, high, tokens, wide, head)
        v_high = _rows(v_ptr, own, high, tokens, wide, head)
        dk_high = tl.zeros([BLOCK, HIGH], tl.float32)
        dv_high = tl.zeros([BLOCK, HIGH], tl.float32)
    for begin in range(0, tokens, BLOCK):
        at = begin + other
        q = _rows(q_ptr, at, low, tokens, wide, head)
        g = _rows(g_ptr, at, low, tokens, width, head)
        o = _rows(o_ptr, at, low, tokens, width, head)
        delta = tl.sum(g.to(tl.float32) * o.to(tl.float32), 1)
        s = tl.dot(k, tl.trans(q))  # (own, at)
        dp = tl.dot(v, tl.trans(g))
        if HIGH > 0:
            q_high = _rows(q_ptr, at, high, tokens, wide, head)
            g_high = _rows(g_ptr, at, high, tokens, width, head)
            o_high = _rows(o_ptr, at, high, tokens, width, head)
            delta += tl.sum(g_high.to(tl.float32) * o_high.to(tl.float32), 1)
            s += tl.dot(k_high, tl.trans(q_high))
            dp += tl.dot(v_high, tl.trans(g_high))
        lse = tl.load(l_ptr + at, mask=at < tokens, other=float("inf"))
        p = tl.where(own[:, None] < tokens, tl.exp2(s * scale - lse[None, :]), 0.0)
        ds = (p * (dp - delta[None, :])).to(q.dtype)
        p = p.to(q.dtype)
        dv += tl.dot(p, g)
        dk += tl.dot(ds, q)
        if HIGH > 0:
            dv_high += tl.dot(p, g_high)
            dk_high += tl.dot(ds, q_high)

    # Of queries `own`: a walk over the keys.
    q = _rows(q_ptr, own, low, tokens, wide, head)
    g = _rows(g_ptr, own, low, tokens, width, head)
    o = _rows(o_ptr, own, low, tokens, width, head)
    delta = tl.sum(g.to(tl.float32) * o.to(tl.float32), 1)
    dq = tl.zeros([BLOCK, LOW], tl.float32)
    if HIGH > 0:
        q_high = _rows(q_ptr, own, high, tokens, wide, head)
        g_high = _rows(g_ptr, own, high, tokens, width, head)
        o_high = _rows(o_ptr, own, high, tokens, width, head)
        delta += tl.sum(g_high.to(tl.float32) * o_high.to(tl.float32), 1)
        dq_high = tl.zeros([BLOCK, HIGH], tl.float32)
    lse = tl.load(l_ptr + own, mask=own < tokens, other=float("inf"))
    for begin in range(0, tokens, BLOCK):
        at = begin + other
        k_at = _rows(k_ptr, at, low, tokens, wide, head)
        v_at = _rows(v_ptr, at, low, tokens, wide, head)
        s = tl.dot(q, tl.trans(k_at))
        dp = tl.dot(g, tl.trans(v_at))
        if HIGH > 0:
            k_at_high = _rows(k_ptr, at, high, tokens, wide, head)
            v_at_high = _rows(v_ptr, at, high, tokens, wide, head)
            s += tl.dot(q_high, tl.trans(k_at_high))
            dp += tl.dot(g_high, tl.trans(v_at_high))
        p = tl.where(at[None, :] < tokens, tl.exp2(s * scale - lse[:, None]), 0.0)
        ds = (p * (dp - delta[:, None])).to(q.dtype)
        dq += tl.dot(ds, k_at)
        if HIGH > 0:
            dq_high += tl.dot(ds, k_at_high)

    kind = d_ptr.dtype.element_ty
    inside, there = own[:, None] < tokens, low[None, :] < head
    place = d_ptr + image * tokens * wide + which * head + own[:, None] * wide
    sums = sums_ptr + (image * blocks + block) * wide + which * head
    tl.store(place + low[None, :], (dq * plain).to(kind), mask=inside & there)
    tl.store(place + width + low[None, :], (dk * plain).to(kind), mask=inside & there)
    tl.store(place + 2 * width + low[None, :], dv.to(kind), mask=inside & there)
    # Rows past the last token are zero, so the sums are those of the bias.
    tl.store(sums + low, tl.sum(dq, 0) * plain, mask=low < head)
    tl.store(sums + width + low, tl.sum(dk, 0) * plain, mask=low < head)
    tl.store(sums + 2 * width + low, tl.sum(dv, 0), mask=low < head)
    if HIGH > 0:
        there = high[None, :] < head
        tl.store(place + high[None, :], (dq_high * plain).to(kind), mask=inside & there)
        tl.store(place + width + high[None, :], (dk_high * plain).to(kind), mask=inside & there)
        tl.store(place + 2 * width + high[None, :], dv_high.to(kind), mask=inside & there)
        tl.store(sums + high, tl.sum(dq_high, 0) * plain, mask=high < head)
        tl.store(sums + width + high, tl.sum(dk_high, 0) * plain, mask=high < head)
        tl.store(sums + 2 * width + high, tl.sum(dv_high, 0), mask=high < head)


def _parts(head: int) -> dict[str, int]:
    """A head's width as a power of two and what is left of it, at least 16 for a product."""
    low = max(16, 1 << (head.bit_length() - 1))
    rest = max(0, head - low)
    return {"LOW": low, "HIGH": max(16, triton.next_power_of_2(rest)) if rest else 0}


def attention(qkv: Tensor, heads: int, **tuned: Any) -> tuple[Tensor, Tensor]:
    """softmax(q·kᵀ/√d)·v of qkv (N, T, 3·D), contiguous: (N, T, D), and each row's log2-sum-exp2 (N·heads, T) fp32."""
    n, tokens, wide = qkv.shape
    width, head = wide // 3, wide // 3 // heads
    out = torch.empty(n, tokens, width, device=qkv.device, dtype=qkv.dtype)
    lse = torch.empty(n * heads, tokens, device=qkv.device, dtype=torch.float32)
    block = tuned.pop("BLOCK", BLOCK)
    _forward[(triton.cdiv(tokens, block), n * heads)](
        qkv, out, lse, tokens, width, head, heads, math.log2(math.e) / math.sqrt(head), BLOCK=block,
        **{"num_warps": 4, **_parts(head), **tuned},
    )  # fmt: skip
    return out, lse


def attention_backward(
    qkv: Tensor, out: Tensor, lse: Tensor, do: Tensor, heads: int, **tuned: Any
) -> tuple[Tensor, Tensor]:
    """The gradient of qkv (N, T, 3·D) from that of the output, and its sum over images and tokens [3·D] fp32."""
    n, tokens, wide = qkv.shape
    width, head = wide // 3, wide // 3 // heads
    block = tuned.pop("BLOCK", BLOCK)
    blocks = triton.cdiv(tokens, block)
    d = torch.empty_like(qkv)
    sums = torch.empty(n, blocks, wide, device=qkv.device, dtype=torch.float32)
    _backward[(blocks, n * heads)](
        qkv, out, do, lse, d, sums, tokens, width, head, heads, math.log2(math.e) / math.sqrt(head), blocks,
        BLOCK=block, **{"num_warps": 4, **_parts(head), **tuned},
    )  # fmt: skip
    return d, sums.sum((0, 1))
