"""Measures how fast this machine is: passes through a few layers of the family's shapes, and memory reads.

Other processes disturb such a measurement, most of all one on several threads: when one thread waits for a core, all
threads wait for it. So each figure is the fastest of several runs. If other processes took part of the processor, or
the runs differ widely, the figure is measured again. If that does not help, it is estimated from the CPU time of the
same work on one thread, and `Rates.noisy` is true.
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
"""Tokens of a full batch on the CPU, and of one short query with the default instruction."""
CUDA_FULL = 16 * FULL
"""Tokens of a full batch on a GPU."""
SMALL, LARGE = (replace(config_of(member), vocab_size=256) for member in FAMILY[:2])
SHAPES: Mapping[int, tuple[ModelConfig, tuple[int, int]]] = {
    SMALL.hidden_size: (SMALL, (3, 5)),
    LARGE.hidden_size: (LARGE, (1, 2)),
}
"""Hidden size → the shape (0.6B, 4B), and the numbers of layers of two networks. The difference of their times is the
time of whole layers. Their weights do not fit into a cache, so they are read from memory as a model's are."""
BLOCK = 64 << 20
"""float32 values of a memory read, 256 MB: more than any cache holds."""

Curve = dict[int, float]
"""Hidden size → rate."""

SECONDS = 0.25
"""Seconds of measurement for one figure. Chosen."""
TRIES = 3
"""Measurements of a figure at most. Chosen."""
REMEASURE_SECONDS = 10.0
"""Seconds that all repeated measurements may take together. Chosen."""
MAX_SPREAD = 0.5
"""Spread of a figure's runs, (median − fastest) / fastest, from which they count as disturbed. The spread also shows
disturbances that no counter of this machine shows, such as a hypervisor that lends its cores to others. Chosen."""
LONG_RUN_SECONDS = 1.0
"""Seconds of a run from which one further run is enough. On a quiet machine no run takes so long."""
PARALLEL_EFFICIENCY = 0.85
"""Rate of all threads over the number of threads times the rate of one, for the estimate from one thread's CPU time.
Threads share the memory and end at different moments. Chosen; low for compute-bound work."""

ProgressCallback = Callable[[int, int, str], None]
"""Called before each figure with the number of measured figures, the number of all figures, and the next figure's
name."""


@dataclass(frozen=True)
class Rates:
    """Measured rates of a device. On a quiet machine they are accurate to some 10 %."""

    device: str
    batch: dict[str, Curve]
    """Precision → hidden size of a measured shape → floating-point operations a second in the GEMMs of a full batch."""
    query: dict[str, Curve]
    """The same rates for one short query, which is bound by reading the weights."""
    read_bytes: float
    """Memory bandwidth of reads, bytes a second."""
    busy: float = 0.0
    """Share of the processor that other processes took at the best try of the most disturbed figure."""
    spread: float = 0.0
    """(median − fastest) / fastest of the runs at the best try of the figure that varied most."""

    @property
    def noisy(self) -> bool:
        """Whether something disturbed a figure at every try. Such rates are estimates, and no decision may rest on
        them alone."""
        return self.busy >= BUSY or self.spread >= MAX_SPREAD

    @property
    def noise(self) -> str | None:
        """What disturbed the rates, as a clause of a sentence, or None."""
        if self.busy >= BUSY:
            return f"other processes took {self.busy:.0%} of the processor while its rates were measured"
        if self.spread >= MAX_SPREAD:
            return f"the runs that measured its rates differed by {self.spread:.0%}"
        return None

    def batch_rate(self, precision: str, hidden: int) -> float:
        """Operations a second of a full batch at any hidden size, interpolated linearly between measured sizes.

        Beyond these it is the rate of the nearest one. A precision that was not measured counts as bfloat16.
        """
        return _between(self.batch.get(precision, self.batch["bfloat16"]), hidden)

    def query_rate(self, precision: str, hidden: int) -> float:
        """Operations a second of one short query, interpolated as `batch_rate`."""
        return _between(self.query.get(precision, self.query["bfloat16"]), hidden)

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self) | {"noisy": self.noisy}


def measure_rates(
    machine: Machine,
    device: str = "auto",
    seconds: float | None = None,
    on_progress: ProgressCallback | None = None,
    precisions: Collection[str] = PRECISIONS,
) -> Rates:
    """Measure the rates of the CPU or the first GPU.

    Each figure takes about `seconds` (default SECONDS) plus the time to load the layers. Disturbed figures are repeated
    for up to REMEASURE_SECONDS in total. bfloat16 and those of PRECISIONS that are in `precisions` are measured, as far
    as this machine supports them.
    """
    if device == "auto":
        device = "cuda" if machine.gpus else "cpu"
    plan = [p for p in _planned(machine, device) if p[0] in {"bfloat16", *precisions}]
    contention = Contention(machine.threads if device == "cpu" else 1)
    timer = RateTimer(contention, SECONDS if seconds is None else seconds)
    batch: dict[str, Curve] = {}
    query: dict[str, Curve] = {}
    for done, (precision, compiled, hidden) in enumerate(plan):
        if on_progress is not None:
            on_progress(done, len(plan) + 1, f"{precision} at hidden size {hidden:,}")
        shape, layers = SHAPES[hidden]
        passes = _passes(machine, device, precision, compiled, shape, layers)
        for tokens, curves in ((FULL if device == "cpu" else CUDA_FULL, batch), (QUERY, query)):
            curves.setdefault(precision, {})[hidden] = _rate(shape, layers, passes, tokens, timer)
    if on_progress is not None:
        on_progress(len(plan), len(plan) + 1, "memory reads")
    read = _read_bytes(machine, device, timer)
    return Rates(device, batch, query, read, timer.busy, timer.spread)


