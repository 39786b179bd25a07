"""What the demo models score on every task in bfloat16 and in int8, and what int8 loses, in points with an interval.

usage: python -m benchmarks.precision --shared ../shared/data [--models FOLDER]

The same sets as `benchmarks.demo_family`, judged in the same way. Takes about a quarter of an hour on two cores.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, write
from benchmarks.datasets import convert
from benchmarks.demo_family import RERANK_DEPTH, SIZES, encoder, reranked
from benchmarks.quality.outcomes import RESAMPLES, Outcome, difference
from benchmarks.quality.tasks import LabelledSet, labelled_sets
from upsize import Embedder, Reranker

BOTH = ("bfloat16", "int8")


def measure(labelled: Sequence[LabelledSet], models: Callable[[str], str], folder: Path = RESULTS) -> Path:
    """Every model in both, written to precision.json."""
    found: dict[str, dict[str, dict[str, Outcome]]] = {}
    for name in SIZES:
        for dtype in BOTH:
            with Embedder(models(name), dtype=dtype, truncate=True) as model:
                for each in labelled:
                    for task, outcome in each.judge(each.embed(encoder(model))):
                        found.setdefault(name, {}).setdefault(task, {})[dtype] = outcome
                        print(f"{name} in {dtype}: {task}: {outcome():.4f}", flush=True)
    searched = [each for each in labelled if each.name in ("XQuAD en", "XQuAD zh")]
    with Embedder(models("demo-xs"), truncate=True) as first:
        for dtype in BOTH:
            with Reranker(models("demo-rerank"), dtype=dtype, truncate=True) as judge:
                for each in searched:
                    task = f"{each.name}, nDCG@10, top {RERANK_DEPTH} of demo-xs"
                    _, outcome = reranked(judge, first, each)
                    found.setdefault("demo-rerank", {}).setdefault(task, {})[dtype] = outcome
                    print(f"demo-rerank in {dtype}: {task}: {outcome():.4f}", flush=True)
    scores = {name: _rows(tasks) for name, tasks in found.items()}
    return write("precision", {"resamples": RESAMPLES, "scores": scores}, folder)


def _rows(tasks: dict[str, dict[str, Outcome]]) -> dict[str, dict[str, Any]]:
    """Both scores, and the points (hundredths) that int8 has less over the same units, with a 95 % interval."""
    rows: dict[str, dict[str, Any]] = {}
    for task, both in tasks.items():
        lost = difference(both["bfloat16"], both["int8"])
        points = {name: round(100 * lost[name], 2) for name in ("value", "low", "high")}
        rows[task] = {dtype: round(outcome(), 4) for dtype, outcome in both.items()} | {"lost_points": points}
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--shared", type=Path, required=True, help="the folder with sts, retrieval, bitext, class, code"
    )
    parser.add_argument("--models", type=Path, help="folder with the models, instead of those in the package")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as laid_out:
        convert(Path(laid_out), given.shared)
        measure(labelled_sets(Path(laid_out)), (lambda m: str(given.models / m)) if given.models else str)
