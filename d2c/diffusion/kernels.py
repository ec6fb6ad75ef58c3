"""Triton kernels of the training step: all that lies between its matrix products, each array read once.

A training step of a DiT on a GPU is matrix products at nearly the card's best rate, attention, and passes over the
residual stream, and the last take a third of it when a compiler writes them: a norm's backward needs sums over the
width and sums over the tokens, which it makes in separate passes. Here one program keeps the sums over its tokens in
registers while it walks them, so each kernel moves what it must and no more.

Rows are tokens: N images of T tokens of width D. Arrays are bf16 (or fp32), sums and statistics fp32. Loaded only where
there is a GPU; `TRITON_INTERPRET=1` runs them on a CPU, which is how they are tested without one.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

EPS = 1e-6  # of the norms
ALONG = 32  # tokens that one program of a backward kernel walks
ROWS, COLUMNS, LOOPS = 32, 128, 4  # a tile of the GELU, and how many of them a program of its backward walks


@triton.jit
def _norm_forward(
    h_ptr, o_ptr, b_ptr, g_ptr, s_ptr, c_ptr, sum_ptr, out_ptr, mean_ptr, rstd_ptr, tokens, width, step, eps,
    ADDED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    at = tl.arange(0, BLOCK)
    there = at < width
    image = (row // tokens) * step
    x = tl.load(h_ptr + row * width + at, mask=there, other=0.0).to(tl.float32)
    if ADDED:
        o = tl.load(o_ptr + row * width + at, mask=there, other=0.0).to(tl.float32)
        b = tl.load(b_ptr + at, mask=there, other=0.0).to(tl.float32)
        g = tl.load(g_ptr + image + at, mask=there, other=0.0).to(tl.float32)
        rounded = (x + g * (o + b)).to(sum_ptr.dtype.element_ty)
        tl.store(sum_ptr + row * width + at, rounded, mask=there)
        x = rounded.to(tl.float32)  # what the backward kernel will read
    mean = tl.sum(x, 0) / width
    centred = tl.where(there, x - mean, 0.0)
    rstd = tl.rsqrt(tl.sum(centred * centred, 0) / width + eps)
    s = tl.load(s_ptr + image + at, mask=there, other=0.0).to(tl.float32)
    c = tl.load(c_ptr + image + at, mask=there, other=0.0).to(tl.float32)
    tl.store(out_ptr + row * width + at, (centred * rstd * (1.0 + c) + s).to(out_ptr.dtype.element_ty), mask=there)
    tl.store(mean_ptr + row, mean)
    tl.store(rstd_ptr + row, rstd)


@triton.jit
def _both(a, b, c, d):
    return a + c, b + d


@triton.jit
def _norm_backward(
    dm_ptr, dh_ptr, h_ptr, o_ptr, b_ptr, g_ptr, s_ptr, c_ptr, mean_ptr, rstd_ptr, out_dh_ptr, out_do_ptr, out_m_ptr,
    sums_ptr, tokens, width, step, chunks,
    ADDED: tl.constexpr, STREAM: tl.constexpr, ALONG: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    image, chunk = tl.program_id(0).to(tl.int64), tl.program_id(1)
    at = tl.arange(0, BLOCK)
    there = at < width
    s = tl.load(s_ptr + image * step + at, mask=there, other=0.0)
    c = tl.load(c_ptr + image * step + at, mask=there, other=0.0)
    g = tl.load(g_ptr + image * step + at, mask=there, other=0.0)
    shift = tl.zeros([BLOCK], tl.float32)
    scale = tl.zeros([BLOCK], tl.float32)
    gate = tl.zeros([BLOCK], tl.float32)
    total = tl.zeros([BLOCK], tl.float32)
    first = chunk * ALONG
    place = (image * tokens + first) * width + at
    inside = there & (first < tokens)
    # A token is loaded while the one before it is worked on: stores in between would keep the compiler from it.
    dm_next = tl.load(dm_ptr + place, mask=inside, other=0.0)
    h_next = tl.load(h_ptr + place, mask=inside, other=0.0)
    dh_next = tl.load(dh_ptr + place, mask=inside & STREAM, other=0.0)
    o_next = tl.load(o_ptr + place, mask=inside & ADDED, other=0.0)
    for i in range(ALONG):
        token = first + i
        dm, h, dh, o = dm_next.to(tl.float32), h_next.to(tl.float32), dh_next.to(tl.float32), o_next.to(tl.float32)
        place = (image * tokens + token) * width + at
        inside = there & (token < tokens)
        after = there & (token + 1 < tokens) & (i + 1 < ALONG)
        dm_next = tl.load(dm_ptr + place + width, mask=after, other=0.0)
        h_next = tl.load(h_ptr + place + width, mask=after, other=0.0)
        dh_next = tl.load(dh_ptr + place + width, mask=after & STREAM, other=0.0)
        o_next = tl.load(o_ptr + place + width, mask=after & ADDED, other=0.0)
        mean = tl.load(mean_ptr + image * tokens + token, mask=token < tokens, other=0.0)
        rstd = tl.load(rstd_ptr + image * tokens + token, mask=token < tokens, other=0.0)
        x = tl.where(inside, (h - mean) * rstd, 0.0)
        scaled = 1.0 + c.to(tl.float32)
        dx = dm * scaled
        of_mean, of_std = tl.reduce((dx, dx * x), 0, _both)
        d = tl.where(inside, rstd * (dx - of_mean / width - x * (of_std / width)) + dh, 0.0)
        tl.store(out_dh_ptr + place, d.to(out_dh_ptr.dtype.element_ty), mask=inside)
        tl.store(out_m_ptr + place, (x * scaled + s.to(tl.float32)).to(out_m_ptr.dtype.element_ty), mask=inside)
        if ADDED:
            tl.store(out_do_ptr + place, (g.to(tl.float32) * d).to(out_do_ptr.dtype.element_ty), mask=inside)
        shift += dm
        scale += dm * x
        gate += d * o
        total += d
    base = sums_ptr + ((image * chunks + chunk) * 4) * width + at
    tl.store(base, shift, mask=there)
    tl.store(base + width, scale, mask=there)
    if ADDED:
        b = tl.load(b_ptr + at, mask=there, other=0.0).to(tl.float32)
        tl.store(base + 2 * width, gate + b * total, mask=there)
        tl.store(base + 3 * width, total, mask=there)


@triton.jit
def _gelu_forward(u_ptr, b_ptr, out_ptr, rows, width, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    row = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)[:, None]
    at = (tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS))[None, :]
    inside = (row < rows) & (at < width)
    x = tl.load(u_ptr + row * width + at, mask=inside, other=0.0).to(tl.float32)
    x += tl.load(b_ptr + at, mask=at < width, other=0.0).to(tl.float32)
    # (1 + tanh z)/2 = σ(2z); the constant is 2·√(2/π)·log₂e
    p = 1.0 / (1.0 + tl.exp2(-2.302208198 * x * (1.0 + 0.044715 * x * x)))
    tl.store(out_ptr + row * width + at, (x * p).to(out_ptr.dtype.element_ty), mask=inside)


@triton.jit
def _gelu_backward(
    u_ptr, b_ptr, da_ptr, du_ptr, a_ptr, sums_ptr, rows, width, LOOPS: tl.constexpr, ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):  # fmt: skip
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    at, there = column[None, :], (column < width)[None, :]
    b = tl.load(b_ptr + at, mask=there, other=0.0).to(tl.float32)
    total = tl.zeros([ROWS, COLUMNS], tl.float32)
    row = (tl.program_id(0) * LOOPS * ROWS + tl.arange(0, ROWS)).to(tl.int64)[:, None]
    inside = (row < rows) & there
    u_next = tl.load(u_ptr + row * width + at, mask=inside, other=0.0)
    da_next = tl.load(da_ptr + row * width + at, mask=inside, other=0.0)
    for i in range(LOOPS):
        x, da = u_next.to(tl.float32) + b, da_next.to(tl.float32)
        place, inside = row * width + at, (row < rows) & there
        row += ROWS
        after = (row < rows) & there & (i + 1 < LOOPS)
        u_next = tl.load(u_ptr + row * width + at, mask=after, other=0.0)
        da_next = tl.load(da_ptr + row * width + at, mask=after, other=0.0)
        p = 1.0 / (1.0 + tl.exp2(-2.302208198 * x * (1.0 + 0.044715 * x * x)))
        du = da * p * (1.0 + x * (1.0 - p) * (1.5957691216057308 + 0.2140644488 * x * x))
        tl.store(du_ptr + place, du.to(du_ptr.dtype.element_ty), mask=inside)
        tl.store(a_ptr + place, (x * p).to(a_ptr.dtype.element_ty), mask=inside)
        total += du
    tl.store(sums_ptr + tl.program_id(0) * width + column, tl.sum(total, 0), mask=column < width)


@triton.jit
def _pack(
    q_ptr, k_ptr, v_ptr, out_ptr, sums_ptr, tokens, width, head, chunks, qn, qh, qt, kn, kh, kt, vn, vh, vt,
    ALONG: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    image, chunk = tl.program_id(0).to(tl.int64), tl.program_id(1)
    at = tl.arange(0, BLOCK)
    there = at < width
    which, inner = at // head, at % head
    of_q = tl.zeros([BLOCK], tl.float32)
    of_k = tl.zeros([BLOCK], tl.float32)
    of_v = tl.zeros([BLOCK], tl.float32)
    for i in range(ALONG):
        token = chunk * ALONG + i
        inside = there & (token < tokens)
        place = out_ptr + (image * tokens + token) * 3 * width + at
        q = tl.load(q_ptr + image * qn + which * qh + token * qt + inner, mask=inside, other=0.0)
        k = tl.load(k_ptr + image * kn + which * kh + token * kt + inner, mask=inside, other=0.0)
        v = tl.load(v_ptr + image * vn + which * vh + token * vt + inner, mask=inside, other=0.0)
        tl.store(place, q, mask=inside)
        tl.store(place + width, k, mask=inside)
        tl.store(place + 2 * width, v, mask=inside)
        of_q += q.to(tl.float32)
        of_k += k.to(tl.float32)
        of_v += v.to(tl.float32)
    base = sums_ptr + (image * chunks + chunk) * 3 * width + at
    tl.store(base, of_q, mask=there)
    tl.store(base + width, of_k, mask=there)
    tl.store(base + 2 * width, of_v, mask=there)


def _block(width: int) -> dict[str, Any]:
    """Threads in proportion to the width: measured best on an H100 for 384, 768 and 1,152."""
    block = triton.next_power_of_2(width)
    return {"BLOCK": block, "num_warps": min(8, max(1, block // 256))}


def norm_forward(h: Tensor, added: tuple[Tensor, Tensor, Tensor] | None, s: Tensor, c: Tensor) -> tuple[Tensor, ...]:
    """Add a branch and norm: h' = h + g·(o + b), LN(h')·(1 + c) + s, and the norm's mean and 1/σ [N, T].

    h, o (N, T, D) contiguous; b (D,); g, s, c (N, D) with one common row stride. Without `added` (o, b, g) h' is h.
    """
    n, tokens, width = h.shape
    out = torch.empty_like(h)
    mean, rstd = (torch.empty(n, tokens, device=h.device, dtype=torch.float32) for _ in range(2))
    total = h if added is None else torch.empty_like(h)
    o, b, g = added or (h, s, s)
    _norm_forward[(n * tokens,)](
        h, o, b, g, s, c, total, out, mean, rstd, tokens, width, s.stride(0), EPS, ADDED=added is not None,
        **_block(width),
    )  # fmt: skip
    return total, out, mean, rstd


def norm_backward(
    dm: Tensor,
    dh: Tensor | None,
    h: Tensor,
    added: tuple[Tensor, Tensor, Tensor] | None,
    s: Tensor,
    c: Tensor,
    mean: Tensor,
    rstd: Tensor,
) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
    """(dh, do, m, sums): gradients of h and o, the modulated norm again, and Σ over tokens, (N, 4, D) fp32.

    The sums are the gradients of s and c and, with `added`, that of g and Σ dh, from which b's is Σ_n g·Σ dh.
    """
    n, tokens, width = h.shape
    chunks = triton.cdiv(tokens, ALONG)
    out, m = torch.empty_like(h), torch.empty_like(h)
    do = None if added is None else torch.empty_like(h)
    sums = torch.empty(n, chunks, 4, width, device=h.device, dtype=torch.float32)
    o, b, g = added or (h, s, s)
    _norm_backward[(n, chunks)](
        dm, h if dh is None else dh, h, o, b, g, s, c, mean, rstd, out, out if do is None else do, m, sums, tokens,
        width, s.stride(0), chunks, ADDED=added is not None, STREAM=dh is not None, ALONG=ALONG, **_block(width),
    )  # fmt: skip
    return out, do, m, sums.sum(1) if chunks > 1 else sums[:, 0]


def gelu_forward(u: Tensor, b: Tensor) -> Tensor:
    """GELU(u + b), the tanh form; u (R, F), b (F,)."""
    rows, width = u.shape
    out = torch.empty_like(u)
    _gelu_forward[(triton.cdiv(rows, ROWS), triton.cdiv(width, COLUMNS))](
        u, b, out, rows, width, ROWS=ROWS, COLUMNS=COLUMNS, num_warps=4
    )
    return out


def gelu_backward(u: Tensor, b: Tensor, da: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(du, GELU(u + b) again, Σ du over rows [F] fp32); u, da (R, F). du takes the memory of da."""
    rows, width = u.shape
    tall = triton.cdiv(rows, ROWS * LOOPS)
    a = torch.empty_like(u)
    sums = torch.empty(tall, width, device=u.device, dtype=torch.float32)
    _gelu_backward[(tall, triton.cdiv(width, COLUMNS))](
        u, b, da, da, a, sums, rows, width, LOOPS=LOOPS, ROWS=ROWS, COLUMNS=COLUMNS, num_warps=4
    )
    return da, a, sums.sum(0)


def pack(dq: Tensor, dk: Tensor, dv: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of q, k, v, each (N, heads, T, d) of any strides, as one of qkv (N, T, 3·D); and its sum [3·D] fp32."""
    n, heads, tokens, head = dq.shape
    width, chunks = heads * head, triton.cdiv(tokens, ALONG)
    parts = [part if part.stride(-1) == 1 else part.contiguous() for part in (dq, dk, dv)]
    out = torch.empty(n, tokens, 3 * width, device=dq.device, dtype=dq.dtype)
    sums = torch.empty(n, chunks, 3 * width, device=dq.device, dtype=torch.float32)
    strides = [part.stride(i) for part in parts for i in range(3)]
    _pack[(n, chunks)](
        *parts, out, sums, tokens, width, head, chunks, *strides, ALONG=ALONG, **_block(width)
    )  # fmt: skip
    return out, sums.sum((0, 1))
