"""Texts in any iterable are accepted. A value of another type is an error that names its index."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from upsize import Embedder, Reranker
from upsize.errors import InvalidInput


class Column:
    """Like a pandas Series: iterates over its values, and is indexed by its labels."""

    ndim = 1

    def __init__(self, values: list[Any]) -> None:
        self._values = values

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, label: object) -> Any:
        raise KeyError(label)


class Frame(Column):
    """As a pandas DataFrame: it goes over the names of its columns."""

    ndim = 2


class NAType:
    """As pandas' missing value."""

    def __repr__(self) -> str:
        return "<NA>"


TEXTS = ["a lamp", "a recipe", "the sun"]
NAN = float("nan")


@pytest.fixture(scope="module")
def embedder(embedder_folder: Path) -> Iterator[Embedder]:
    with Embedder(str(embedder_folder), dtype="float32") as embedder:
        yield embedder


@pytest.fixture(scope="module")
def reranker(reranker_folder: Path) -> Iterator[Reranker]:
    with Reranker(str(reranker_folder), dtype="float32") as reranker:
        yield reranker


@pytest.mark.parametrize(
    "column",
    [
        tuple(TEXTS),
        deque(TEXTS),
        np.array(TEXTS),
        np.array(TEXTS, object),
        Column(TEXTS),
        dict.fromkeys(TEXTS).keys(),
        dict(enumerate(TEXTS)).values(),
    ],
    ids=lambda c: type(c).__name__,
)
def test_columns_of_texts(embedder: Embedder, reranker: Reranker, column: Any) -> None:
    np.testing.assert_array_equal(embedder.encode_document(column), embedder.encode_document(TEXTS))
    np.testing.assert_array_equal(reranker.score("light", column), reranker.score("light", TEXTS))
    assert [r.document for r in reranker.rank("light", column)] == [r.document for r in reranker.rank("light", TEXTS)]
    assert embedder.count_tokens(column) == embedder.count_tokens(TEXTS)


def test_a_generator_is_read_once(embedder: Embedder, reranker: Reranker) -> None:
    np.testing.assert_array_equal(embedder.encode(t for t in TEXTS), embedder.encode(TEXTS))
    assert len(reranker.rank("light", (t for t in TEXTS))) == 3


WRONG: list[tuple[Any, str]] = [
    ({"text": "a"}, "is a dict"),
    (OrderedDict(a="b"), "is a OrderedDict"),
    ({"a"}, "no order"),
    (frozenset("a"), "no order"),
    (b"bytes", "is a bytes"),
    (bytearray(b"x"), "is a bytearray"),
    (None, "is a NoneType"),
    (5, "is a int"),
    (Path("a/b"), "is a Posix"),
    (Frame(["text", "title"]), "has 2 dimensions"),
    (np.array([TEXTS]), "has 2 dimensions"),
    (np.array("a"), "has 0 dimensions"),
    (["a", None], r"\[1\] is None"),
    (["a", "b", NAN], r"\[2\] is NaN"),
    (Column(["a", None]), r"\[1\] is None"),
    (Column(["a", NAType()]), r"\[1\] is <NA> \(a missing value\)"),
    ([["a"]], r"\[0\] is a list"),
    (["a", b"b"], r"\[1\] is a bytes"),
    ([1, 2], r"\[0\] is a int"),
    ([Path("a")], r"\[0\] is a Posix"),
]


@pytest.mark.parametrize(("given", "message"), WRONG, ids=lambda v: str(v)[:24])
def test_what_is_no_column_of_texts(embedder: Embedder, reranker: Reranker, given: Any, message: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: embedder.encode_query(given),
        lambda: embedder.encode_document(given),
        lambda: embedder.encode(given),
        lambda: embedder.count_tokens(given),
        lambda: list(embedder.stream(given, "document")),
        lambda: reranker.score("q", given),
        lambda: reranker.log_odds("q", given),
        lambda: reranker.rank("q", given),
        lambda: reranker.count_tokens("q", given),
        lambda: list(reranker.stream([("q", given)])),
    ]
    for call in calls:
        with pytest.raises(InvalidInput, match=message):
            call()


def test_one_string_is_not_its_characters(embedder: Embedder, reranker: Reranker) -> None:
    for call in (
        lambda: reranker.rank("q", "hello"),
        lambda: reranker.score("q", "hello"),
        lambda: reranker.count_tokens("q", "hello"),
        lambda: embedder.count_tokens("hello"),
        lambda: list(embedder.stream("hello", None)),
    ):
        with pytest.raises(InvalidInput, match="is one string; give a list"):
            call()


@pytest.mark.parametrize("query", ["", None, 5, ["q"], b"q", NAN, "half \ud800"])
def test_what_is_no_query(reranker: Reranker, query: Any) -> None:
    for call in (
        lambda: reranker.rank(query, TEXTS),
        lambda: reranker.score(query, TEXTS),
        lambda: reranker.count_tokens(query, TEXTS),
        lambda: list(reranker.stream([(query, TEXTS)])),
    ):
        with pytest.raises(InvalidInput, match=r"^query is") as caught:
            call()
        assert caught.value.param == "query"


@pytest.mark.parametrize("instruction", [5, ["x"], "half \udfff", b"x"])
def test_what_is_no_instruction(embedder: Embedder, reranker: Reranker, instruction: Any) -> None:
    for call in (
        lambda: embedder.encode_query("a", instruction=instruction),
        lambda: embedder.count_tokens(["a"], instruction=instruction),
        lambda: reranker.rank("q", TEXTS, instruction),
    ):
        with pytest.raises(InvalidInput, match=r"^instruction is"):
            call()


@pytest.mark.parametrize("text", ["half \ud800", "\udc00"])
def test_half_a_surrogate_pair_is_named(embedder: Embedder, reranker: Reranker, text: str) -> None:
    with pytest.raises(InvalidInput, match=r"input\[1\] is not valid Unicode"):
        embedder.encode(["a", text])
    with pytest.raises(InvalidInput, match=r"documents\[1\] is not valid Unicode"):
        reranker.rank("q", ["a", text])
