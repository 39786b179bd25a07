"""What this machine does: passes through a few layers of the family's shape, and memory reads."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
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
from upsize.model.tensors import Array
from upsize.model.weights import expected_shapes

if TYPE_CHECKING:
    from upsize.compute.pytorch import TorchNetwork

Pass = Callable[[int], None]
PRECISIONS = ("float32", "bfloat16", INT8)
FULL, QUERY = 512, 27
"""Tokens of a full batch on the CPU, and of one short query (with the default instruction)."""
CUDA_FULL = 16 * FULL
SMALL, LARGE = (replace(config_of(member), vocab_size=256) for member in FAMILY[:2])
SHAPES: Mapping[int, tuple[ModelConfig, tuple[int, int]]] = {
    SMALL.hidden_size: (SMALL, (3, 5)),
    LARGE.hidden_size: (LARGE, (1, 2)),
}
"""Hidden size → the shape (0.6B, 4B), and the layers of two networks whose difference is that of whole layers. They do
not fit into a cache: read from memory, as a model's are."""
BLOCK = 64 << 20
"""float32 values that are read: more than any cache holds."""


Curve = dict[int, float]


@dataclass(frozen=True)
class Rates:
    """Measured in a second or so each: good to some ten per cent, on a quiet machine."""

    device: str
    batch: dict[str, Curve]
    """Precision → hidden size of a measured shape → floating-point operations of products that its layers do a second,
    of a full batch."""
    query: dict[str, Curve]
    """The same of one short query, where reading the weights counts for more."""
    read_bytes: float
    """Bytes a second read from memory."""

    def of_batch(self, precision: str, hidden: int) -> float:
        """Operations a second at any hidden size: between two measured ones in proportion, beyond as at the nearer.
        A precision that was not measured counts as bfloat16."""
        return _between(self.batch.get(precision, self.batch["bfloat16"]), hidden)

    def of_query(self, precision: str, hidden: int) -> float:
        """The same of one short query."""
        return _between(self.query.get(precision, self.query["bfloat16"]), hidden)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def measure_rates(machine: Machine, device: str = "auto", seconds: float = 0.25) -> Rates:
    """Measure on the CPU or the first GPU, each figure for about `seconds`; putting the layers there comes on top."""
    if device == "auto":
        device = "cuda" if machine.gpus else "cpu"
    batch: dict[str, Curve] = {}
    query: dict[str, Curve] = {}
    full = FULL if device == "cpu" else CUDA_FULL
    for precision in PRECISIONS:
        compiled = carried(device, precision, machine.kernels, machine.torch)
        if not compiled and (precision == INT8 or not machine.torch):
            continue
        slow = device == "cpu" and not compiled  # and as fast at any size
        batch[precision], query[precision] = {}, {}
        for hidden, (shape, layers) in list(SHAPES.items())[: 1 if slow else None]:
            passes = _passes(machine, device, precision, compiled, shape, layers)
            for tokens, curve in ((full, batch[precision]), (QUERY, query[precision])):
                curve[hidden] = _rate(shape, layers, passes, tokens, seconds)
    return Rates(device, batch, query, _read_bytes(machine, device, seconds))


def _between(curve: Curve, hidden: int) -> float:
    sizes = sorted(curve)
    return float(np.interp(hidden, sizes, [curve[size] for size in sizes]))


def _read_bytes(machine: Machine, device: str, seconds: float) -> float:
    if device != "cpu":
        import torch

        values = torch.ones(16 * BLOCK, device=device)
        return values.nbytes / _fastest(lambda: values.sum().item(), seconds)
    block = np.ones(BLOCK, np.float32)
    parts = np.array_split(block, machine.threads)
    with ThreadPoolExecutor(machine.threads) as threads:
        return block.nbytes / _fastest(lambda: list(threads.map(np.max, parts)), seconds)


def products(config: ModelConfig, tokens: int) -> float:
    """Floating-point operations of the products of one pass; the last layer's but keys and values are of one row."""
    layer = [
        shape for name, shape in expected_shapes(config).items() if name.startswith("layers.0.") and len(shape) > 1
    ]
    keys = 2 * config.kv_heads * config.head_dim * config.hidden_size
    return 2.0 * tokens * ((config.layers - 1) * sum(map(prod, layer)) + keys)


def _rate(shape: ModelConfig, layers: tuple[int, int], passes: Sequence[Pass], tokens: int, seconds: float) -> float:
    """Of the layers that the deeper network has more: what a pass takes besides is in both."""
    few, more = (_fastest(partial(run, tokens), seconds) for run in passes)
    lean, whole = (products(replace(shape, layers=count), tokens) for count in layers)
    share = (whole - lean) / whole
    return (whole - lean) / max(more - few, share * more / 2)  # a disturbed first run must not make it infinite


def _passes(
    machine: Machine, device: str, precision: str, compiled: bool, shape: ModelConfig, layers: tuple[int, int]
) -> list[Pass]:
    """Networks of so many layers: each runs one sequence of so many tokens, and remembers nothing of the one before."""
    deepest = replace(shape, layers=max(layers))
    shapes = expected_shapes(deepest)
    networks: list[native.NativeQwen3 | TorchNetwork] = []

    def load(name: str) -> Array:
        return random_weights(shapes[name])

    packed = dict(native.packed_arrays(deepest, load, precision)) if compiled else {}
    for count in layers:
        config = replace(shape, layers=count)
        if compiled:
            vectors = load("embed_tokens.weight")
            networks.append(native.NativeQwen3(config, packed, vectors, precision, machine.threads, remembered=0))
        else:
            from upsize.compute.pytorch import TorchNetwork

            plan = Plan(device, precision, shape.max_positions, CUDA_BUDGET, 0, 0)
            networks.append(TorchNetwork(config, load, plan, machine.bfloat16_products, machine.threads))
    return [partial(_run, network) for network in networks]


def _run(network: native.NativeQwen3 | TorchNetwork, tokens: int) -> None:
    _exhaust(network.forward(np.zeros(tokens, np.int32), [0, tokens]))


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
