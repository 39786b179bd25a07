"""Is this checkpoint computed rightly here: the checks of `upsize verify`, kept as a result.

usage: python -m benchmarks.verified MODEL [--dtype auto] [--batches 200]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.common import RESULTS, model_name, write
from upsize.compute import load_model
from upsize.diagnostics import verify


def measure(model: str, dtype: str, batches: int, folder: Path = RESULTS) -> Path:
    """Verify, and keep the figures."""
    loaded = load_model(model, dtype=dtype)
    result = verify(loaded, batches=batches, on_check=lambda step: print(step, "…")).to_json()
    del result["folder"]
    name = f"verified-{model_name(model)}-{loaded.plan.precision}"
    return write(name, {"model": model_name(model), "batches": batches} | result, folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--batches", type=int, default=200)
    given = parser.parse_args()
    measure(given.model, given.dtype, given.batches)
