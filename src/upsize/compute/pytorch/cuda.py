"""NVIDIA GPUs: weights on the device, packed attention through torch's own variable-length FlashAttention call.

What lies between the products runs in the kernels of `fused`, where Triton is installed; torch brings it on Linux.
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
    """The call. Grouped queries are asked for since torch 2.12, and before were simply taken."""
    # Imported here: it brings torch's compiler, seconds of imports that a process without a GPU has no use for.
    from torch.nn.attention.varlen import varlen_attn

    grouped: dict[str, Any] = {"enable_gqa": True} if "enable_gqa" in inspect.signature(varlen_attn).parameters else {}
    return partial(varlen_attn, window_size=(-1, 0), **grouped)


class CudaBackend(TorchOperations):
    """Weights and activations in `precision` on one GPU; with `fp8` products in that, and the rest in bfloat16."""

    chunk_rows = PREFILL_CHUNK["cuda"]

    def __init__(self, precision: torch.dtype, device: torch.device, fp8: bool = False) -> None:
        self.dtype, self.device, self.fp8 = precision, device, fp8
        self.fused = TRITON and device.type == "cuda"
        if device.type == "cuda":
            _varlen()  # what it imports takes seconds, which the first request should not wait for

    def linear(self, weights: Sequence[Tensor]) -> Linear:
        """Move the weights to the device side by side, so that one product serves them all."""
        joined = torch.cat([w.to(self.device, self.dtype) for w in weights])
        return Fp8Linear(joined) if self.fp8 else lambda x: F.linear(x, joined)

    def norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        """In one pass."""
        if not self.fused:
            return super().norm(x, weight, eps)
        from upsize.compute.pytorch import fused

        return fused.norm(x, weight, eps, self.dtype)

    def add_norm(self, x: Tensor, delta: Tensor, weight: Tensor, eps: float) -> Tensor:
        """In one pass."""
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
        """In one pass."""
        if not self.fused:
            return super().norm_rope(qkv, weights, tables, keys, values, eps)
        from upsize.compute.pytorch import fused

        return fused.norm_rope(qkv, weights, tables, keys, values, eps)

    def activation(self, gate_up: Tensor) -> Tensor:
        """In one pass."""
        if not self.fused:
            return super().activation(gate_up)
        from upsize.compute.pytorch import fused

        return fused.activation(gate_up)

    def attention_bounds(self, cu_q: Sequence[int], cu_k: Sequence[int]) -> AttentionBounds:
        """With the bounds on the device: once, for a copy would wait for all that was launched."""

        def bounds(cu: Sequence[int]) -> Tensor:
            return torch.tensor(cu, dtype=torch.int32, device=self.device)

        def longest(cu: Sequence[int]) -> int:
            return max(b - a for a, b in pairwise(cu))

        return AttentionBounds(cu_q, cu_k, (bounds(cu_q), bounds(cu_k)), (longest(cu_q), longest(cu_k)))

    def attention(self, q: Tensor, k: Tensor, v: Tensor, bounds: AttentionBounds) -> Tensor:
        """FlashAttention over all sequences in one call; float32, which it does not take, one sequence at a time."""
        if self.dtype == torch.float32:
            return super().attention(q, k, v, bounds)
        # With a window of (-1, 0) the queries are aligned to the end of their keys, as Backend.attention asks.
        assert bounds.on_device is not None  # `attention_bounds` sets it
        attended = _varlen()(q, k, v, *bounds.on_device, *bounds.longest)
        assert isinstance(attended, Tensor)
        return attended.flatten(1)
