"""What int8 and bfloat16 keep of float32: centred cosines of vectors of the same texts, for each model given.

    python -m benchmarks.accuracy MODEL… [--work WORK] [--texts 64]

The centred cosine takes each set's mean off its vectors first: all texts share a large common part, which flatters the
plain one. WORK as for `benchmarks.cpu`; a model whose vocabulary lacks its ids gets texts made up.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import RESULTS, model_name, write
from benchmarks.cpu import texts_of
from upsize.compute import LoadedModel, load_model, run_to_end
from upsize.compute.cosine import centred_cosines
from upsize.model.pooling import Vectors
from upsize.model.tokenizer import Ids


def measure(models: Sequence[str], work: Path | None = None, texts: int = 64, folder: Path = RESULTS) -> Path:
    """float32 first, then the other two against it."""
    return write("accuracy", {"models": {model_name(m): _model(m, work, texts) for m in models}}, folder)


def _model(model: str, work: Path | None, texts: int) -> dict[str, Any]:
    exact = load_model(model, kind="embedding", device="cpu", dtype="float32")
    both = texts_of(exact, work)
    if max(int(ids.max()) for side in both for ids in side) >= exact.checkpoint.config.vocab_size:
        both = texts_of(exact, None)
    sets = {name: side[:texts] for name, side in zip(("queries", "passages"), both, strict=True)}
    expected = {name: _vectors(exact, side) for name, side in sets.items()}
    del exact
    figures: dict[str, Any] = {"n": {name: len(side) for name, side in sets.items()}}
    for dtype in ("bfloat16", "int8"):
        loaded = load_model(model, kind="embedding", device="cpu", dtype=dtype)
        figures[dtype] = {"runs_in": loaded.plan.precision, "self_check": loaded.quantization_fidelity}
        for name, side in sets.items():
            cosines = centred_cosines(_vectors(loaded, side), expected[name], own_means=True)
            figures[dtype][name] = {"worst": round(cosines.min(), 5), "mean": round(cosines.mean(), 5)}
    return figures


def _vectors(loaded: LoadedModel, texts: Sequence[Ids]) -> Vectors:
    return np.stack([run_to_end(loaded.run([ids]))[0] for ids in texts])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--work", type=Path)
    parser.add_argument("--texts", type=int, default=64)
    given = parser.parse_args()
    measure(given.models, given.work, given.texts)
