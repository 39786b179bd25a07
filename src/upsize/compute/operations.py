"""What every torch device does alike: norm, rotation, SwiGLU, and attention one sequence at a time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


class TorchOperations:
    """The operations of a `Backend` that need no knowledge of the device."""

    device: torch.device
    dtype: torch.dtype
    slab: int

    def norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        """RMSNorm over the last dimension, in float32 inside."""
        return F.rms_norm(x.float(), weight.shape, weight, eps).to(self.dtype)

    def rotary(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Rotary embedding over halves of the head dimension (Su et al. 2021, in the GPT-NeoX layout)."""
        first, second = x.float().chunk(2, -1)
        cos, sin = cos[:, None], sin[:, None]
        return torch.cat((first * cos - second * sin, second * cos + first * sin), -1).to(self.dtype)

    def activation(self, gate_up: Tensor) -> Tensor:
        """SwiGLU (Shazeer 2020)."""
        gate, up = gate_up.chunk(2, -1)
        return F.silu(gate).mul_(up)

    def attention(self, q: Tensor, k: Tensor, v: Tensor, cu_q: Sequence[int], cu_k: Sequence[int]) -> Tensor:
        """Causal attention by one fused call a sequence. Memory grows with the queries times the longest keys."""
        out = torch.empty(len(q), q.shape[1] * q.shape[2], dtype=q.dtype, device=q.device)
        for i in range(len(cu_q) - 1):
            queries, seen = slice(cu_q[i], cu_q[i + 1]), slice(cu_k[i], cu_k[i + 1])
            out[queries] = _attend(q[queries], k[seen], v[seen])
        return out


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """One sequence: the queries are the last len(q) of its len(k) positions."""
    rows, total = len(q), len(k)
    mask = None
    if 1 < rows < total:
        mask = torch.ones(rows, total, dtype=torch.bool, device=q.device).tril(total - rows)
    attended = F.scaled_dot_product_attention(
        q.transpose(0, 1)[None],
        k.transpose(0, 1)[None],
        v.transpose(0, 1)[None],
        attn_mask=mask,
        is_causal=1 < rows == total,
        enable_gqa=True,
    )
    return attended[0].transpose(0, 1).reshape(rows, -1)
