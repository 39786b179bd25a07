"""Triton kernels for the operations between the GEMMs on a GPU: each is one pass over memory, one program a row.

`operations.TorchOperations` has the same operations in torch; the tests compare the two. All arithmetic is float32.
"""
# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-any-return"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton import next_power_of_2


def norm(x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
    """RMSNorm of the rows of `x` (rows, width), computed in float32 and returned in `dtype`."""
    out = torch.empty_like(x, dtype=dtype)
    _norm[(len(x),)](x, x, weight, out, x.shape[1], eps, ADD=False, **_row(x.shape[1]))
    return out


def add_norm(x: Tensor, delta: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
    """Add `delta` to `x` in place, then as `norm`."""
    out = torch.empty_like(x, dtype=dtype)
    _norm[(len(x),)](x, delta, weight, out, x.shape[1], eps, ADD=True, **_row(x.shape[1]))
    return out


def norm_rope(
    qkv: Tensor,
    weights: tuple[Tensor, Tensor],
    tables: tuple[Tensor, Tensor],
    keys: Tensor,
    values: Tensor,
    eps: float,
) -> Tensor:
    """RMSNorm and RoPE of the query and key heads of `qkv` (rows, heads + 2 × kv_heads, head_dim).

    `weights` are the norm weights of queries and keys, `tables` the cosines and sines (rows, head_dim / 2). Returns the
    queries; writes keys and values to `keys` and `values` (rows, kv_heads, head_dim).
    """
    rows, all_heads, dim = qkv.shape
    kv = keys.shape[1]
    q = torch.empty(rows, all_heads - 2 * kv, dim, dtype=qkv.dtype, device=qkv.device)
    shape = {"HEADS": q.shape[1], "KV": kv, "HALF": dim // 2, "HALF_BLOCK": next_power_of_2(dim // 2)}
    blocks = {"HEADS_BLOCK": next_power_of_2(q.shape[1]), "KV_BLOCK": next_power_of_2(kv)}
    _norm_rope_qkv[(rows,)](qkv, *weights, *tables, q, keys, values, eps, **shape, **blocks, num_warps=4)
    return q


def activation(gate_up: Tensor) -> Tensor:
    """SwiGLU of (rows, 2 × width)."""
    rows, width = len(gate_up), gate_up.shape[1] // 2
    out = torch.empty(rows, width, dtype=gate_up.dtype, device=gate_up.device)
    block = min(next_power_of_2(width), 2048)
    _swiglu[(rows, triton.cdiv(width, block))](gate_up, out, width, BLOCK=block, num_warps=4)
    return out


def to_fp8(x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The rows of `x` in an fp8 `dtype`, and their scales (rows, 1) in float32."""
    out = torch.empty_like(x, dtype=dtype)
    scale = torch.empty(len(x), 1, dtype=torch.float32, device=x.device)
    _to_fp8[(len(x),)](x, out, scale, x.shape[1], LARGEST=torch.finfo(dtype).max, **_row(x.shape[1]))
    return out, scale


def _row(width: int) -> dict[str, int]:
    """Launch options of a program that reads a whole row."""
    block = next_power_of_2(width)
    return {"BLOCK": block, "num_warps": min(max(block // 256, 1), 16)}


@triton.jit
def _norm(x, delta, weight, out, width, eps, ADD: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64) * width
    i = tl.arange(0, BLOCK)
    inside = i < width
    value = tl.load(x + row + i, mask=inside, other=0.0).to(tl.float32)
    if ADD:
        value += tl.load(delta + row + i, mask=inside, other=0.0).to(tl.float32)
        tl.store(x + row + i, value, mask=inside)
    scale = tl.rsqrt(tl.sum(value * value, 0) / width + eps)
    value = value * scale * tl.load(weight + i, mask=inside, other=0.0)
    tl.store(out + row + i, value.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _norm_rope(x, weight, cosine, sine, to, eps, h, j, inside, HALF: tl.constexpr):
    at = h[:, None] * (2 * HALF) + j[None, :]
    first = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
    second = tl.load(x + at + HALF, mask=inside, other=0.0).to(tl.float32)
    scale = tl.rsqrt((tl.sum(first * first, 1) + tl.sum(second * second, 1)) / (2 * HALF) + eps)[:, None]
    first = first * scale * tl.load(weight + j, mask=j < HALF, other=0.0)[None, :]
    second = second * scale * tl.load(weight + HALF + j, mask=j < HALF, other=0.0)[None, :]
    tl.store(to + at, (first * cosine - second * sine).to(to.dtype.element_ty), mask=inside)
    tl.store(to + at + HALF, (second * cosine + first * sine).to(to.dtype.element_ty), mask=inside)


@triton.jit
def _norm_rope_qkv(
    qkv,
    q_weight,
    k_weight,
    cosines,
    sines,
    q,
    k,
    v,
    eps,
    HEADS: tl.constexpr,
    KV: tl.constexpr,
    HALF: tl.constexpr,
    HALF_BLOCK: tl.constexpr,
    HEADS_BLOCK: tl.constexpr,
    KV_BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    x = qkv + row * ((HEADS + 2 * KV) * 2 * HALF)
    j = tl.arange(0, HALF_BLOCK)
    cosine = tl.load(cosines + row * HALF + j, mask=j < HALF, other=0.0)[None, :]
    sine = tl.load(sines + row * HALF + j, mask=j < HALF, other=0.0)[None, :]
    h = tl.arange(0, HEADS_BLOCK)
    inside = (h[:, None] < HEADS) & (j[None, :] < HALF)
    _norm_rope(x, q_weight, cosine, sine, q + row * (HEADS * 2 * HALF), eps, h, j, inside, HALF)
    g = tl.arange(0, KV_BLOCK)
    inside = (g[:, None] < KV) & (j[None, :] < HALF)
    to = row * (KV * 2 * HALF)
    _norm_rope(x + HEADS * 2 * HALF, k_weight, cosine, sine, k + to, eps, g, j, inside, HALF)
    at = g[:, None] * (2 * HALF) + j[None, :]
    source = x + (HEADS + KV) * 2 * HALF
    tl.store(v + to + at, tl.load(source + at, mask=inside), mask=inside)
    tl.store(v + to + at + HALF, tl.load(source + at + HALF, mask=inside), mask=inside)


@triton.jit
def _swiglu(gate_up, out, width, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = i < width
    gate = tl.load(gate_up + row * 2 * width + i, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(gate_up + row * 2 * width + width + i, mask=inside, other=0.0).to(tl.float32)
    value = gate * tl.sigmoid(gate) * up
    tl.store(out + row * width + i, value.to(out.dtype.element_ty), mask=inside)


@triton.jit
def _to_fp8(x, out, scales, width, LARGEST: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, BLOCK)
    inside = i < width
    value = tl.load(x + row * width + i, mask=inside, other=0.0).to(tl.float32)
    scale = tl.maximum(tl.max(tl.abs(value), 0), 1e-12) / LARGEST
    tl.store(scales + row, scale)
    tl.store(out + row * width + i, (value / scale).to(out.dtype.element_ty), mask=inside)
