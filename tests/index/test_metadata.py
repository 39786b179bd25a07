"""What a document may hold, what is refused, and what was stored before there were limits."""

from __future__ import annotations

import json
import sqlite3
from datetime import date
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.index.conftest import TEXTS, Make
from tests.index.tools import ids, write
from upsize.errors import InvalidInput
from upsize.index import DocumentWrite, Journal, SearchRequest, Upsert
from upsize.index.documents import Documents
from upsize.index.metadata import BYTES, DEPTH, OMITTED, decode_metadata, encode_metadata, metadata_fault
from upsize.index.vector_fields import vector_fields
from upsize.index.writes import document_fault


def nested(levels: int, kind: str = "list") -> Any:
    """So many containers around a number."""
    value: Any = 1
    for _ in range(levels):
        value = [value] if kind == "list" else {"a": value}
    return value


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.text(max_size=300), JSON, max_size=5))
def test_what_is_let_in_can_be_written_by_every_part(metadata: dict[str, Any]) -> None:
    if metadata_fault(metadata) is None:
        assert decode_metadata(encode_metadata(metadata)) == metadata
        assert orjson.loads(orjson.dumps(metadata)) == metadata
        assert "\\u0000" not in json.dumps(metadata)


@pytest.mark.parametrize("kind", ["list", "dict"])
def test_nesting_has_a_limit_on_both_sides_of_which_it_is_exact(kind: str) -> None:
    assert metadata_fault({"a": nested(DEPTH - 1, kind)}) is None
    for levels in (DEPTH, 260, 3000, 50_000):
        assert "nested deeper than 32 levels" in str(metadata_fault({"a": nested(levels, kind)}))


@pytest.mark.parametrize(
    ("metadata", "told"),
    [
        ({"a": [{"b": float("nan")}]}, "metadata.a[0].b is nan; give a finite number"),
        ({"a": {"b": [1, -float("inf")]}}, "metadata.a.b[1] is -inf"),
        ({"a": 1 << 64}, "metadata.a is a whole number of more than 64 bits"),
        ({"a": [-(1 << 63) - 1]}, "more than 64 bits"),
        ({"a": {"b\0": 1}}, "holds a NUL"),
        ({"a": ["b\0"]}, "metadata.a[0] holds a NUL"),
        ({"a": "\ud800"}, "half of a surrogate pair"),
        ({"\udfff": 1}, "half of a surrogate pair"),
        ({"k" * 257: 1}, "a key of 257 bytes"),
        ({"a": {"é" * 129: 1}}, "metadata.a has a key of 258 bytes"),
        ({"a": "x" * BYTES}, "bytes as JSON; 65,536 are kept at most"),
        ({"a": list(range(100_000))}, "65,536 are kept at most"),
        ({"a": {1: 2}}, "a key that is not a string"),
        ({"a": date(2026, 1, 1)}, "is of the type date"),
        ({"a": b"bytes"}, "is of the type bytes"),
        ({"a": object()}, "cannot be written as JSON"),
    ],
)
def test_what_cannot_be_kept_is_named_by_its_place(metadata: dict[str, Any], told: str) -> None:
    assert told in str(metadata_fault(metadata))


@pytest.mark.parametrize(
    ("id", "told"),
    [
        ("", "empty string"),
        (" \t", "blank"),
        ("a\nb", "control character '\\n'"),
        ("a\x7f", "control character"),
        ("a\x85", "control character"),
        ("\ud800", "surrogate"),
        ("é" * 257, "longer than 512 bytes"),
        ("x" * (1 << 20), "longer than 512 bytes"),
    ],
)
def test_ids_are_bounded_and_printable(id: str, told: str) -> None:
    assert told in str(document_fault(id, "text", {}))
    assert document_fault("é" * 256, "text", {}) is None


def test_a_text_that_is_no_text_is_refused() -> None:
    assert "surrogate" in str(document_fault("a", "half \udc00", {}))


