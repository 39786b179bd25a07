"""The CPU backend: activations are float32 wherever the processor has no bfloat16 matrix products.

Half-precision weights stay in memory as they are stored, and each GEMM widens them a tile at a time. That halves the
memory and bandwidth of float32 weights, and the results are as exact.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from upsize.compute.plan import PREFILL_CHUNK
from upsize.compute.pytorch.operations import TorchOperations
from upsize.compute.pytorch.qwen3 import Linear

TILE = 512
"""Rows of a weight that are widened at once: 512 × 4096 float32 values are 8 MB, which stay in the cache until use."""


class CpuBackend(TorchOperations):
    """Weights in `precision`; GEMMs in float32, or in bfloat16 where the precision is bfloat16 and the CPU has it."""

    device = torch.device("cpu")
    chunk_rows = PREFILL_CHUNK["cpu"]

    def __init__(self, precision: torch.dtype, native_bfloat16: bool) -> None:
        self.precision = precision
        native = native_bfloat16 and precision == torch.bfloat16
        self.dtype = torch.bfloat16 if native else torch.float32

    def linear(self, weights: Sequence[Tensor]) -> Linear:
        """As `Backend.linear`. Weights that already have the precision are not copied."""
        converted = [w.to(self.precision) for w in weights]
        return _WideningLinear(converted) if self.precision != self.dtype else _PlainLinear(converted)


class _PlainLinear:
    def __init__(self, weights: Sequence[Tensor]) -> None:
        self.weights = weights

    def __call__(self, x: Tensor) -> Tensor:
        parts = [F.linear(x, w) for w in self.weights]
        return parts[0] if len(parts) == 1 else torch.cat(parts, -1)


class _WideningLinear:
    """float32 activations times half-precision weights, which are widened a tile at a time."""

    def __init__(self, weights: Sequence[Tensor]) -> None:
        self.weights = weights
        self.outputs = sum(len(w) for w in weights)

    def __call__(self, x: Tensor) -> Tensor:
        out = torch.empty(len(x), self.outputs)
        column = 0
        for weight in self.weights:
            for tile in torch.split(weight, TILE):
                torch.mm(x, tile.float().t(), out=out[:, column : column + len(tile)])
                column += len(tile)
        return out
