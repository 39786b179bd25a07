"""Filtered searches of a table with an approximate index find what an exact scan finds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from upsize.store import Store, Table, VectorRows, parse_filter, pgvector
from upsize.store.lance import LanceStore
from upsize.store.pgvector import PgvectorStore

TABLE = Table("upsize_filtered_g1", 16)
COUNT, K = 3000, 10
Floats = NDArray[np.float32]


def drawn() -> tuple[Floats, list[dict[str, Any]]]:
    """Unit vectors in two clusters far from each other; of the second some are rare, and a third are odd."""
    rng = np.random.default_rng(0)
    centres = np.zeros((2, TABLE.dimension), np.float32)
    centres[0, 0], centres[1, 0] = 1, -1
    vectors = centres[np.arange(COUNT) % 2] + rng.standard_normal((COUNT, TABLE.dimension), np.float32) * np.float32(
        0.1
    )
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    metadata = [{"rare": i % 200 == 1, "odd": i % 6 == 1, "place": i / COUNT, "i": i} for i in range(COUNT)]
    return vectors, metadata


VECTORS, METADATA = drawn()
FILTERS = [
    ({"rare": True}, [i for i in range(COUNT) if i % 200 == 1]),
    ({"odd": True}, [i for i in range(COUNT) if i % 6 == 1]),
    ({"place": {"lt": 0.005}, "odd": True}, [1, 7, 13]),
    ({"i": {"in": [7, 2999, 5000]}}, [7, 2999]),
    ({"i": {"in": [*range(1, 2999, 2)]}}, list(range(1, 2999, 2))),
    ({"rare": "no"}, []),
]


@pytest.fixture(scope="module", params=["lancedb", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    opened: Store
    if request.param == "lancedb":
        opened = LanceStore(tmp_path_factory.mktemp("filtered"), exact_below=1)
    else:  # as in a table so large that the planner takes the index, whose scan ends before it has seen all
        dsn = (
            request.getfixturevalue("postgres") + "&options=-c%20enable_seqscan%3Doff%20-c%20hnsw.max_scan_tuples%3D300"
        )
        opened = PgvectorStore(dsn, exact_below=1)
    opened.drop(TABLE)
    opened.create(TABLE)
    opened.upsert(TABLE, VectorRows([str(i) for i in range(COUNT)], range(COUNT), VECTORS, METADATA))
    opened.optimize(TABLE)
    assert opened.indexed(TABLE)
    yield opened
    opened.drop(TABLE)
    opened.close()


def require_exact(store: Store) -> None:
    query = VECTORS[0]  # of the first cluster; all that meets a filter is in the second
    for filter, allowed in FILTERS:  # noqa: A001
        scores = VECTORS[allowed] @ query
        expected = [allowed[i] for i in np.argsort(-scores)[:K]]
        hits = store.search(TABLE, query, K, where=parse_filter(filter))
        assert [int(hit.id) for hit in hits] == expected, filter
        np.testing.assert_allclose([hit.score for hit in hits], VECTORS[expected] @ query, atol=1e-5)


def test_what_few_rows_meet_is_found_far_from_the_query(store: Store) -> None:
    require_exact(store)


def test_what_many_meet_but_none_near_the_query_is_found(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pgvector, "FEW_MATCHES", 2)
    monkeypatch.setattr(pgvector, "SCANNED", range(100, 200))
    monkeypatch.setattr("upsize.store.lance.FEW_MATCHES", 2)
    require_exact(store)


def test_what_many_meet_at_the_edge_of_what_the_index_sees_is_found(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three quarters of the clusters, the farthest: an index comes upon k of them, and not upon the nearest."""
    monkeypatch.setattr(pgvector, "FEW_MATCHES", 2)
    monkeypatch.setattr(pgvector, "SCANNED", range(600, 600))
    monkeypatch.setattr("upsize.store.lance.FEW_MATCHES", 2)
    rng = np.random.default_rng(1)
    table, rows, clusters = Table("upsize_edge_g1", 32), 4000, 40
    centres = rng.standard_normal((clusters, table.dimension), np.float32)
    of = rng.integers(clusters, size=rows)
    vectors = centres[of] + rng.standard_normal((rows, table.dimension), np.float32) * np.float32(0.8)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    store.create(table)
    store.upsert(table, VectorRows([str(i) for i in range(rows)], range(rows), vectors, [{"of": int(c)} for c in of]))
    store.optimize(table)
    recalls = []
    for query in vectors[:8]:
        far = np.argsort(centres @ query)[: 3 * clusters // 4]
        allowed = np.flatnonzero(np.isin(of, far))
        nearest = {str(i) for i in allowed[np.argsort(-(vectors[allowed] @ query))[:K]]}
        hits = store.search(table, query, K, where=parse_filter({"of": {"in": far.tolist()}}))
        recalls.append(len(nearest & {hit.id for hit in hits}) / K)
    store.drop(table)
    assert np.mean(recalls) > 0.97
