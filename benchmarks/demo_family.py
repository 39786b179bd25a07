"""The demo models on every task, with intervals, paired differences between sizes, and reference lines.

usage: python -m benchmarks.demo_family --shared ../shared/data [--models FOLDER] [--only sizes]

Models are run as users run them, through `upsize.Embedder` and `upsize.Reranker`, and judged as `upsize choose` judges
them. Takes about half an hour on two cores; the results are demo-family.json and demo-reranker.json in
benchmarks/results, from which the cards and the documents are made (`python -m benchmarks.cards`).
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import RESULTS, write
from benchmarks.datasets import convert
from benchmarks.quality.outcomes import RESAMPLES, SEED, Outcome, difference, interval, mean
from benchmarks.quality.tasks import Encoder, LabelledSet, Vectors, labelled_sets
from upsize import Embedder, Reranker
from upsize.evaluation.tasks import Group, RankingTask, reorder
from upsize.evaluation.tasks.ranking import DEPTH

SIZES = ("demo-xs", "demo-s", "demo-m")
CUTS = (32, 64, 128)
RERANK_DEPTH, RERANK_QUERIES = 50, 300
"""Documents reranked, and questions of each language's 1,190 that are: more would take hours."""


def encoder(model: Embedder) -> Encoder:
    """An embedder as tasks want it."""

    def encode(group: Group) -> NDArray[np.float32]:
        parts = model.stream(group.texts, group.input_type, instruction=group.instruction)
        return np.concatenate([part.values for part in parts])

    return encode


def teacher() -> Encoder | None:
    """The model that the family learned from, where its package is installed."""
    try:
        from training.teacher import Teacher
    except ImportError:
        return None
    model = Teacher(max_tokens=256)
    return lambda group: model.encode(list(group.texts))


def matryoshka(vectors: Vectors, labelled: LabelledSet) -> dict[str, dict[str, Any]]:
    """nDCG@10 at smaller dimensions, and the share of the full dimension's that each keeps."""
    ((name, full),) = labelled.judge(vectors)
    result: dict[str, dict[str, Any]] = {}
    for dim in (cut for cut in CUTS if cut < vectors["queries"].shape[1]):
        cut = {group: v[:, :dim] / np.linalg.norm(v[:, :dim], axis=1, keepdims=True) for group, v in vectors.items()}
        ((_, part),) = labelled.judge(cut)
        result[f"{name}, {dim} dimensions"] = interval(part) | {"kept": round(part() / full(), 4)}
    return result


def reranked(judge: Reranker, first: Embedder, labelled: LabelledSet) -> tuple[Outcome, Outcome]:
    """nDCG@10 of some queries without and with their best documents in the reranker's order."""
    task = labelled.task
    assert isinstance(task, RankingTask)
    ranking = task.rank(labelled.embed(encoder(first)), DEPTH)
    chosen = np.sort(np.random.default_rng(SEED).permutation(len(ranking))[:RERANK_QUERIES])
    top = ranking[:, :RERANK_DEPTH]
    scores = np.full(top.shape, np.nan, np.float32)
    for unit in chosen:
        query, documents = task.pairs(top, int(unit))
        scores[unit, : len(documents)] = judge.log_odds(query, documents)

    without, with_it = (mean(task.observe_ranking(r)["value"][chosen]) for r in (ranking, reorder(ranking, scores)))
    return without, with_it


def measure_sizes(labelled: Sequence[LabelledSet], models: Callable[[str], str], folder: Path = RESULTS) -> Path:
    """The embedders and their references, written to demo-family.json."""
    found: dict[str, dict[str, Outcome]] = {name: {} for name in SIZES}
    result: dict[str, Any] = {"resamples": RESAMPLES, "models": {}, "references": {}, "differences": {}}
    for name in SIZES:
        scores: dict[str, Any] = {}
        cuts: dict[str, Any] = {}
        with Embedder(models(name), truncate=True) as model:
            for each in labelled:
                vectors = each.embed(encoder(model))
                for task, outcome in each.judge(vectors):
                    found[name][task], scores[task] = outcome, interval(outcome)
                    print(f"{name}: {task}: {scores[task]}", flush=True)
                if each.name in ("XQuAD en", "XQuAD zh"):
                    cuts |= matryoshka(vectors, each)
        result["models"][name] = {"scores": scores, "matryoshka": cuts}
    for small, large in combinations(SIZES, 2):
        for task, theirs in found[small].items():
            pair = difference(found[large][task], theirs)
            result["differences"].setdefault(task, {})[f"{large} − {small}"] = pair
    for task, reference, outcome in references(labelled):
        result["references"].setdefault(task, {})[reference] = interval(outcome)
    return write("demo-family", result, folder)


def references(labelled: Sequence[LabelledSet]) -> list[tuple[str, str, Outcome]]:
    """(task, reference, outcome) of word matching, and of the teacher where the texts are English."""
    lines = [line for each in labelled for line in each.match_words()]
    if (real := teacher()) is not None:
        for each in labelled:
            if each.english:
                lines += [(task, "all-MiniLM-L6-v2", outcome) for task, outcome in each.judge(each.embed(real))]
    return lines


def measure_reranker(labelled: Sequence[LabelledSet], models: Callable[[str], str], folder: Path = RESULTS) -> Path:
    """The reranker over the best of demo-xs, written to demo-reranker.json."""
    found: dict[str, Any] = {}
    with Reranker(models("demo-rerank"), truncate=True) as judge, Embedder(models("demo-xs"), truncate=True) as first:
        for each in labelled:
            if each.name in ("XQuAD en", "XQuAD zh"):
                without, with_it = reranked(judge, first, each)
                found[f"{each.name}, nDCG@10, top {RERANK_DEPTH} of demo-xs"] = {
                    "without": interval(without),
                    "with": interval(with_it),
                    "difference": difference(with_it, without),
                }
    return write("demo-reranker", {"resamples": RESAMPLES, "scores": found}, folder)


PARTS: Mapping[str, Callable[..., Path]] = {"sizes": measure_sizes, "reranker": measure_reranker}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="benchmarks.demo_family", description=__doc__)
    parser.add_argument(
        "--shared", type=Path, required=True, help="the folder with sts, retrieval, bitext, class, code"
    )
    parser.add_argument("--models", type=Path, help="folder with the models, instead of those in the package")
    parser.add_argument("--only", choices=PARTS, help="just this part")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as laid_out:
        convert(Path(laid_out), args.shared)
        labelled = labelled_sets(Path(laid_out))
        for name, measure in PARTS.items():
            if args.only in (None, name):
                measure(labelled, (lambda model: str(args.models / model)) if args.models else str, args.out)


if __name__ == "__main__":
    main()
