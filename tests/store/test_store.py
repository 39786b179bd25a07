"""What an index relies on, of every store alike: held against plain numpy."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from upsize.errors import InvalidInput
from upsize.store import Store, Table, VectorRows, parse_filter

DIMENSION = 48
COUNT = 120


def vectors(count: int, seed: int = 0, dimension: int = DIMENSION) -> NDArray[np.float32]:
    drawn = np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def rows(matrix: NDArray[np.float32], first: int = 0, metadata: list[dict[str, Any]] | None = None) -> VectorRows:
    ids = [f"d{first + i}" for i in range(len(matrix))]
    return VectorRows(ids, list(range(first, first + len(matrix))), matrix, metadata or [{} for _ in ids])


@pytest.fixture
def table(request: pytest.FixtureRequest, store: Store) -> Table:
    made = Table(f"upsize_{abs(hash(request.node.name)) % 10**8}_g1", DIMENSION, 32)
    store.drop(made)
    store.create(made)
    return made


def test_search_is_that_of_numpy(store: Store, table: Table) -> None:
    matrix = vectors(COUNT)
    store.upsert(table, rows(matrix))
    for query in vectors(5, seed=1):
        expected = np.argsort(-(matrix @ query))[:10]
        for exact in (False, True):
            hits = store.search(table, query, 10, exact=exact)
            assert [hit.id for hit in hits] == [f"d{i}" for i in expected]
            assert [hit.number for hit in hits] == expected.tolist()
            np.testing.assert_allclose([hit.score for hit in hits], (matrix @ query)[expected], atol=1e-5)


def test_a_funnel_takes_candidates_by_coarse_vectors_and_ranks_them_by_whole_ones(store: Store, table: Table) -> None:
    matrix, query = vectors(COUNT), vectors(1, seed=2)[0]
    store.upsert(table, rows(matrix))
    coarse = matrix[:, :32] / np.linalg.norm(matrix[:, :32], axis=1, keepdims=True)
    short = query[:32] / np.linalg.norm(query[:32])
    candidates = np.argsort(-(coarse @ short))[:40]
    expected = candidates[np.argsort(-(matrix[candidates] @ query))][:10]
    assert [h.id for h in store.search(table, query, 10, coarse=40)] == [f"d{i}" for i in expected]
    alone = [h.id for h in store.search(table, short, 10)]
    assert alone == [f"d{i}" for i in candidates[:10]]


def test_an_upsert_replaces_and_may_be_repeated(store: Store, table: Table) -> None:
    matrix = vectors(20)
    store.upsert(table, rows(matrix))
    store.upsert(table, rows(matrix))
    other = vectors(5, seed=3)
    changed = VectorRows([f"d{i}" for i in range(5)], [100 + i for i in range(5)], other, [{"n": 1}] * 5)
    store.upsert(table, changed)
    assert store.count(table) == 20
    found = store.vectors(table, ["d0", "d7", "absent"])
    assert {id: number for id, (number, _) in found.items()} == {"d0": 100, "d7": 7}
    np.testing.assert_allclose(found["d0"][1], other[0], atol=1e-6)
    assert sorted(store.committed_ids(table)) == sorted(
        [(f"d{i}", 100 + i) for i in range(5)] + [(f"d{i}", i) for i in range(5, 20)]
    )
    assert store.bytes(table) > 0


def test_deleted_rows_are_gone_and_those_that_were_not_there_do_not_matter(store: Store, table: Table) -> None:
    store.upsert(table, rows(vectors(20)))
    store.delete(table, ["d3", "d4", "it's not there"])
    store.delete(table, ["d3"])
    assert store.count(table) == 18
    assert "d3" not in {hit.id for hit in store.search(table, vectors(1)[0], 20)}


def test_ids_and_metadata_may_hold_anything(store: Store, table: Table) -> None:
    ids = ["it's", 'a "quoted" one', "новости/1", "a b;DROP TABLE x", "🙂"]
    metadata = [{"it's": "a 'value'", "nested": {"a": 1}, "none": None} for _ in ids]
    store.upsert(table, VectorRows(ids, range(5), vectors(5), metadata))
    assert {id for id, _ in store.committed_ids(table)} == set(ids)
    assert len(store.search(table, vectors(1)[0], 9, where=parse_filter({"it's": "a 'value'"}))) == 5
    store.delete(table, ids[:4])
    assert [id for id, _ in store.committed_ids(table)] == ["🙂"]


NAMES = ["", " ", "a.b", "a[0]", "a[]", "a\\b", "🙂", "a'b", "%s", "{}", "a\nb", "a/b", "$", "-1", "x" * 1000, "NULL"]


def test_fields_may_be_called_anything(store: Store, table: Table) -> None:
    values = ["va'lue\\ %s {} \" ;--", 1.5, True]
    metadata = [{name: value} for name in NAMES for value in values]
    store.upsert(table, rows(vectors(len(metadata)), metadata=metadata))
    for place, one in enumerate(metadata):
        assert [h.id for h in store.search(table, vectors(1)[0], 5, where=parse_filter(one))] == [f"d{place}"], one


METADATA = [
    {"lang": "en", "year": 2019, "draft": True, "mixed": "7"},
    {"lang": "zh", "year": 2020, "draft": False, "mixed": 7},
    {"lang": "en", "year": 2021.5, "draft": False},
    {"lang": "de", "year": "2021", "mixed": True},
    {},
]


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ({"lang": "en"}, "02"),
        ({"lang": {"ne": "en"}}, "13"),
        ({"lang": {"in": ["de", "zh"]}}, "13"),
        ({"year": 2020}, "1"),
        ({"year": {"gte": 2020}}, "12"),
        ({"year": {"gt": 2019, "lt": 2021}}, "1"),
        ({"year": {"lte": 2020}}, "01"),
        ({"year": {"in": [2019, 2021.5]}}, "02"),
        ({"year": {"ne": 2019}}, "12"),
        ({"year": "2021"}, "3"),
        ({"draft": True}, "0"),
        ({"draft": {"ne": True}}, "12"),
        ({"draft": {"in": [True, False]}}, "012"),
        ({"mixed": 7}, "1"),
        ({"mixed": "7"}, "0"),
        ({"lang": "en", "draft": False}, "2"),
        ({"absent": "x"}, ""),
    ],
    ids=str,
)
def test_filters_mean_the_same_everywhere(store: Store, table: Table, filter: dict[str, Any], expected: str) -> None:  # noqa: A002
    store.upsert(table, rows(vectors(5), metadata=METADATA))
    for coarse in (None, 20):
        hits = store.search(table, vectors(1)[0], 10, where=parse_filter(filter), coarse=coarse)
        assert sorted(hit.id for hit in hits) == [f"d{i}" for i in expected]


def test_a_filter_is_met_before_the_nearest_are_taken(store: Store, table: Table) -> None:
    matrix, query = vectors(COUNT), vectors(1, seed=4)[0]
    store.upsert(table, rows(matrix, metadata=[{"rare": i % 40 == 0} for i in range(COUNT)]))
    rare = sorted(range(0, COUNT, 40), key=lambda i: -(matrix[i] @ query))
    assert [h.id for h in store.search(table, query, 10, where=parse_filter({"rare": True}))] == [f"d{i}" for i in rare]


def test_tending_changes_nothing_that_is_found(store: Store, table: Table) -> None:
    matrix, query = vectors(COUNT), vectors(1, seed=5)[0]
    for first in range(0, COUNT, 20):
        store.upsert(table, rows(matrix[first : first + 20], first))
    before = store.search(table, query, 10)
    store.optimize(table)
    assert store.search(table, query, 10) == before
    assert store.count(table) == COUNT


def test_threads_may_read_and_write_at_once(store: Store, table: Table) -> None:
    store.upsert(table, rows(vectors(50)))
    failures: list[BaseException] = []

    def guarded(work: Any) -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    def write(first: int) -> None:
        for start in range(first, first + 60, 20):
            store.upsert(table, rows(vectors(20, seed=start), start))

    def read() -> None:
        for query in vectors(10, seed=6):
            assert len(store.search(table, query, 5)) == 5

    works = [lambda: write(100), read, lambda: store.optimize(table), read]
    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert store.count(table) == 110


def test_a_dropped_table_is_gone_and_dropping_it_again_does_no_harm(store: Store, table: Table) -> None:
    store.upsert(table, rows(vectors(3)))
    store.drop(table)
    store.drop(table)
    store.create(table)
    assert store.count(table) == 0


def test_making_a_table_twice_keeps_what_is_in_it(store: Store, table: Table) -> None:
    store.upsert(table, rows(vectors(3)))
    store.create(table)
    assert store.count(table) == 3


@pytest.mark.parametrize(
    ("filter", "told"),
    [
        ({"a": {"like": "x"}}, "filter.a.like: use one of eq"),
        ({"a": None}, "filter.a is None; give a string"),
        ({"a": {"in": []}}, "filter.a.in is []"),
        ({"a": {"in": "x"}}, "filter.a.in is 'x'"),
        ({"a": {"in": ["x", 1]}}, "mixes types"),
        ({"a": {}}, "has no condition"),
        ({"a": {"gt": True}}, "no order of true and false"),
    ],
)
def test_a_filter_that_makes_no_sense_is_told(filter: dict[str, Any], told: str) -> None:  # noqa: A002
    with pytest.raises(InvalidInput, match=None) as caught:
        parse_filter(filter)
    assert told in str(caught.value)
