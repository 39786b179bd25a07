"""Operations that all torch devices share: norm, RoPE, SwiGLU, and attention by equal lengths."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from upsize.compute.pytorch.qwen3 import AttentionBounds


class TorchOperations:
    """The operations of a `Backend` that do not depend on the device."""

    device: torch.device
    dtype: torch.dtype
    chunk_rows: int

    def norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        """As `Backend.norm`."""
        return F.rms_norm(x.float(), weight.shape, weight, eps).to(self.dtype)

    def rope(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Rotary position embedding over halves of the head dimension (Su et al. 2021, GPT-NeoX layout)."""
        first, second = x.float().chunk(2, -1)
        cos, sin = cos[:, None], sin[:, None]
        return torch.cat((first * cos - second * sin, second * cos + first * sin), -1).to(self.dtype)

    def add_norm(self, x: Tensor, delta: Tensor, weight: Tensor, eps: float) -> Tensor:
        """As `Backend.add_norm`."""
        x += delta
        return self.norm(x, weight, eps)

    def norm_rope(
        self,
        qkv: Tensor,
        weights: tuple[Tensor, Tensor],
        tables: tuple[Tensor, Tensor],
        keys: Tensor,
        values: Tensor,
        eps: float,
    ) -> Tensor:
        """As `Backend.heads`."""
        q, k, v = torch.split(qkv, [qkv.shape[1] - 2 * keys.shape[1], keys.shape[1], keys.shape[1]], 1)
        keys[:] = self.rope(TorchOperations.norm(self, k, weights[1], eps), *tables)
        values[:] = v
        return self.rope(TorchOperations.norm(self, q, weights[0], eps), *tables)

    def activation(self, gate_up: Tensor) -> Tensor:
        """As `Backend.activation`."""
        gate, up = gate_up.chunk(2, -1)
        return F.silu(gate).mul_(up)

    def attention_bounds(self, cu_q: Sequence[int], cu_k: Sequence[int]) -> AttentionBounds:
        """As `Backend.attention_bounds`."""
        return AttentionBounds(cu_q, cu_k)

    def attention(self, q: Tensor, k: Tensor, v: Tensor, bounds: AttentionBounds) -> Tensor:
        """As `Backend.attention`: one call of torch's attention for each run of sequences of equal lengths, without
        padding. Memory grows with the queries times the longest keys."""
        cu_q, cu_k = bounds.cu_q, bounds.cu_k
        out = torch.empty(len(q), q.shape[1] * q.shape[2], dtype=q.dtype, device=q.device)
        shapes = [(q1 - q0, k1 - k0) for (q0, q1), (k0, k1) in zip(pairwise(cu_q), pairwise(cu_k), strict=True)]
        first = 0
        for (rows, seen), run in groupby(shapes):
            last = first + sum(1 for _ in run)
            queries, seen_keys = slice(cu_q[first], cu_q[last]), slice(cu_k[first], cu_k[last])
            out[queries] = _attend(q[queries], k[seen_keys], v[seen_keys], rows, seen)
            first = last
        return out


def _attend(q: Tensor, k: Tensor, v: Tensor, rows: int, seen: int) -> Tensor:
    """Attention of sequences end to end, each with `rows` queries at the end of its `seen` positions."""
    mask = None
    if 1 < rows < seen:
        mask = torch.ones(rows, seen, dtype=torch.bool, device=q.device).tril(seen - rows)
    attended = F.scaled_dot_product_attention(
        q.view(-1, rows, *q.shape[1:]).transpose(1, 2),
        k.view(-1, seen, *k.shape[1:]).transpose(1, 2),
        v.view(-1, seen, *v.shape[1:]).transpose(1, 2),
        attn_mask=mask,
        is_causal=1 < rows == seen,
        enable_gqa=True,
    )
    return attended.transpose(1, 2).reshape(len(q), -1)
