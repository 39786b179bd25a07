"""What `doctor` and `choose` foretell of a size on this machine, beside what it then takes and does.

The rates behind the estimates are measured first, in some ten seconds; then each checkpoint runs whole, in
a process of its own, on tokens drawn from the whole vocabulary.

usage: python -m benchmarks.estimates FOLDER … [--dtype bfloat16 int8] [--seconds 20]
"""

from __future__ import annotations

import argparse
import mmap
import multiprocessing
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import RESULTS, kernels_name, model_name, write
from upsize.catalog import FAMILY, FamilyMember
from upsize.compute import LoadedModel, load_model, this_machine, work_bytes
from upsize.compute.native import NativeQwen3
from upsize.diagnostics import measure_rates
from upsize.diagnostics.rates import FULL, QUERY
from upsize.diagnostics.size_estimates import estimate_sizes
from upsize.model import open_checkpoint
from upsize.model.config import ModelConfig
from upsize.selection.matrix.child import peak_resident_memory

PASSAGE = 128
"""Tokens; a full batch is of several."""
BEGINNINGS = 8
"""That texts share: more than are remembered, as after a long service."""
FEWEST = 5
"""Runs of each kind."""


def measure(
    folders: Sequence[str],
    precisions: Sequence[str],
    seconds: float,
    folder: Path = RESULTS,
    family: Sequence[FamilyMember] = FAMILY,
) -> Path:
    """Foretell, then run each checkpoint in each precision; the ratios of the two."""
    machine = this_machine()
    expectations = estimate_sizes(measure_rates(machine), machine.memory, machine.available, family)
    foretold = {(e.size, e.precision): e for e in expectations}
    rows = []
    for path in folders:
        config = open_checkpoint(path).config
        member = _member(path, config, family)
        for precision in precisions:
            estimate = foretold[member.size, precision]
            expected = {
                "memory_gb": (estimate.weight_bytes + work_bytes(config, FULL)) / 1e9,
                "tokens_per_second": estimate.tokens_per_second,
                "query_ms": estimate.query_ms,
            }
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                found: dict[str, float] = pool.apply(_run, (path, precision, seconds))
            rows.append(
                {
                    "model": model_name(path),
                    "precision": precision,
                    "estimated": {key: round(value, 3) for key, value in expected.items()},
                    "measured": {key: round(value, 3) for key, value in found.items()},
                    "estimated_over_measured": {key: round(expected[key] / found[key], 3) for key in expected},
                }
            )
    return write(f"estimates-{kernels_name()}", {"seconds": seconds, "rows": rows}, folder)


def _member(path: str, config: ModelConfig, family: Sequence[FamilyMember]) -> FamilyMember:
    """Whose shape the checkpoint has."""
    for member in family:
        if (member.kind, member.hidden_size, member.layers) == ("embedding", config.hidden_size, config.layers):
            return member
    raise SystemExit(f"{path} has the shape of no embedder of the family, and nothing is foretold of others.")


def _run(path: str, precision: str, seconds: float) -> dict[str, float]:
    """In a process of its own: medians of full batches and of single queries, and the peak of resident memory beyond
    Python and libraries."""
    before = peak_resident_memory()
    model = load_model(path, kind="embedding", device="cpu", dtype=precision)
    rng, vocabulary = np.random.default_rng(0), model.checkpoint.config.vocab_size
    _read_vectors(model)
    for _ in range(BEGINNINGS):
        first = rng.integers(0, vocabulary, PASSAGE - 16, dtype=np.int32)
        _once(model, [np.append(first, rng.integers(0, vocabulary, 16, dtype=np.int32)) for _ in range(4)])
    batch = _median(model, [PASSAGE] * (FULL // PASSAGE), seconds, rng)
    query = _median(model, [QUERY], seconds, rng)
    return {
        "memory_gb": (peak_resident_memory() - before) / 1e9,
        "tokens_per_second": FULL / batch,
        "query_ms": 1e3 * query,
    }


def _read_vectors(model: LoadedModel) -> None:
    """One value of each page: they are mapped, and what a service has come across of its vocabulary is in memory."""
    if isinstance(network := model._network, NativeQwen3):
        vectors = np.asarray(network._embedding).reshape(-1).view(np.uint8)
        vectors[:: mmap.PAGESIZE].max()


def _median(model: LoadedModel, lengths: Sequence[int], seconds: float, rng: np.random.Generator) -> float:
    """Seconds of one run, another batch each time: what was seen before would be remembered."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < FEWEST or time.perf_counter() < end:
        batch = [rng.integers(0, model.checkpoint.config.vocab_size, n, dtype=np.int32) for n in lengths]
        times.append(_once(model, batch))
    return float(np.median(times))


def _once(model: LoadedModel, batch: Sequence[Any]) -> float:
    started = time.perf_counter()
    for _ in model.run(batch):
        pass
    return time.perf_counter() - started


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", metavar="FOLDER")
    parser.add_argument("--dtype", nargs="+", default=["bfloat16", "int8"])
    parser.add_argument("--seconds", type=float, default=20.0, help="of each kind of run")
    given = parser.parse_args()
    measure(given.folders, given.dtype, given.seconds)
