"""The CPU: activations in float32 wherever the processor has no bfloat16 products of its own.

Half-precision weights stay in memory as they are stored, and are widened a tile at a time on their way into the
product: half the memory and the bandwidth of float32 weights, and results as exact.
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
"""Rows of a weight widened at once: 512 × 4096 float32 is 8 MB, which stays in the cache until it is used."""


class CpuBackend(TorchOperations):
    """Weights in `precision`; products in float32, or in bfloat16 if `native_bfloat16` and that is the precision."""

    device = torch.device("cpu")
    chunk_rows = PREFILL_CHUNK["cpu"]

    def __init__(self, precision: torch.dtype, native_bfloat16: bool) -> None:
        self.precision = precision
        native = native_bfloat16 and precision == torch.bfloat16
        self.dtype = torch.bfloat16 if native else torch.float32

    def linear(self, weights: Sequence[Tensor]) -> Linear:
        """Keep weights that already have the precision as they are; convert the others once."""
        kept = [w.to(self.precision) for w in weights]
        return _Widening(kept) if self.precision != self.dtype else _Direct(kept)


class _Direct:
    """The product as it is."""

    def __init__(self, weights: Sequence[Tensor]) -> None:
        self.weights = weights

    def __call__(self, x: Tensor) -> Tensor:
        parts = [F.linear(x, w) for w in self.weights]
        return parts[0] if len(parts) == 1 else torch.cat(parts, -1)


class _Widening:
    """float32 activations times half-precision weights, widened tile by tile."""

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
