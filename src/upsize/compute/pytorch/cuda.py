"""NVIDIA GPUs: weights on the device, packed attention through torch's own variable-length FlashAttention call."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from upsize.compute.plan import SLAB
from upsize.compute.pytorch.network import Linear
from upsize.compute.pytorch.operations import TorchOperations


class CudaBackend(TorchOperations):
    """Weights and activations in `precision` on one GPU."""

    slab = SLAB["cuda"]

    def __init__(self, precision: torch.dtype, device: torch.device) -> None:
        self.dtype, self.device = precision, device

    def linear(self, weights: Sequence[Tensor]) -> Linear:
        """Move the weights to the device side by side, so that one product serves them all."""
        joined = torch.cat([w.to(self.device, self.dtype) for w in weights])
        return lambda x: F.linear(x, joined)

    def attention(self, q: Tensor, k: Tensor, v: Tensor, cu_q: Sequence[int], cu_k: Sequence[int]) -> Tensor:
        """FlashAttention over all sequences in one call; float32, which it does not take, one sequence at a time."""
        if self.dtype == torch.float32:
            return super().attention(q, k, v, cu_q, cu_k)
        from torch.nn.attention.varlen import varlen_attn

        def bounds(cu: Sequence[int]) -> Tensor:
            return torch.tensor(cu, dtype=torch.int32, device=self.device)

        longest_q, longest_k = (max(b - a for a, b in pairwise(cu)) for cu in (cu_q, cu_k))
        # With a window of (-1, 0) the queries are aligned to the end of their keys, as Backend.attention asks.
        attended = varlen_attn(
            q, k, v, bounds(cu_q), bounds(cu_k), longest_q, longest_k, window_size=(-1, 0), enable_gqa=True
        )
        assert isinstance(attended, Tensor)
        return attended.flatten(1)
