"""A corpus of any size: reading it, and ranking it for a thousand queries, with the memory that it took.

usage: python -m benchmarks.large_corpus [--documents 300000] [--queries 1000] [--dimension 1024]
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.common import RESULTS, write
from benchmarks.texts import prose
from upsize.evaluation.datasets import RetrievalData, load_dataset
from upsize.evaluation.tasks import RetrievalTask

WORDS = 150


def peak_gb() -> float:
    """Of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def write_folder(folder: Path, documents: int, queries: int) -> None:
    """A BEIR folder of made prose; each query has one relevant document."""
    rng = random.Random(1)
    stock = [prose(seed, WORDS) for seed in range(500)]
    with (folder / "corpus.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(
            json.dumps({"_id": f"d{i}", "text": f"{i} {rng.choice(stock)}"}) + "\n" for i in range(documents)
        )
    with (folder / "queries.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(json.dumps({"_id": f"q{i}", "text": f"query {i}"}) + "\n" for i in range(queries))
    (folder / "qrels").mkdir()
    pairs = [f"q{i}\td{rng.randrange(documents)}\t1\n" for i in range(queries)]
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(pairs))


def measure(documents: int, queries: int, dimension: int, results: Path = RESULTS) -> Path:
    """Write what reading, ranking and judging took."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_folder(folder, documents, queries)
        size = (folder / "corpus.jsonl").stat().st_size
        before, started = peak_gb(), time.perf_counter()
        data = load_dataset(folder)
        read, after = time.perf_counter() - started, peak_gb()
        assert isinstance(data, RetrievalData)
        rng = np.random.default_rng(1)
        vectors = {}
        for group, count in (("queries", queries), ("corpus", documents)):
            values = rng.standard_normal((count, dimension), np.float32)
            values /= np.sqrt(np.einsum("ij,ij->i", values, values))[:, None]  # no second array of that size
            vectors[group] = values
        task, with_vectors, started = RetrievalTask(data, None), peak_gb(), time.perf_counter()
        task.observe(vectors, 0)
        seconds = time.perf_counter() - started
    return write(
        "large-corpus",
        {
            "n": 1,
            "documents": documents,
            "queries": queries,
            "dimension": dimension,
            "corpus_gb": round(size / 1e9, 2),
            "said": list(data.notes),
            "read_seconds": round(read, 1),
            "read_peak_gb": round(after - before, 2),
            "vectors_gb": round(documents * dimension * 4 / 1e9, 2),
            "rank_and_judge_seconds": round(seconds, 1),
            "rank_and_judge_peak_gb": round(peak_gb() - with_vectors, 2),
            "whole_score_matrix_gb": round(documents * queries * 4 / 1e9, 2),
            "peak_gb": round(peak_gb(), 2),
        },
        results,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=300_000)
    parser.add_argument("--queries", type=int, default=1_000)
    parser.add_argument("--dimension", type=int, default=1_024)
    arguments = parser.parse_args()
    measure(arguments.documents, arguments.queries, arguments.dimension)
