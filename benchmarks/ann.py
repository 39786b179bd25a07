"""An approximate index against the exact scan: recall@10, build time, bytes, milliseconds; and the funnel.

Vectors of real sentences by demo-m, and for the larger table each of them several times with noise. What is measured is
the store's; how good the model is, is another question.

usage: python -m benchmarks.ann --shared DATA [--counts 50000 500000] [--queries 200]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.common import RESULTS, write
from benchmarks.multilingual import mixed
from upsize import Embedder
from upsize.store import Hit, Table, VectorRows
from upsize.store.lance import LanceStore

Floats = NDArray[np.float32]
CALL = 2048
NOISE = 0.35
"""Length of what is added to a unit vector: its copies are at a cosine of about 0.94, as near duplicates are."""
COARSE = 64
CANDIDATES = (50, 100, 200)


def real_vectors(shared: Path, count: int, queries: int, model: str) -> tuple[Floats, Floats]:
    """(documents, queries) of real sentences."""
    texts = [s.text for s in mixed(shared, count + queries)]
    with Embedder(model) as embedder:
        documents = embedder.encode_document(texts[:count], progress=True)
        asked = embedder.encode_query([" ".join(t.split()[:8]) for t in texts[count:]])
    return documents, asked


def grown(vectors: Floats, count: int) -> Floats:
    """So many vectors: the real ones, and noisy copies of them."""
    rng = np.random.default_rng(0)
    parts = [vectors]
    while sum(map(len, parts)) < count:
        noise = rng.standard_normal(vectors.shape, np.float32) * np.float32(NOISE / vectors.shape[1] ** 0.5)
        copy = vectors + noise
        parts.append(copy / np.linalg.norm(copy, axis=1, keepdims=True))
    return np.concatenate(parts)[:count]


def measure_one(store: LanceStore, name: str, vectors: Floats, queries: Floats, k: int = 10) -> dict[str, Any]:
    """One table: fill it, ask it exactly, build its index, ask that, and the funnel."""
    table = Table(f"upsize_{name}_g1", vectors.shape[1], COARSE)
    store.create(table)
    begun = time.perf_counter()
    for first in tqdm(range(0, len(vectors), CALL), desc="upsert"):
        part = vectors[first : first + CALL]
        ids = [f"d{first + i}" for i in range(len(part))]
        store.upsert(table, VectorRows(ids, range(first, first + len(part)), part, [{}] * len(part)))
    filled = time.perf_counter() - begun
    limit, store.exact_below = store.exact_below, len(vectors) + 1
    begun = time.perf_counter()
    store.optimize(table)
    compacted = time.perf_counter() - begun
    plain = store.bytes(table)
    exact, exact_ms = _ask(queries, lambda q: store.search(table, q, k, exact=True))
    funnels = {}
    for candidates in CANDIDATES:
        found, ms = _ask(queries, lambda q, c=candidates: store.search(table, q, k, exact=True, coarse=c))  # type: ignore[misc]
        funnels[str(candidates)] = {"recall": _recall(found, exact)} | ms
    store.exact_below = 1
    begun = time.perf_counter()
    store.optimize(table)
    built = time.perf_counter() - begun
    found, ann_ms = _ask(queries, lambda q: store.search(table, q, k))
    return {
        "vectors": len(vectors),
        "dimension": vectors.shape[1],
        "upsert_s": round(filled, 1),
        "compaction_s": round(compacted, 2),
        "exact": {"bytes": plain} | exact_ms,
        "approximate": {
            "recall": _recall(found, exact),
            "build_s": round(built, 1),
            "bytes_more": sum(p.stat().st_size for p in store.folder.glob(f"{table.name}.lance/_indices/**/*")),
            "used_by_default": len(vectors) >= limit,
        }
        | ann_ms,
        "funnel": {"coarse": COARSE, "candidates": funnels},
    }


def _ask(queries: Floats, search: Callable[[Floats], list[Hit]]) -> tuple[list[set[str]], dict[str, float]]:
    for query in queries[:5]:
        search(query)
    found, seconds = [], []
    for query in queries:
        begun = time.perf_counter()
        hits = search(query)
        seconds.append(time.perf_counter() - begun)
        found.append({hit.id for hit in hits})
    p50, p95 = np.quantile(seconds, [0.5, 0.95]) * 1e3
    return found, {"p50_ms": round(float(p50), 2), "p95_ms": round(float(p95), 2)}


def _recall(found: list[set[str]], exact: list[set[str]]) -> float:
    return round(float(np.mean([len(f & e) / len(e) for f, e in zip(found, exact, strict=True)])), 4)


def measure(documents: Floats, queries: Floats, counts: Sequence[int], model: str, folder: Path = RESULTS) -> Path:
    """Every size of table."""
    sizes = []
    for count in counts:
        with tempfile.TemporaryDirectory() as home:
            store = LanceStore(Path(home))
            vectors = documents[:count] if count <= len(documents) else grown(documents, count)
            sizes.append(measure_one(store, f"ann{count}", vectors, queries) | {"real": count <= len(documents)})
            store.close()
    return write("ann", {"model": model, "queries": len(queries), "k": 10, "sizes": sizes}, folder)


def main() -> None:
    """From the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, required=True)
    parser.add_argument("--counts", type=int, nargs="+", default=[50_000, 500_000])
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--model", default="demo-m")
    arguments = parser.parse_args()
    documents, queries = real_vectors(arguments.shared, min(arguments.counts), arguments.queries, arguments.model)
    measure(documents, queries, arguments.counts, arguments.model)


if __name__ == "__main__":
    main()
