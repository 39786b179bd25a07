"""What this machine does at most: matrix products through upsize's own operations, and memory reads."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from upsize.compute import Machine
from upsize.compute.cpu import CpuBackend
from upsize.compute.cuda import CudaBackend
from upsize.compute.plan import PRECISIONS
from upsize.model import Linear

FULL, QUERY = 512, 27
"""Rows of a full batch on the CPU, and of one short query (the tokens of one with the default instruction)."""
WIDTH = 2048
CPU_MATRICES, CUDA_MATRICES = 12, 64
"""Taken in turn, so that weights come from memory as a model's do: 100 MB in bfloat16, 200 in float32 on the CPU."""

CPU_BLOCK, CUDA_BLOCK = 64 << 20, 1 << 30
"""float32 values that are read: more than any cache holds."""


@dataclass(frozen=True)
class Rates:
    """Measured in a fraction of a second each: good to some ten per cent, on a quiet machine."""

    device: str
    products: dict[str, float]
    """Precision → floating-point operations a second, at FULL rows."""
    query_products: dict[str, float]
    """The same at QUERY rows, where reading the weights counts for more."""
    read_bytes: float
    """Bytes a second read from memory."""

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def measure_rates(machine: Machine, device: str = "auto", seconds: float = 0.25) -> Rates:
    """Measure on the CPU or the first GPU, each figure for about `seconds`. Takes five times that, and a little."""
    if device == "auto":
        device = "cuda" if machine.gpus else "cpu"
    products, query_products = {}, {}
    with torch.inference_mode():
        for precision in ("float32", "bfloat16"):
            rows = FULL if device == "cpu" else 16 * FULL
            dtype, linears = _linears(machine, device, precision)
            products[precision] = _product_rate(linears, dtype, rows, device, seconds)
            query_products[precision] = _product_rate(linears, dtype, QUERY, device, seconds)
        block = torch.ones(CPU_BLOCK if device == "cpu" else CUDA_BLOCK, device=device)
        read = block.nbytes / _fastest(block.sum, device, seconds)
    return Rates(device, products, query_products, read)


def _linears(machine: Machine, device: str, precision: str) -> tuple[torch.dtype, list[Linear]]:
    """The type of activations, and products as the model's layers do them."""
    dtype = PRECISIONS[precision]
    backend = (
        CpuBackend(dtype, machine.bfloat16_products) if device == "cpu" else CudaBackend(dtype, torch.device(device))
    )
    weight = torch.randn(WIDTH, WIDTH).to(dtype) / WIDTH**0.5
    matrices = CPU_MATRICES if device == "cpu" else CUDA_MATRICES
    return backend.dtype, [backend.linear([weight.clone()]) for _ in range(matrices)]


def _product_rate(linears: list[Linear], dtype: torch.dtype, rows: int, device: str, seconds: float) -> float:
    x = torch.randn(rows, WIDTH, device=device).to(dtype)

    def once() -> None:
        for linear in linears:
            linear(x)

    return 2 * rows * WIDTH * WIDTH * len(linears) / _fastest(once, device, seconds)


def _fastest(run: Callable[[], object], device: str, seconds: float) -> float:
    """Seconds of the fastest run of those that fit into `seconds`, two at least after one to warm up."""

    def wait() -> None:
        if device != "cpu":
            torch.cuda.synchronize()

    run()
    wait()
    best, done, end = float("inf"), 0, time.perf_counter() + seconds
    while done < 2 or time.perf_counter() < end:
        started = time.perf_counter()
        run()
        wait()
        best, done = min(best, time.perf_counter() - started), done + 1
    return best
