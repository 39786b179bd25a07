"""What this machine does: passes through a few layers of the family's shape, and memory reads."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from upsize.catalog import FAMILY
from upsize.compute import Machine, native
from upsize.compute.plan import CUDA_BUDGET, INT8, Plan, carried
from upsize.measure.shapes import config_of, random_weights
from upsize.model.config import ModelConfig
from upsize.model.weights import Array, expected_shapes

if TYPE_CHECKING:
    from upsize.compute.pytorch import TorchNetwork

PRECISIONS = ("float32", "bfloat16", INT8)
FULL, QUERY = 512, 27
"""Tokens of a full batch on the CPU, and of one short query (with the default instruction)."""
CUDA_FULL = 16 * FULL
SHAPE: ModelConfig = replace(config_of(FAMILY[0]), layers=4, vocab_size=256)
"""Of the 0.6B, as many layers as do not fit into a cache: 126 MB in bfloat16, read from memory as a model's are."""
BLOCK = 64 << 20
"""float32 values that are read: more than any cache holds."""


@dataclass(frozen=True)
class Rates:
    """Measured in a second or so each: good to some ten per cent, on a quiet machine."""

    device: str
    batch: dict[str, float]
    """Precision → floating-point operations of products that a whole pass does a second, of a full batch."""
    query: dict[str, float]
    """The same of one short query, where reading the weights counts for more."""
    read_bytes: float
    """Bytes a second read from memory."""

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def measure_rates(machine: Machine, device: str = "auto", seconds: float = 0.25) -> Rates:
    """Measure on the CPU or the first GPU, each figure for about `seconds`; putting the layers there comes on top."""
    if device == "auto":
        device = "cuda" if machine.gpus else "cpu"
    batch, query = {}, {}
    full = FULL if device == "cpu" else CUDA_FULL
    for precision in PRECISIONS:
        compiled = carried(device, precision, machine.kernels, machine.torch)
        if not compiled and (precision == INT8 or not machine.torch):
            continue
        run = _pass(machine, device, precision, compiled)
        batch[precision], query[precision] = (
            _products(tokens) / _fastest(partial(run, tokens), seconds) for tokens in (full, QUERY)
        )
    return Rates(device, batch, query, _read_bytes(machine, device, seconds))


def _read_bytes(machine: Machine, device: str, seconds: float) -> float:
    if device != "cpu":
        import torch

        values = torch.ones(16 * BLOCK, device=device)
        return values.nbytes / _fastest(lambda: values.sum().item(), seconds)
    block = np.ones(BLOCK, np.float32)
    parts = np.array_split(block, machine.threads)
    with ThreadPoolExecutor(machine.threads) as threads:
        return block.nbytes / _fastest(lambda: list(threads.map(np.max, parts)), seconds)


def _products(tokens: int) -> float:
    """Floating-point operations of the products of one pass; the last layer's but keys and values are of one row."""
    layer = [shape for name, shape in expected_shapes(SHAPE).items() if name.startswith("layers.0.") and len(shape) > 1]
    keys = 2 * SHAPE.kv_heads * SHAPE.head_dim * SHAPE.hidden_size
    return 2.0 * tokens * ((SHAPE.layers - 1) * sum(map(prod, layer)) + keys)


def _pass(machine: Machine, device: str, precision: str, compiled: bool) -> Callable[[int], None]:
    """Runs one sequence of so many tokens, with nothing remembered of the one before."""
    shapes = expected_shapes(SHAPE)
    network: native.NativeQwen3 | TorchNetwork

    def load(name: str) -> Array:
        return random_weights(shapes[name])

    if compiled:
        packed, vectors = dict(native.packed_arrays(SHAPE, load, precision)), load("embed_tokens.weight")
        network = native.NativeQwen3(SHAPE, packed, vectors, precision, machine.threads, remembered=0)
    else:
        from upsize.compute.pytorch import TorchNetwork

        plan = Plan(device, precision, SHAPE.max_positions, CUDA_BUDGET, 0, 0)
        network = TorchNetwork(SHAPE, load, plan, machine.bfloat16_products, machine.threads)
    return lambda tokens: _exhaust(network.forward(np.zeros(tokens, np.int32), [0, tokens]))


def _exhaust(steps: Iterable[bool]) -> None:
    for _ in steps:
        pass


def _fastest(run: Callable[[], object], seconds: float) -> float:
    """Seconds of the fastest run of those that fit into `seconds`, two at least after one to warm up."""
    run()
    best, done, end = float("inf"), 0, time.perf_counter() + seconds
    while done < 2 or time.perf_counter() < end:
        started = time.perf_counter()
        run()
        best, done = min(best, time.perf_counter() - started), done + 1
    return best
