"""The rungs before a move, on labelled data: nDCG@10 with intervals, milliseconds, and what of the gap each recovers.

L0 the small model; L1 with a reranker; L2 with a large model that rescores the first K; L3 the large model alone. The
share of the gap that a rung recovers is (rung − L0) / (L3 − L0), by a bootstrap of the queries.

usage: python -m benchmarks.ladder DATASETS [--small demo-xs] [--large demo-m] [--reranker demo-rerank]
DATASETS is a folder made by benchmarks.datasets.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.common import RESULTS, write
from upsize.engine import Engine, Priority
from upsize.evaluation.datasets import RetrievalData, load_dataset
from upsize.index import DocumentWrite, Index, ModelPool, Rerank, Rescore, SearchRequest, Setup, VectorSpec
from upsize.index import cascade as ladder
from upsize.index.creation import create_index
from upsize.migration import move, plan_move
from upsize.migration.compare import Comparison, Labelled, SearchVariant, compare_ways, place_labels, read_labelled

DATASETS = ("xquad-en", "xquad-zh", "scifact")
RERANKED, RESCORED = (20, 50), (20, 50, 100, 200)
COLD = 100
"""Queries that L2 is timed on with nothing kept, so that every vector is made anew."""
RESAMPLES = 4000
PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "ladder.svg"


def measure_one(models: ModelPool, path: Path, small: str, large: str, reranker: str) -> dict[str, Any]:
    """One dataset."""
    data = load_dataset(path)
    assert isinstance(data, RetrievalData)
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home) / "ladder"
        create_index(folder, models, Setup("ladder", VectorSpec(small), truncate=True))
        with Index(folder, models) as index:
            documents = [DocumentWrite(id, text) for id, text in zip(data.document_ids, data.documents, strict=True)]
            for first in range(0, len(documents), 512):
                index.add(documents[first : first + 512], Priority.BULK)
            labelled = place_labels(index, read_labelled(path)[0])
            return _rungs(index, labelled, large, reranker) | {"documents": len(documents)}


def _rungs(index: Index, labelled: Labelled, large: str, reranker: str) -> dict[str, Any]:
    ladder.set_rescore(index, large, keep_bytes=0)
    assert index.state.rescore is not None
    larger = index.state.rescore.generation
    plain = SearchRequest(rerank=False, rescore=False)
    cold = [
        SearchVariant(f"L2, {depth}", replace(plain, rescore=Rescore(larger, depth, keep_bytes=0)))
        for depth in RESCORED
    ]
    few = Labelled(labelled.queries[:COLD], dict(list(labelled.judgements.items())[:COLD]), ())
    timed = _compare(index, few, cold, "cold")
    # And from here on the large model's vectors are there: they came with the rescoring, or with the backfill.
    move.start(index, plan_move(index, VectorSpec(large), seconds=0.1))
    while index.documents.backlog_size(larger):
        time.sleep(0.05)
    ways = [SearchVariant("L0", plain)]
    ways += [SearchVariant(f"L1, {depth}", replace(plain, rerank=Rerank(reranker, depth))) for depth in RERANKED]
    ways += [SearchVariant(f"L2, {depth}", replace(plain, rescore=Rescore(larger, depth))) for depth in RESCORED]
    ways += [SearchVariant("L3", replace(plain, generation=larger))]
    found = _compare(index, labelled, ways, "rungs")
    told = found.to_json()
    shares = _shares(found.values)
    cold_ms = {w.name: float(np.median(timed.seconds[:, i]) * 1e3) for i, w in enumerate(cold)}
    for place, way in enumerate(told["ways"]):
        way["share_of_the_gap"] = shares[place]
        way["cold_p50_ms"] = round(cold_ms[way["name"]], 2) if way["name"] in cold_ms else None
    return told


def _compare(index: Index, labelled: Labelled, ways: Sequence[SearchVariant], what: str) -> Comparison:
    for way in ways:  # to warm up
        index.search(replace(way.question, query=labelled.queries[0], counted=False))
    with tqdm(desc=what, total=len(ways) * len(labelled.queries)) as bar:

        def hear(done: int, _: int) -> None:
            bar.update(done - bar.n)

        return compare_ways(index, labelled, ways, hear=hear)


def _shares(values: NDArray[np.float64]) -> list[dict[str, float] | None]:
    """Of each way, with its 95 % percentile interval; None where the gap itself may be nothing."""
    rng = np.random.default_rng(0)
    count = len(values)
    weights = rng.multinomial(count, np.full(count, 1 / count), RESAMPLES) / count
    means = np.vstack([values.mean(axis=0), weights @ values])
    gap = means[:, -1] - means[:, 0]
    if np.quantile(gap[1:], 0.025) <= 0:
        return [None] * values.shape[1]
    shares = (means - means[:, :1]) / gap[:, None]
    low, high = np.quantile(shares[1:], [0.025, 0.975], axis=0)
    return [
        {"estimate": round(float(shares[0, i]), 3), "lower": round(float(low[i]), 3), "upper": round(float(high[i]), 3)}
        for i in range(values.shape[1])
    ]


def draw(result: dict[str, Any], path: Path = PICTURE) -> None:
    """Quality over the median latency, a panel a dataset, with intervals."""
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    mpl.rcParams.update({"svg.hashsalt": "upsize", "font.size": 9, "svg.fonttype": "none"})
    figure, panels = plt.subplots(1, len(result["datasets"]), figsize=(11, 3.8), constrained_layout=True)
    styles = {"L0": ("o", "#555555"), "L1": ("s", "#b5651d"), "L2": ("^", "#2a6f97"), "L3": ("D", "#1b7f4b")}
    for panel, (name, told) in zip(np.atleast_1d(panels), result["datasets"].items(), strict=True):
        for way in told["ways"]:
            marker, colour = styles[way["name"][:2]]
            error = [[way["estimate"] - way["lower"]], [way["upper"] - way["estimate"]]]
            panel.errorbar(
                way["p50_ms"],
                way["estimate"],
                yerr=error,
                fmt=marker,
                color=colour,
                capsize=2,
                markersize=5,
                linewidth=0.8,
            )
            panel.annotate(
                way["name"], (way["p50_ms"], way["estimate"]), (5, 3), textcoords="offset points", fontsize=7
            )
        panel.set(
            title=f"{name}: {told['queries']:,} queries, {told['documents']:,} documents", xlabel="median ms a search"
        )
        panel.set_xscale("log")
        panel.grid(alpha=0.25)
    np.atleast_1d(panels)[0].set_ylabel("nDCG@10, 95 % interval")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def measure(
    datasets: Path,
    names: Sequence[str] = DATASETS,
    small: str = "demo-xs",
    large: str = "demo-m",
    reranker: str = "demo-rerank",
    folder: Path = RESULTS,
    picture: Path = PICTURE,
) -> Path:
    """All of them, and the picture."""
    engine = Engine({})
    models = ModelPool(engine)
    for model in (small, large):
        models.embedder(model, "benchmark")
    models.reranker(reranker, "benchmark")
    found = {name: measure_one(models, datasets / name, small, large, reranker) for name in names}
    engine.close()
    result = {"small": small, "large": large, "reranker": reranker, "cold_queries": COLD, "datasets": found}
    draw(result, picture)
    return write("ladder", result, folder)


def main() -> None:
    """From the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", type=Path)
    parser.add_argument("--small", default="demo-xs")
    parser.add_argument("--large", default="demo-m")
    parser.add_argument("--reranker", default="demo-rerank")
    arguments = parser.parse_args()
    measure(arguments.datasets, DATASETS, arguments.small, arguments.large, arguments.reranker)


if __name__ == "__main__":
    main()
