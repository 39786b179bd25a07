"""One long text through an embedder: seconds, and the peak of resident memory beyond the weights.

usage: python -m benchmarks.long_text MODEL [--tokens 32768] [--dtype auto] [--peers PEERS --scripts SCRIPTS]

PEERS and SCRIPTS as for `benchmarks.cpu`; each peer gets the same ids after ours, `--limit` minutes at most.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import RESULTS, kernels_name, model_name, write
from benchmarks.peers import PeerFailed, peers_of
from benchmarks.texts import prose
from upsize.compute import load_model, this_machine
from upsize.model.tokenizer import Ids


def measure(
    model: str,
    tokens: int,
    dtype: str,
    folder: Path = RESULTS,
    *,
    peers: Path | None = None,
    scripts: Path | None = None,
    minutes: float = 30,
) -> Path:
    """Run the text once, after a short one that wakes everything."""
    before = _peak()
    loaded = load_model(model, dtype=dtype)
    tokenizer = loaded.checkpoint.tokenizer
    ids = tokenizer.encode(prose(0, tokens))[: tokens - 1]
    ids = np.append(ids, np.int32(tokenizer.end_id))
    list(loaded.run([ids[-16:]]))
    after_load = _peak()
    started = time.perf_counter()
    list(loaded.run([ids]))
    seconds = time.perf_counter() - started
    peak = _peak()
    result: dict[str, Any] = {
        "model": model_name(model),
        "kernels": this_machine().kernels,
        "precision": loaded.plan.precision,
        "tokens": len(ids),
        "n": 1,
        "seconds": round(seconds, 3),
        "tokens_per_second": round(len(ids) / seconds, 1),
        "weights_gb": round(loaded.plan.weight_bytes / 1e9, 3),
        "python_and_libraries_gb": round(before / 1e9, 3),
        "peak_after_load_gb": round(after_load / 1e9, 3),
        "peak_gb": round(peak / 1e9, 3),
        "beyond_weights_gb": round((peak - loaded.plan.weight_bytes) / 1e9, 3),
    }
    name = f"long-text-{result['model']}-{len(ids)}-{result['precision']}-{kernels_name()}"
    path = write(name, result, folder)
    del loaded
    if peers is not None and scripts is not None:
        result["peers"] = []
        for line in _peers(model, ids, peers, scripts, minutes):
            result["peers"].append(line)
            write(name, result, folder)
    return path


def _peers(model: str, ids: Ids, peers: Path, scripts: Path, minutes: float) -> Iterator[dict[str, Any]]:
    """Each peer's seconds and peak memory on the same ids, one after another, or how it failed."""
    for peer in peers_of(peers, scripts, model, len(ids)):
        try:
            with peer:
                yield peer.label | peer.run([ids], 1, 60 * minutes)
        except PeerFailed as failure:
            yield peer.label | {"failed": str(failure)}


def _peak() -> int:
    """Peak resident bytes of this process, mapped weights included."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--tokens", type=int, default=32768)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--scripts", type=Path)
    parser.add_argument("--limit", type=float, default=30, help="minutes of each peer")
    given = parser.parse_args()
    measure(given.model, given.tokens, given.dtype, peers=given.peers, scripts=given.scripts, minutes=given.limit)
