"""One long text through an embedder: seconds, and the peak of resident memory beyond the weights.

usage: python -m benchmarks.long_text MODEL [--tokens 32768] [--dtype auto]
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import numpy as np

from benchmarks.common import RESULTS, model_name, write
from benchmarks.texts import prose
from upsize.compute import load_model


def measure(model: str, tokens: int, dtype: str, folder: Path = RESULTS) -> Path:
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
    return write(
        f"long-text-{model_name(model)}-{len(ids)}",
        {
            "model": model_name(model),
            "precision": loaded.plan.precision,
            "tokens": len(ids),
            "n": 1,
            "seconds": round(seconds, 3),
            "tokens_per_second": round(len(ids) / seconds, 1),
            "weights_gb": round(loaded.checkpoint.weights.bytes / 1e9, 3),
            "python_and_libraries_gb": round(before / 1e9, 3),
            "peak_after_load_gb": round(after_load / 1e9, 3),
            "peak_gb": round(peak / 1e9, 3),
            "beyond_weights_gb": round((peak - loaded.checkpoint.weights.bytes) / 1e9, 3),
        },
        folder,
    )


def _peak() -> int:
    """Peak resident bytes of this process, mapped weights included."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--tokens", type=int, default=32768)
    parser.add_argument("--dtype", default="auto")
    given = parser.parse_args()
    measure(given.model, given.tokens, given.dtype)
