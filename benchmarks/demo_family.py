"""The demo models on every task, with intervals, paired differences between sizes, and reference lines.

usage: python -m benchmarks.demo_family --shared ../shared/data [--models FOLDER] [--only sizes]

Models are run as users run them, through `upsize.Embedder` and `upsize.Reranker`. Takes about half an hour on two
cores; the results are demo-family.json and demo-reranker.json in benchmarks/results, from which the cards and the
documents are made (`python -m benchmarks.cards`).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import RESULTS, write
from benchmarks.quality import references, sets, tasks
from benchmarks.quality.outcomes import RESAMPLES, SEED, Outcome, difference, interval, mean
from benchmarks.quality.tasks import Encoder, Matrix
from upsize import Embedder, Reranker
from upsize.catalog import WEB_SEARCH

SIZES = ("demo-xs", "demo-s", "demo-m")
CODE = "Given a web search query, retrieve the Python function that does it"
CLAIM = "Given a scientific claim, retrieve documents that support or refute the claim"
CUTS = (32, 64, 128)
RERANK_DEPTH, RERANK_QUERIES = 50, 300
"""Documents reranked, and questions of each language's 1,190 that are: more would take hours."""

Found = Iterator[tuple[str, Outcome]]


def retrieval_sets(shared: Path) -> dict[str, tuple[sets.Retrieval, str, str, str]]:
    """Name → data, instruction, metric, language of the words that BM25 would match."""
    return {
        "XQuAD en": (sets.xquad(shared, "en", "en"), WEB_SEARCH, "nDCG@10", "en"),
        "XQuAD zh": (sets.xquad(shared, "zh", "zh"), WEB_SEARCH, "nDCG@10", "zh"),
        "XQuAD zh question, en paragraph": (sets.xquad(shared, "zh", "en"), WEB_SEARCH, "nDCG@10", "zh"),
        "SciFact": (sets.scifact(shared), CLAIM, "nDCG@10", "en"),
        "CosQA": (sets.cosqa(shared), CODE, "MRR", "en"),
    }


def outcomes(encode: Encoder, shared: Path, chinese: bool = True) -> Found:
    """Every task with one encoder; an English one (`chinese` false) leaves out what it cannot read."""
    for lang in ("en", "zh", "fr", "de") if chinese else ("en",):
        first, second, gold = sets.sts_b(shared, lang)
        yield f"STS-B {lang}, Spearman", tasks.similarity((encode(first) * encode(second)).sum(1), gold)
    for name, (data, instruction, metric, _) in retrieval_sets(shared).items():
        if chinese or "zh" not in name:
            scores = encode(data.queries, instruction) @ encode(data.documents).T
            yield f"{name}, {metric}", tasks.ranking(scores, data.right, metric)
    if chinese:
        for name, lang in (("zh", "cmn"), ("de", "deu"), ("fr", "fra")):
            foreign, english = sets.tatoeba(shared, lang)
            yield f"Tatoeba {name}-en, F1", tasks.bitext(encode(foreign) @ encode(english).T)
        for name, news in (("THUCNews titles", sets.thucnews(shared)), ("TNEWS", sets.tnews(shared))):
            for metric, outcome in tasks.clusters(encode(news.texts), news.labels).items():
                yield f"{name}, {metric}", outcome
    train, test = sets.banking77(shared, "train"), sets.banking77(shared, "test")
    found = tasks.accuracy(encode(train.texts), train.labels, encode(test.texts), test.labels)
    yield "Banking77, accuracy", found


def word_matching(shared: Path) -> Iterator[tuple[str, str, Outcome]]:
    """(task, reference, outcome) of what needs no model."""
    for lang in ("en", "zh", "fr", "de"):
        first, second, gold = sets.sts_b(shared, lang)
        ours, theirs = references.tf_idf(first, second)
        cosines = np.asarray(ours.multiply(theirs).sum(1)).ravel()
        yield f"STS-B {lang}, Spearman", "TF-IDF of character n-grams", tasks.similarity(cosines, gold)
    for name, (data, _, metric, lang) in retrieval_sets(shared).items():
        scores = references.bm25(data.queries, data.documents, lang)
        yield f"{name}, {metric}", "BM25", tasks.ranking(scores, data.right, metric)
    for name, news in (("THUCNews titles", sets.thucnews(shared)), ("TNEWS", sets.tnews(shared))):
        for metric, outcome in tasks.clusters(references.tf_idf_svd(news.texts), news.labels).items():
            yield f"{name}, {metric}", "TF-IDF + SVD", outcome
    train, test = sets.banking77(shared, "train"), sets.banking77(shared, "test")
    fitted, tested = references.tf_idf(train.texts, test.texts)
    found = tasks.accuracy(fitted, train.labels, tested, test.labels)  # type: ignore[arg-type]
    yield "Banking77, accuracy", "TF-IDF of character n-grams", found


