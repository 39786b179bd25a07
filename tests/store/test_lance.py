"""What LanceDB alone does: searches by codes of a bit a value, and compactions that take room on the disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from upsize.errors import StoreFull
from upsize.store import Table, VectorRows, lance, parse_filter
from upsize.store.lance import LanceStore

COUNT, K = 24_000, 20
Floats = NDArray[np.float32]
Cases = list[tuple[Floats, set[str]]]
Far = tuple[LanceStore, Table, Cases]


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Far:
    """An indexed table, and queries with the ids of the nearest rows that meet `far`: half of all, all far away."""
    rng = np.random.default_rng(3)
    table = Table("upsize_far_g1", 64)
    centres = rng.standard_normal((20, table.dimension), np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    of = rng.integers(20, size=COUNT)
    vectors = centres[of] + rng.standard_normal((COUNT, table.dimension), np.float32) * np.float32(0.1)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    distant = np.isin(of, np.argsort(centres @ centres[0])[:10])
    store = LanceStore(tmp_path_factory.mktemp("far"), exact_below=1)
    store.create(table)
    metadata = [{"far": bool(one)} for one in distant]
    store.upsert(table, VectorRows([str(i) for i in range(COUNT)], range(COUNT), vectors, metadata))
    store.optimize(table)
    assert store.indexed(table)
    allowed = np.flatnonzero(distant)
    queries = vectors[np.flatnonzero(of == 0)[:8]]
    nearest = [allowed[np.argsort(-(vectors[allowed] @ query))[:K]] for query in queries]
    return store, table, [(query, set(map(str, best))) for query, best in zip(queries, nearest, strict=True)]


def recall(store: LanceStore, table: Table, cases: Cases) -> float:
    where = parse_filter({"far": True})
    found = [{hit.id for hit in store.search(table, query, K, where=where)} for query, _ in cases]
    return float(np.mean([len(ids & best) / K for ids, (_, best) in zip(found, cases, strict=True)]))


def test_many_rows_that_lie_far_from_the_query_are_found(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lance, "FEW_MATCHES", 2)
    assert recall(*far) == 1
    monkeypatch.setattr(lance, "SCANNED_BYTES", 0)  # as of a table too large to be scanned
    monkeypatch.setattr(lance, "FILTERED", range(200, 50_000))
    widened = recall(*far)
    monkeypatch.setattr(lance, "FILTERED", range(200, 200))
    assert recall(*far) < 0.9 < widened


def test_a_compaction_that_would_not_fit_is_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table("upsize_full_g1", 4)
    store = LanceStore(tmp_path)
    store.create(table)
    for i in range(3):
        store.upsert(table, VectorRows([str(i)], [i], np.eye(4, dtype=np.float32)[i : i + 1], [{}]))
    before = sorted(tmp_path.rglob("*"))
    with monkeypatch.context() as patch:
        patch.setattr(lance, "SPARE_BYTES", 1 << 60)
        patch.setattr(lance, "SPARE_SHARE", 1.0)
        with pytest.raises(StoreFull, match=r"[\d,]+ needed for the compaction of upsize_full_g1 and as a reserve"):
            store.optimize(table)
    assert sorted(tmp_path.rglob("*")) == before
    store.delete(table, ["0"])
    store.optimize(table)
    assert {hit.id for hit in store.search(table, np.ones(4, np.float32), 5)} == {"1", "2"}