@pytest.mark.parametrize("levels", [260, 900, 20_000])
def test_a_row_stored_before_there_was_a_limit_breaks_no_search(make: Make, levels: int) -> None:
    index = make("poisoned")
    write(index, TEXTS)
    index.close()
    with sqlite3.connect(index.folder / "documents.sqlite") as connection:
        poison = '{"lang": "en", "deep": ' + "[" * levels + "]" * levels + "}"
        connection.execute("UPDATE documents SET metadata = ? WHERE id = 'soup'", (poison,))
    connection.close()
    index = make("poisoned")
    found = next(
        f for f in index.search(SearchRequest("recipe for onion soup", exact=True)).found if f.document.id == "soup"
    )
    assert OMITTED in orjson.dumps(found.document.metadata).decode()
    if levels < 990:
        assert found.document.metadata["lang"] == "en"
    index.add([DocumentWrite("soup", TEXTS["soup"], {"lang": "en"})])
    assert index.get(["soup"])["soup"].metadata == {"lang": "en"}


def test_a_journal_written_before_there_was_a_limit_is_read_again(make: Make) -> None:
    index = make("replayed")
    write(index, TEXTS)
    for levels in (260, 900):
        index.journal.append([Upsert(f"deep{levels}", "Deeply nested.", {"a": nested(levels), "lang": "en"})])
    index.close()
    for path in index.folder.glob("documents.sqlite*"):
        path.unlink()
    index = make("replayed")
    assert index.documents.count() == len(TEXTS) + 2
    assert index.get(["deep260"])["deep260"].metadata["lang"] == "en"
    for document in index.get(["deep260", "deep900"]).values():
        orjson.dumps(document.metadata)


def test_the_journals_reader_needs_no_more_stack_than_its_writer(tmp_path: Path) -> None:
    deep = Upsert("a", "text", {"a": nested(900)})
    with Journal(tmp_path) as journal:
        journal.append([deep])

        def read(frames: int) -> int:
            return read(frames - 1) if frames else sum(1 for _ in journal.read())

        assert read(300) == 1
        documents = Documents(tmp_path)
        assert documents.catch_up(journal) == 1
        assert OMITTED in json.dumps(documents.get(["a"])["a"].metadata)
        documents.close()


VECTOR = [0.1 * i for i in range(8)]


@pytest.mark.parametrize(
    ("metadata", "held"),
    [
        ({"embedding": VECTOR}, "8 numbers"),
        ({"embeddings": [VECTOR, VECTOR]}, "a list of 8 numbers"),
        ({"values": [1] * 768}, "768 numbers"),
        ({"contentVector": VECTOR}, "8 numbers"),
        ({"text_embedding": VECTOR}, "8 numbers"),
        ({"histogram": list(range(32))}, "32 numbers"),
        ({"a": {"b": {"c": [0.5] * 64}}}, "64 numbers"),
        ({"vector": "zczMPQAAAD/NzEw/zczMPQAAAD/NzEw/zczMPQAAAD8="}, "8 numbers in base64"),
        ({"embedding": str(VECTOR)}, "8 numbers as text"),
        ({"anything": str([0.5] * 32)}, "32 numbers as text"),
        ({"embedding": "0.1 0.2 0.3 0.4 0.5 0.6 0.7 0.8"}, "8 numbers as text"),
        ({"embedding": b"\0" * 32}, "32 bytes"),
    ],
)
def test_vectors_are_recognised(metadata: dict[str, Any], held: str) -> None:
    assert list(vector_fields(metadata | {"lang": "en"}).values()) == [held]


@pytest.mark.parametrize(
    "metadata",
    [
        {"tags": ["a"] * 100},
        {"ratings": list(range(31))},
        {"values": [1, 2, 3]},
        {"attack_vector": "network"},
        {"flags": [True] * 64},
        {"embedding": "text-embedding-3-small"},
        {"year": 2026, "note": "[draft]"},
        {"values": "a" * 44},
    ],
)
def test_what_is_not_a_vector_is_let_pass(metadata: dict[str, Any]) -> None:
    assert vector_fields(metadata) == {}


def test_vectors_in_metadata_are_refused_unless_they_are_wanted(make: Make) -> None:
    index = make()
    document = DocumentWrite("a", "a text", {"embedding": VECTOR, "lang": "en"})
    with pytest.raises(InvalidInput, match=r"\[0\].metadata.embedding holds a vector \(8 numbers\).*own model"):
        index.add([document])
    assert index.documents.count() == 0
    index.add([document], keep_vectors=True)
    assert index.get(["a"])["a"].metadata["embedding"] == VECTOR
    assert ids(index, "a text") == ["a"]