def encoder(model: Embedder, dim: int | None = None) -> Encoder:
    """An embedder as tasks want it."""

    def encode(texts: Sequence[str], instruction: str | None = None) -> Matrix:
        if instruction is None:
            return model.encode_document(texts, dim=dim)
        return model.encode_query(texts, instruction=instruction, dim=dim)

    return encode


def teacher() -> Encoder | None:
    """The model that the family learned from, where its package is installed."""
    try:
        from training.teacher import Teacher
    except ImportError:
        return None
    model = Teacher(max_tokens=256)
    return lambda texts, _=None: model.encode(list(texts))


def reranked(model: Reranker, first: Embedder, shared: Path, lang: str) -> dict[str, Any]:
    """nDCG@10 of XQuAD with the embedder's best documents in the reranker's order, without it, and the difference."""
    data = sets.xquad(shared, lang, lang)
    chosen = np.sort(np.random.default_rng(SEED).permutation(len(data.queries))[:RERANK_QUERIES])
    queries, right = [data.queries[i] for i in chosen], [data.right[i] for i in chosen]
    encode = encoder(first)
    scores = encode(queries, WEB_SEARCH) @ encode(data.documents).T
    after = scores - 1e4
    for query, row in enumerate(scores):
        top = np.argpartition(-row, RERANK_DEPTH - 1)[:RERANK_DEPTH]
        after[query, top] = model.log_odds(queries[query], [data.documents[i] for i in top])
    without, with_it = (tasks.per_query(s, right, "nDCG@10") for s in (scores, after))
    return {
        "without": interval(mean(without)),
        "with": interval(mean(with_it)),
        "difference": interval(mean(with_it - without)),
    }


def matryoshka(model: Embedder, shared: Path) -> dict[str, dict[str, Any]]:
    """XQuAD nDCG@10 at smaller dimensions, and the share of the full dimension's that each keeps."""
    result: dict[str, dict[str, Any]] = {}
    for lang in ("en", "zh"):
        data = sets.xquad(shared, lang, lang)

        def ndcg(dim: int | None, data: sets.Retrieval = data) -> Outcome:
            encode = encoder(model, dim)
            return tasks.ranking(encode(data.queries, WEB_SEARCH) @ encode(data.documents).T, data.right, "nDCG@10")

        full = ndcg(None)
        for dim in (cut for cut in CUTS if cut < model.dimension):
            part = ndcg(dim)
            whole = np.arange(part.units)
            kept = part.statistic(whole) / full.statistic(whole)
            result[f"XQuAD {lang}, nDCG@10, {dim} dimensions"] = interval(part) | {"kept": round(kept, 4)}
    return result


def measure_sizes(shared: Path, models: Callable[[str], str], folder: Path = RESULTS) -> Path:
    """The embedders and their references, written to demo-family.json."""
    found: dict[str, dict[str, Outcome]] = {}
    result: dict[str, Any] = {"resamples": RESAMPLES, "models": {}, "references": {}, "differences": {}}
    for name in SIZES:
        with Embedder(models(name), truncate=True) as model:
            found[name] = {}
            for task, outcome in outcomes(encoder(model), shared):
                found[name][task] = outcome
                result["models"].setdefault(name, {"scores": {}})["scores"][task] = value = interval(outcome)
                print(f"{name}: {task}: {value}", flush=True)
            result["models"][name]["matryoshka"] = matryoshka(model, shared)
    for small, large in combinations(SIZES, 2):
        for task, theirs in found[small].items():
            pair = difference(found[large][task], theirs)
            result["differences"].setdefault(task, {})[f"{large} − {small}"] = pair
    lines = list(word_matching(shared))
    if (real := teacher()) is not None:
        lines += [(task, "all-MiniLM-L6-v2", outcome) for task, outcome in outcomes(real, shared, chinese=False)]
    for task, reference, outcome in lines:
        result["references"].setdefault(task, {})[reference] = interval(outcome)
    return write("demo-family", result, folder)


def measure_reranker(shared: Path, models: Callable[[str], str], folder: Path = RESULTS) -> Path:
    """The reranker over the best of demo-xs, written to demo-reranker.json."""
    with Reranker(models("demo-rerank"), truncate=True) as judge, Embedder(models("demo-xs"), truncate=True) as first:
        found = {
            f"XQuAD {lang}, nDCG@10, top {RERANK_DEPTH} of demo-xs": reranked(judge, first, shared, lang)
            for lang in ("en", "zh")
        }
    return write("demo-reranker", {"resamples": RESAMPLES, "scores": found}, folder)


PARTS = {"sizes": measure_sizes, "reranker": measure_reranker}


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
    for name, measure in PARTS.items():
        if args.only in (None, name):
            measure(args.shared, (lambda model: str(args.models / model)) if args.models else str, args.out)


if __name__ == "__main__":
    main()
