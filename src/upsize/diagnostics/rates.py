"""What this machine does: passes through a few layers of the family's shape, and memory reads.

Other processes disturb such a measurement, most of all one on several threads: where one of them waits for a processor,
all wait for it. So each figure is the fastest of several runs; while others took part of the processor, or the runs
differ widely, it is measured again; and if that does not help, the CPU time of the same work on one thread tells what
the machine would do if it were quiet. `Rates.noisy` then says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from upsize.catalog import FAMILY
from upsize.compute import Machine, native
from upsize.compute.contention import BUSY, Contention
from upsize.compute.plan import CUDA_BUDGET, INT8, ExecutionPlan, runs_on_kernels
from upsize.diagnostics.random_models import config_of, random_weights
from upsize.model.config import ModelConfig
from upsize.model.flops import pass_flops
from upsize.model.stored_tensor import Array
from upsize.model.weights import expected_shapes

if TYPE_CHECKING:
    from upsize.compute.pytorch import TorchNetwork

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


SECONDS = 0.25
"""That one figure is measured for."""
TRIES = 3
"""Times that a figure is measured at most."""
AGAIN = 10.0
"""Seconds at most, for all figures together, in which disturbed ones are measured again."""
WIDE = 0.5
"""Spread of a figure's runs, (median − fastest) / fastest, from which they count as disturbed: it shows what no counter
of this machine tells, such as a hypervisor that gives its processors to others."""
LONG = 1.0
"""Seconds of a run from which one more is enough: on a quiet machine none takes so long."""
ONE_THREAD = 0.85
"""Share of its threads' rates together that a machine does, for the estimate from one thread's CPU time: threads share
the memory and end at different moments. Chosen, low for compute-bound work."""

ProgressCallback = Callable[[int, int, str], None]
"""Is told before each figure: how many are measured, of how many, and which comes."""


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
    busy: float = 0.0
    """Share of the processor that others took while the most disturbed figure was measured, at its best try."""
    spread: float = 0.0
    """(median − fastest) / fastest of the runs of the figure that varied most, at its best try."""

    @property
    def noisy(self) -> bool:
        """Whether something disturbed a figure at every try: then the rates are estimates that nothing may rest on
        alone."""
        return self.busy >= BUSY or self.spread >= WIDE

    @property
    def noise(self) -> str | None:
        """What disturbed them, as the rest of a sentence; None where nothing did."""
        if self.busy >= BUSY:
            return f"other processes took {self.busy:.0%} of the processor while its rates were measured"
        if self.spread >= WIDE:
            return f"the runs that measured its rates differed by {self.spread:.0%}"
        return None

    def batch_rate(self, precision: str, hidden: int) -> float:
        """Operations a second at any hidden size: between two measured ones in proportion, beyond as at the nearer.
        A precision that was not measured counts as bfloat16."""
        return _between(self.batch.get(precision, self.batch["bfloat16"]), hidden)

    def query_rate(self, precision: str, hidden: int) -> float:
        """The same of one short query."""
        return _between(self.query.get(precision, self.query["bfloat16"]), hidden)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self) | {"noisy": self.noisy}


def measure_rates(
    machine: Machine,
    device: str = "auto",
    seconds: float | None = None,
    on_progress: ProgressCallback | None = None,
    precisions: Collection[str] = PRECISIONS,
) -> Rates:
    """Measure on the CPU or the first GPU, each figure for about `seconds` (default SECONDS), and again for up to AGAIN
    in all where it was disturbed; putting the layers there comes on top. Of PRECISIONS those in `precisions` and
    bfloat16 are measured, so far as this machine computes them."""
    if device == "auto":
        device = "cuda" if machine.gpus else "cpu"
    plan = [p for p in _planned(machine, device) if p[0] in {"bfloat16", *precisions}]
    contention = Contention(machine.threads if device == "cpu" else 1)
    clock = Clock(contention, SECONDS if seconds is None else seconds)
    batch: dict[str, Curve] = {}
    query: dict[str, Curve] = {}
    for done, (precision, compiled, hidden) in enumerate(plan):
        if on_progress is not None:
            on_progress(done, len(plan) + 1, f"{precision} at hidden size {hidden:,}")
        shape, layers = SHAPES[hidden]
        passes = _passes(machine, device, precision, compiled, shape, layers)
        for tokens, curves in ((FULL if device == "cpu" else CUDA_FULL, batch), (QUERY, query)):
            curves.setdefault(precision, {})[hidden] = _rate(shape, layers, passes, tokens, clock)
    if on_progress is not None:
        on_progress(len(plan), len(plan) + 1, "memory reads")
    read = _read_bytes(machine, device, clock)
    return Rates(device, batch, query, read, clock.busy, clock.spread)


def _planned(machine: Machine, device: str) -> Iterator[tuple[str, bool, int]]:
    """Precision, whether the compiled kernels do it, and hidden size of each network that is measured."""
    for precision in PRECISIONS:
        compiled = runs_on_kernels(device, precision, machine.kernels, machine.torch)
        if not compiled and (precision == INT8 or not machine.torch):
            continue
        slow = device == "cpu" and not compiled  # and as fast at any size
        for hidden in list(SHAPES)[: 1 if slow else None]:
            yield precision, compiled, hidden


def _between(curve: Curve, hidden: int) -> float:
    sizes = sorted(curve)
    return float(np.interp(hidden, sizes, [curve[size] for size in sizes]))


def _read_bytes(machine: Machine, device: str, clock: Clock) -> float:
    if device != "cpu":
        import torch

        values = torch.ones(16 * BLOCK, device=device)
        return values.nbytes / clock.fastest(lambda: values.sum().item())
    block = np.ones(BLOCK, np.float32)
    parts = np.array_split(block, machine.threads)
    with ThreadPoolExecutor(machine.threads) as threads:
        return block.nbytes / clock.fastest(lambda: list(threads.map(np.max, parts)))


def _rate(shape: ModelConfig, layers: tuple[int, int], passes: Sequence[Pass], tokens: int, clock: Clock) -> float:
    """Of the layers that the deeper network has more: what a pass takes besides is in both."""
    few, more = (clock.fastest(partial(run, tokens), partial(run.alone, tokens)) for run in passes)
    lean, whole = (pass_flops(replace(shape, layers=count), tokens) for count in layers)
    share = (whole - lean) / whole
    return (whole - lean) / max(more - few, share * more / 2)  # a disturbed first run must not make it infinite


@dataclass(frozen=True)
class Pass:
    """A network of some layers: runs one sequence of so many tokens, and remembers nothing of the one before."""

    network: native.NativeQwen3 | TorchNetwork
    threads: int
    on_cpu: bool

    def __call__(self, tokens: int) -> None:
        """Run it on all threads."""
        for _ in self.network.forward(np.zeros(tokens, np.int32), [0, tokens]):
            pass

    def alone(self, tokens: int) -> float:
        """Run it on the calling thread alone; the seconds that all threads would take if none had to wait. Infinite on
        a GPU, where CPU time says nothing."""
        if not self.on_cpu:
            return float("inf")
        self._use(1)
        try:
            begun = time.thread_time()
            self(tokens)
            return (time.thread_time() - begun) / max(self.threads * ONE_THREAD, 1.0)
        finally:
            self._use(self.threads)

    def _use(self, threads: int) -> None:
        if isinstance(self.network, native.NativeQwen3):
            self.network.use_threads(threads)
        else:
            import torch

            torch.set_num_threads(threads)


def _passes(
    machine: Machine, device: str, precision: str, compiled: bool, shape: ModelConfig, layers: tuple[int, int]
) -> list[Pass]:
    """Networks of so many layers."""
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
            networks.append(
                native.NativeQwen3(config, packed, vectors, precision, machine.threads, prefix_cache_bytes=0)
            )
        else:
            from upsize.compute.pytorch import TorchNetwork

            plan = ExecutionPlan(device, precision, shape.max_positions, CUDA_BUDGET, 0, 0)
            networks.append(TorchNetwork(config, load, plan, machine.bfloat16_products, machine.threads))
    return [Pass(network, machine.threads, device == "cpu") for network in networks]


class Clock:
    """Times runs, and notes what disturbed them."""

    def __init__(self, contention: Contention, seconds: float) -> None:
        self._contention, self._seconds, self._left = contention, seconds, AGAIN
        self._lasting = False
        """Whether the figure before stayed disturbed."""
        self.busy = self.spread = 0.0

    def fastest(self, run: Callable[[], object], alone: Callable[[], float] | None = None) -> float:
        """Seconds of the fastest run, of several tries where it is disturbed. `alone` estimates the seconds without any
        disturbance; it counts where all tries were disturbed."""
        if self._lasting and alone is not None and (estimate := self._estimated(alone)) < float("inf"):
            return estimate
        best, busy, spread = float("inf"), 1.0, float("inf")
        for tried in range(1, TRIES + 1):
            begun = time.monotonic()
            self._contention.restart()
            seconds, varied = _fastest(run, self._seconds)
            taken = self._contention.share()
            best = min(best, seconds)
            busy, spread = min((busy, spread), (taken, varied))
            if busy < BUSY and spread < WIDE:
                break
            self._left -= time.monotonic() - begun
            if self._left <= 0 or tried == TRIES:
                if alone is not None:
                    best = min(best, alone(), alone())
                self._lasting = True
                break
        self.busy, self.spread = max(self.busy, busy), max(self.spread, spread)
        return best

    def _estimated(self, alone: Callable[[], float]) -> float:
        """The estimate alone, for threads that wait for one another take ten times as long on a busy machine; infinite
        where the machine has become quiet."""
        self._contention.restart()
        best = min(alone(), alone())
        taken = self._contention.share()
        if taken < BUSY:
            self._lasting = False
            return float("inf")
        self.busy = max(self.busy, taken)
        return best


def _fastest(run: Callable[[], object], seconds: float) -> tuple[float, float]:
    """Seconds of the fastest run of those that fit into `seconds`, two at least after one to warm up, or one where that
    took LONG; and their spread, (median − fastest) / fastest."""
    begun = time.perf_counter()
    run()
    long = time.perf_counter() - begun > LONG
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < (1 if long else 2) or time.perf_counter() < end:
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    best = min(times)
    return best, (float(np.median(times)) - best) / max(best, 1e-9)
