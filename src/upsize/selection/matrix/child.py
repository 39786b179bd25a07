"""One measurement in a process of its own: `python -m upsize.selection.matrix.child JSON` prints JSON.

A process of its own, because the peak memory of a process never falls, and because the system may kill a process that
takes too much memory.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upsize.compute import LoadedModel, load_model
from upsize.compute.contention import BUSY, Contention

Ids = NDArray[np.int32]


def measure_batch(
    model: str, precision: str, lengths: Sequence[int], seconds: float, fewest: int, most: int, device: str
) -> dict[str, Any]:
    """Run one batch of sequences of `lengths` tokens again and again: for `seconds`, `fewest` to `most` times, after a
    short warm-up (and, where several runs follow, a whole one).

    Where other processes take much of the processor meanwhile, the runs are made once more; the less disturbed count.
    Gives `times` (s, each run), `busy` (share of the processor that others took), `loaded_s`, `resident_before` (Python
    and libraries), `peak` (bytes resident at most; on a GPU allocated there), and what the model is computed in.
    """
    before = peak_resident_memory()
    started = time.perf_counter()
    loaded = load_model(model, kind="embedding", dtype=precision, device=device)
    loaded_s = time.perf_counter() - started
    rng = np.random.default_rng(0)

    def batch() -> list[Ids]:
        """New ids each time, so that the prefix cache has no hits."""
        return [rng.integers(0, 1000, n, dtype=np.int32) for n in lengths]

    _run(loaded, [batch()[0][:16]])
    if fewest > 1:
        _run(loaded, batch())

    def repeat() -> tuple[float, list[float]]:
        contention, times = Contention(loaded.threads), list[float]()
        end = time.perf_counter() + seconds
        while len(times) < fewest or (len(times) < most and time.perf_counter() < end):
            given = batch()
            started = time.perf_counter()
            _run(loaded, given)
            times.append(time.perf_counter() - started)
        return contention.share(), times

    busy, times = repeat()
    if busy >= BUSY and fewest > 1:  # a long text's one run takes minutes: its figure says that it was disturbed
        busy, times = min((busy, times), repeat())
    return {
        "times": times,
        "busy": busy,
        "loaded_s": loaded_s,
        "resident_before": before,
        "peak": peak_gpu_memory(loaded.plan.device) or peak_resident_memory(),
        "device": loaded.plan.device,
        "arithmetic": loaded.compute_dtype,
        "threads": loaded.threads,
    }


def _run(loaded: LoadedModel, batch: Sequence[Ids]) -> None:
    for _ in loaded.run(batch):
        pass


def peak_gpu_memory(device: str) -> int:
    """Greatest bytes that torch held on a GPU; 0 for a CPU."""
    if device == "cpu":
        return 0
    import torch

    return int(torch.cuda.max_memory_allocated())


def peak_resident_memory() -> int:
    """Greatest resident bytes of this process. Linux keeps `ru_maxrss` over exec, so there a child would begin with
    its parent's; the status file starts afresh."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


if __name__ == "__main__":
    print(json.dumps(measure_batch(**json.loads(sys.argv[1]))))