def _planned(machine: Machine, device: str) -> Iterator[tuple[str, bool, int]]:
    """Precision, whether the compiled kernels run it, and hidden size, for each pair of networks to measure."""
    for precision in PRECISIONS:
        compiled = runs_on_kernels(device, precision, machine.kernels, machine.torch)
        if not compiled and (precision == INT8 or not machine.torch):
            continue
        slow = device == "cpu" and not compiled  # and equally fast at any size
        for hidden in list(SHAPES)[: 1 if slow else None]:
            yield precision, compiled, hidden


def _between(curve: Curve, hidden: int) -> float:
    sizes = sorted(curve)
    return float(np.interp(hidden, sizes, [curve[size] for size in sizes]))


def _read_bytes(machine: Machine, device: str, timer: RateTimer) -> float:
    if device != "cpu":
        import torch

        values = torch.ones(16 * BLOCK, device=device)
        return values.nbytes / timer.fastest(lambda: values.sum().item())
    block = np.ones(BLOCK, np.float32)
    parts = np.array_split(block, machine.threads)
    with ThreadPoolExecutor(machine.threads) as threads:
        return block.nbytes / timer.fastest(lambda: list(threads.map(np.max, parts)))


def _rate(
    shape: ModelConfig, layers: tuple[int, int], passes: Sequence[ForwardPass], tokens: int, timer: RateTimer
) -> float:
    """Operations a second of the layers that only the deeper network has. Everything else in a pass cancels."""
    few, more = (timer.fastest(partial(run, tokens), partial(run.single_thread_seconds, tokens)) for run in passes)
    lean, whole = (pass_flops(replace(shape, layers=count), tokens) for count in layers)
    share = (whole - lean) / whole
    return (whole - lean) / max(
        more - few, share * more / 2
    )  # so that a disturbed shallow run does not make the rate infinite


@dataclass(frozen=True)
class ForwardPass:
    """A network of a few layers without a prefix cache. A call runs one sequence of so many tokens."""

    network: native.NativeQwen3 | TorchNetwork
    threads: int
    on_cpu: bool

    def __call__(self, tokens: int) -> None:
        """Run a sequence of `tokens` tokens on all threads."""
        for _ in self.network.forward(np.zeros(tokens, np.int32), [0, tokens]):
            pass

    def single_thread_seconds(self, tokens: int) -> float:
        """Seconds that all threads would take if none had to wait, from the CPU time of a run on the calling thread.

        Infinity on a GPU, where CPU time says nothing.
        """
        if not self.on_cpu:
            return float("inf")
        self._use(1)
        try:
            begun = time.thread_time()
            self(tokens)
            return (time.thread_time() - begun) / max(self.threads * PARALLEL_EFFICIENCY, 1.0)
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
) -> list[ForwardPass]:
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
    return [ForwardPass(network, machine.threads, device == "cpu") for network in networks]


class RateTimer:
    """Times runs, and records how much other processes disturbed them."""

    def __init__(self, contention: Contention, seconds: float) -> None:
        self._contention, self._seconds, self._left = contention, seconds, REMEASURE_SECONDS
        self._stays_disturbed = False
        """Whether the previous figure was disturbed at every try."""
        self.busy = self.spread = 0.0

    def fastest(self, run: Callable[[], object], fallback: Callable[[], float] | None = None) -> float:
        """Seconds of the fastest run. A disturbed measurement is repeated.

        `fallback` estimates the seconds of an undisturbed run. It is used where all tries were disturbed.
        """
        if self._stays_disturbed and fallback is not None and (estimate := self._estimate(fallback)) < float("inf"):
            return estimate
        best, busy, spread = float("inf"), 1.0, float("inf")
        for tried in range(1, TRIES + 1):
            begun = time.monotonic()
            self._contention.restart()
            seconds, varied = _fastest(run, self._seconds)
            taken = self._contention.share()
            best = min(best, seconds)
            busy, spread = min((busy, spread), (taken, varied))
            if busy < BUSY and spread < MAX_SPREAD:
                break
            self._left -= time.monotonic() - begun
            if self._left <= 0 or tried == TRIES:
                if fallback is not None:
                    best = min(best, fallback(), fallback())
                self._stays_disturbed = True
                break
        self.busy, self.spread = max(self.busy, busy), max(self.spread, spread)
        return best

    def _estimate(self, fallback: Callable[[], float]) -> float:
        """The fallback alone, or infinity where the machine has become quiet.

        On a busy machine threads that wait for each other take ten times as long, so a full measurement is too slow.
        """
        self._contention.restart()
        best = min(fallback(), fallback())
        taken = self._contention.share()
        if taken < BUSY:
            self._stays_disturbed = False
            return float("inf")
        self.busy = max(self.busy, taken)
        return best


def _fastest(run: Callable[[], object], seconds: float) -> tuple[float, float]:
    """Seconds of the fastest run, and the spread of the runs, (median − fastest) / fastest.

    After a warm-up run, runs repeat for `seconds`, at least twice, or once if the warm-up took LONG_RUN_SECONDS.
    """
    begun = time.perf_counter()
    run()
    long = time.perf_counter() - begun > LONG_RUN_SECONDS
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < (1 if long else 2) or time.perf_counter() < end:
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    best = min(times)
    return best, (float(np.median(times)) - best) / max(best, 1e-9)
