"""The CUDA backend: weights on the GPU, packed attention through torch's variable-length FlashAttention.

The operations between the GEMMs are the Triton kernels of `fused`, where Triton is installed; torch includes it on
Linux.
"""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable, Sequence
from functools import cache, partial
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from upsize.compute.plan import PREFILL_CHUNK
from upsize.compute.pytorch.fp8 import Fp8Linear
from upsize.compute.pytorch.operations import TorchOperations
from upsize.compute.pytorch.qwen3 import AttentionBounds, Linear

TRITON = importlib.util.find_spec("triton") is not None


@cache
def _varlen() -> Callable[..., object]:
    """torch's variable-length attention. From torch 2.12 on it needs `enable_gqa` for grouped queries."""
    # A late import: it loads torch's compiler, which takes seconds that a process without a GPU does not need.
    from torch.nn.attention.varlen import varlen_attn

    grouped: dict[str, Any] = {"enable_gqa": True} if "enable_gqa" in inspect.signature(varlen_attn).parameters else {}
    return partial(varlen_attn, window_size=(-1, 0), **grouped)


class CudaBackend(TorchOperations):
    """Weights and activations in `precision` on one GPU. With `fp8` the GEMMs are fp8 and the rest is bfloat16."""

    chunk_rows = PREFILL_CHUNK["cuda"]

    def __init__(self, precision: torch.dtype, device: torch.device, fp8: bool = False) -> None:
        self.dtype, self.device, self.fp8 = precision, device, fp8
        self.fused = TRITON and device.type == "cuda"
        if device.type == "cuda":
            _varlen()  # its imports take seconds; the first request must not wait for them

    def linear(self, weights: Sequence[Tensor]) -> Linear:
        """As `Backend.linear`: the matrices are joined on the device, so that one GEMM computes all outputs."""
        joined = torch.cat([w.to(self.device, self.dtype) for w in weights])
        return Fp8Linear(joined) if self.fp8 else lambda x: F.linear(x, joined)

    def norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        """As `Backend.norm`, in one kernel."""
        if not self.fused:
            return super().norm(x, weight, eps)
        from upsize.compute.pytorch import fused

        return fused.norm(x, weight, eps, self.dtype)

    def add_norm(self, x: Tensor, delta: Tensor, weight: Tensor, eps: float) -> Tensor:
        """As `Backend.add_norm`, in one kernel."""
        if not self.fused:
            return super().add_norm(x, delta, weight, eps)
        from upsize.compute.pytorch import fused

        return fused.add_norm(x, delta, weight, eps, self.dtype)

    def norm_rope(
        self,
        qkv: Tensor,
        weights: tuple[Tensor, Tensor],
        tables: tuple[Tensor, Tensor],
        keys: Tensor,
        values: Tensor,
        eps: float,
    ) -> Tensor:
        """As `Backend.norm_rope`, in one kernel."""
        if not self.fused:
            return super().norm_rope(qkv, weights, tables, keys, values, eps)
        from upsize.compute.pytorch import fused

        return fused.norm_rope(qkv, weights, tables, keys, values, eps)

    def activation(self, gate_up: Tensor) -> Tensor:
        """As `Backend.activation`, in one kernel."""
        if not self.fused:
            return super().activation(gate_up)
        from upsize.compute.pytorch import fused

        return fused.activation(gate_up)

    def attention_bounds(self, cu_q: Sequence[int], cu_k: Sequence[int]) -> AttentionBounds:
        """As `Backend.attention_bounds`, with the bounds on the device: a later copy would wait for launched work."""

        def bounds(cu: Sequence[int]) -> Tensor:
            return torch.tensor(cu, dtype=torch.int32, device=self.device)

        def longest(cu: Sequence[int]) -> int:
            return max(b - a for a, b in pairwise(cu))

        return AttentionBounds(cu_q, cu_k, (bounds(cu_q), bounds(cu_k)), (longest(cu_q), longest(cu_k)))

    def attention(self, q: Tensor, k: Tensor, v: Tensor, bounds: AttentionBounds) -> Tensor:
        """As `Backend.attention`: one FlashAttention call for all sequences. It does not support float32, so float32
        runs as on other devices."""
        if self.dtype == torch.float32:
            return super().attention(q, k, v, bounds)
        # A window of (-1, 0) aligns the queries with the end of their keys, as Backend.attention requires.
        assert bounds.on_device is not None  # `attention_bounds` sets it
        attended = _varlen()(q, k, v, *bounds.on_device, *bounds.longest)
        assert isinstance(attended, Tensor)
        return attended.flatten(1)
