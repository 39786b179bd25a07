"""Filters of searches: documents are held to them as they stand, whatever a store still holds."""

from __future__ import annotations

import numpy as np
import orjson

from tests.index.conftest import Make
from tests.index.tools import settle
from upsize.index import DocumentWrite, SearchRequest, Upsert
from upsize.store import VectorRows, parse_filter

UID = 1746803573373870081


def test_numbers_that_an_earlier_version_rounded_are_written_again(make: Make, store_address: str) -> None:
    index = make(store=store_address)
    index.add([DocumentWrite(str(i), f"tenant number {i}", {"uid": UID + i}) for i in range(3)])
    table = index.state.table(index.state.serving)
    kept = index.store.vectors(table, ["0", "1", "2"])
    for id, (number, vector) in kept.items():  # as it wrote them
        index.store.upsert(table, VectorRows([id], [number], np.array([vector]), [{"uid": float(UID)}]))

    def found(uid: int | float) -> list[str]:
        return sorted(index.search(SearchRequest("tenant", where=parse_filter({"uid": uid}))).ids)

    assert found(float(UID)) == []  # no document has this number, although every row has
    settle(index)
    assert [found(UID + i) for i in range(4)] == [["0"], ["1"], ["2"], []]
    after = index.store.vectors(table, ["0", "1", "2"])
    assert all(np.array_equal(after[id][1], vector) and after[id][0] == n for id, (n, vector) in kept.items())


def test_a_row_whose_document_has_changed_does_not_meet_the_old_filter(make: Make) -> None:
    index = make()
    index.add(
        [DocumentWrite("a", "about cats", {"tenant": "one"}), DocumentWrite("b", "about cats too", {"tenant": "one"})]
    )
    table = index.state.table(index.state.serving)
    stale = index.store.vectors(table, ["a"])["a"]
    index.add([DocumentWrite("a", "about cats", {"tenant": "other"})])
    index.store.upsert(table, VectorRows(["a"], [stale[0]], np.array([stale[1]]), [{"tenant": "one"}]))
    assert index.search(SearchRequest("cats", where=parse_filter({"tenant": "one"}))).ids == ["b"]


def test_a_document_nested_too_deeply_by_an_earlier_version_keeps_no_search_from_its_answer(
    make: Make, store_address: str
) -> None:
    index = make(store=store_address)
    nested: list[object] = []
    for _ in range(260):
        nested = [nested]
    deep = Upsert("deep", "about cats", {"deep": nested, "lang": "en", "uid": UID})
    index.journal.append([deep])
    index.documents.catch_up(index.journal)
    settle(index)
    for where in ({}, {"lang": "en"}, {"uid": UID}):
        (found,) = index.search(SearchRequest("cats", where=parse_filter(where))).found
        assert (found.document.id, found.document.metadata["uid"]) == ("deep", UID)
        assert orjson.loads(orjson.dumps(found.document.metadata))["lang"] == "en"


def test_a_value_of_another_type_is_a_change(make: Make) -> None:
    index = make()
    for value in (1, True, 1.0, 2**53, float(2**53), "1"):
        written = index.add([DocumentWrite("a", "about cats", {"b": 2, "n": value})])
        assert written.unchanged == 0
        assert repr(index.get(["a"])["a"].metadata["n"]) == repr(value)
        assert index.search(SearchRequest("cats", where=parse_filter({"n": value}))).ids == ["a"]
        assert index.add([DocumentWrite("a", "about cats", {"n": value, "b": 2})]).unchanged == 1
