"""Filtered searches of a table with an approximate index: recall@20 against the exact scan, and milliseconds.

Filters met by a share of the documents drawn at random, by one cluster of vectors alone, asked by queries near it and
far from it, and by many clusters that all lie far from the query: what an approximate index does worst.

usage: python -m benchmarks.filtered_recall [--stores lancedb postgresql] [--documents 210000] [--queries 50]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.common import RESULTS, write
from tests.postgres import database
from upsize.store import Filter, Hit, Store, Table, VectorRows, open_store, parse_filter

Floats = NDArray[np.float32]

DIMENSION, CLUSTERS, K, CALL = 64, 400, 20, 2000
SHARES = (0.0001, 0.001, 0.01, 0.05, 0.1, 0.5)
FAR = {10: "a tenth", 5: "a fifth", 2: "half"}
SPREAD = 0.8
"""Length of the noise that is added to a cluster's unit vector."""


def clustered(count: int, seed: int, centres: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """(count, DIMENSION) unit vectors, and the cluster of each."""
    rng = np.random.default_rng(seed)
    of = rng.integers(len(centres), size=count)
    noise = rng.standard_normal((count, DIMENSION), np.float32) * np.float32(SPREAD / DIMENSION**0.5)
    vectors = centres[of] + noise
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), of


@contextmanager
def opened(kind: str, folder: Path) -> Iterator[Store]:
    """A store of this kind, in the folder."""
    if kind != "postgresql":
        store = open_store(kind, folder)
        yield store
        store.close()
        return
    with database(folder) as server:
        store = open_store(server.get_uri(), folder)
        yield store
        store.close()


def fill(store: Store, table: Table, vectors: Floats, metadata: list[dict[str, Any]]) -> float:
    """Put all rows in and build the index; seconds."""
    begun = time.perf_counter()
    for first in tqdm(range(0, len(vectors), CALL), desc=f"{store.kind}: upsert"):
        part = vectors[first : first + CALL]
        rows = range(first, first + len(part))
        store.upsert(table, VectorRows([f"d{i}" for i in rows], rows, part, metadata[first : first + len(part)]))
    store.optimize(table)
    assert store.indexed(table)
    return time.perf_counter() - begun


def truth(vectors: Floats, query: Floats, allowed: NDArray[np.int64]) -> set[str]:
    """Ids of the K nearest of the rows that are allowed."""
    scores = vectors[allowed] @ query
    return {f"d{i}" for i in allowed[np.argsort(-scores)[:K]]}


def measure_filter(
    search: Callable[[Floats, Filter], list[Hit]],
    where: Mapping[str, Any],
    vectors: Floats,
    allowed: NDArray[np.int64],
    queries: Floats,
) -> dict[str, Any]:
    """One filter: recall, how many are found of those that are there, and milliseconds."""
    parsed = parse_filter(where)
    search(queries[0], parsed)
    recalls, complete, seconds = [], [], []
    for query in queries:
        begun = time.perf_counter()
        hits = search(query, parsed)
        seconds.append(time.perf_counter() - begun)
        expected = truth(vectors, query, allowed)
        recalls.append(len(expected & {hit.id for hit in hits}) / max(len(expected), 1))
        complete.append(len(hits) == min(K, len(allowed)))
    p50, p95 = np.quantile(seconds, [0.5, 0.95]) * 1e3
    return {
        "documents": len(allowed),
        "recall": round(float(np.mean(recalls)), 4),
        "worst_recall": round(float(np.min(recalls)), 4),
        "full_pages": round(float(np.mean(complete)), 4),
        "p50_ms": round(float(p50), 2),
        "p95_ms": round(float(p95), 2),
    }


def measure(stores: list[str], documents: int, asked: int, folder: Path = RESULTS) -> Path:
    """Every store, every filter."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((CLUSTERS, DIMENSION), np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    vectors, of = clustered(documents, 1, centres)
    queries, near = clustered(asked, 2, centres)
    drawn = rng.random(documents)
    metadata = [
        {"cluster": int(c), "rank": float(x)} | {f"r{share}": True for share in SHARES if x < share}
        for c, x in zip(of, drawn, strict=True)
    ]
    everything = np.arange(documents)
    filters: list[tuple[str, dict[str, Any], NDArray[np.int64], Floats]] = [("none", {}, everything, queries)]
    for share in SHARES:
        allowed = np.flatnonzero(drawn < share)
        filters.append((f"{share:.2%} at random", {f"r{share}": True}, allowed, queries))
        filters.append((f"{share:.2%} at random, by range", {"rank": {"lt": share}}, allowed, queries))
    for cluster in (int(near[0]), int((near[0] + 1) % CLUSTERS)):
        wanted = queries[near == cluster]
        far = queries[near != cluster]
        for name, some in (("near", wanted), ("far", far)):
            if len(some):
                filters.append((f"one cluster, {name}", {"cluster": cluster}, np.flatnonzero(of == cluster), some))
    farthest = sorted(range(CLUSTERS), key=lambda c: float(centres[c] @ queries[0]))
    for share, name in FAR.items():
        many = farthest[: CLUSTERS // share]
        away = np.flatnonzero(np.isin(of, many))
        filters.append((f"{name} of the clusters, the farthest", {"cluster": {"in": many}}, away, queries[:1]))
    results = {}
    for kind in stores:
        with tempfile.TemporaryDirectory() as home, opened(kind, Path(home)) as store:
            table = Table("upsize_filtered_g1", DIMENSION)
            store.create(table)
            seconds = fill(store, table, vectors, metadata)
            rows = {}
            for name, where, allowed, some in tqdm(filters, desc=f"{kind}: filters"):
                rows[name] = measure_filter(
                    lambda query, parsed, at=(store, table): at[0].search(at[1], query, K, where=parsed),  # type: ignore[misc]
                    where,
                    vectors,
                    allowed,
                    some,
                )
            results[kind] = {"fill_s": round(seconds, 1), "filters": rows}
    return write(
        "filtered_recall",
        {"documents": documents, "dimension": DIMENSION, "k": K, "queries": asked, "stores": results},
        folder,
    )


def main() -> None:
    """From the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stores", nargs="+", default=["lancedb", "postgresql"])
    parser.add_argument("--documents", type=int, default=210_000)
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    measure(arguments.stores, arguments.documents, arguments.queries, arguments.out)


if __name__ == "__main__":
    main()
