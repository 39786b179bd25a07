"""Vectors in memory, held against a dictionary and plain numpy through any sequence of writes."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from upsize.store import Table
from upsize.store import resident as resident_module
from upsize.store.resident import Resident

TABLE = Table("t", 8, 3)

writes = st.lists(
    st.tuples(
        st.booleans(), st.lists(st.integers(0, 30), unique=True, min_size=1, max_size=8), st.integers(0, 1 << 30)
    ),
    max_size=25,
)


def drawn(count: int, seed: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    values = np.random.default_rng(seed).standard_normal((count, 8)).astype(np.float32)
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


@given(writes, st.integers(1, 12))
def test_it_holds_what_was_written_and_finds_the_nearest(steps: list[tuple[bool, list[int], int]], k: int) -> None:
    rows, before = resident_module.ROWS, {}
    resident_module.ROWS = 8  # so that blocks fill up, and are put together anew
    try:
        resident = Resident(TABLE)
        for number, (put, places, seed) in enumerate(steps):
            ids = [f"d{p}" for p in places]
            if put:
                vectors = drawn(len(ids), seed)
                resident.upsert(ids, [number] * len(ids), vectors)
                before |= {id: (number, vectors[i]) for i, id in enumerate(ids)}
            else:
                resident.delete(ids)
                before = {id: row for id, row in before.items() if id not in ids}
        query = drawn(1, 99)[0]
        found = resident.search(query, k)
        expected = sorted(((float(v @ query), id) for id, (_, v) in before.items()), reverse=True)[:k]
        assert len(found) == len(expected)
        np.testing.assert_allclose([hit.score for hit in found], [score for score, _ in expected], atol=1e-6)
        for hit in found:
            assert before[hit.id][0] == hit.number
            assert abs(float(before[hit.id][1] @ query) - hit.score) < 1e-6
        short = query[:3] / np.linalg.norm(query[:3])
        coarse = {id: float(v[:3] @ short / np.linalg.norm(v[:3])) for id, (_, v) in before.items()}
        best = sorted(coarse.values(), reverse=True)[:k]
        np.testing.assert_allclose([hit.score for hit in resident.search(short, k)], best, atol=1e-5)
    finally:
        resident_module.ROWS = rows


def test_a_search_sees_the_table_as_it_was_when_it_began() -> None:
    resident = Resident(TABLE)
    resident.upsert(["a", "b"], [1, 2], drawn(2, 0))
    blocks = resident._blocks
    resident.upsert(["a"], [3], drawn(1, 1))
    resident.delete(["b"])
    assert [id for block in blocks for id in block.ids] == ["a", "b"]
    assert [hit.number for hit in resident.search(drawn(1, 2)[0], 5)] == [3]


def test_a_query_that_the_coarse_search_cannot_see_is_searched_in_full() -> None:
    resident = Resident(TABLE)
    vectors = drawn(20, 1)
    resident.upsert([f"d{i}" for i in range(20)], range(20), vectors)
    query = np.array([0, 0, 0, 0.6, 0.8, 0, 0, 0], np.float32)
    found = resident.search(query, 3, coarse=5)
    assert [hit.id for hit in found] == [f"d{i}" for i in np.argsort(-(vectors @ query))[:3]]
