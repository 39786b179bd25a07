"""Filters on numbers: the answer of a plain Python comparison, in every store, exact to 64 bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from upsize.errors import InvalidInput
from upsize.store import Store, Table, VectorRows, parse_filter
from upsize.store.filters import meets
from upsize.store.numbers import split

UID = 1746803573373870081
EDGES = [2**53, 2**60, 2**62, 2**63, 2**64 - 1025, -(2**53), -(2**62)]
near = st.builds(lambda edge, step: edge + step, st.sampled_from(EDGES), st.integers(-3, 1025))
integers = st.integers(-(2**63), 2**64 - 1) | near
floats = st.floats(allow_nan=False, allow_infinity=False) | near.map(float)
special: list[Any] = [0, -0.0, 1, 1.0, True, False, "1", "1.0", 1e308, -1e308, 5e-324, 0.1, 2**53, float(2**53)]
numbers = integers | floats
values = numbers | st.sampled_from(special) | st.just(UID) | st.just(float(UID))
TABLE = Table("upsize_numbers_g1", 4)
CHECK = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


def put(store: Store, kept: list[Any]) -> None:
    store.drop(TABLE)
    store.create(TABLE)
    vectors = np.tile(np.array([1, 0, 0, 0], np.float32), (len(kept), 1))
    metadata = [{} if v is None else {"v": v, "w": {"v": 1}} for v in kept]
    store.upsert(TABLE, VectorRows([str(i) for i in range(len(kept))], range(len(kept)), vectors, metadata))


def found(store: Store, filter: dict[str, Any], most: int = 1000) -> list[int]:  # noqa: A002
    hits = store.search(TABLE, np.array([1, 0, 0, 0], np.float32), most, where=parse_filter(filter))
    return sorted(int(hit.id) for hit in hits)


def test_an_identifier_beyond_53_bits_finds_its_own_document_only(store: Store) -> None:
    put(store, [UID - 1, UID, UID + 1, UID + 200, float(UID), -UID, str(UID), None])
    assert found(store, {"v": UID}) == [1]
    assert found(store, {"v": {"in": [UID, -UID, 5]}}) == [1, 5]
    assert found(store, {"v": {"ne": UID}}) == [0, 2, 3, 4, 5]
    assert found(store, {"v": {"gt": UID}}) == [2, 3]
    assert found(store, {"v": {"gte": UID, "lt": UID + 1}}) == [1]
    assert found(store, {"v": float(UID)}) == [0, 4]  # the float nearest to it is UID - 1


@settings(max_examples=8, deadline=None, suppress_health_check=CHECK, derandomize=True)
@example(kept=[2**53, 2**53 + 1, 2**53 + 2, float(2**53), 2**64 - 1, 2**63], asked=[2**53 + 1, float(2**53), 2**63])
@example(kept=special, asked=[0, 1, 1.0, 1e308, 2**53])
@given(kept=st.lists(values, min_size=1, max_size=12), asked=st.lists(numbers, min_size=1, max_size=3))
def test_filters_on_numbers_are_those_of_python(store: Store, kept: list[Any], asked: list[Any]) -> None:
    put(store, [*kept, *asked])
    filters: list[dict[str, Any]] = [{"v": {"in": asked}}]
    filters += [{"v": {operator: asked[0]}} for operator in ("eq", "ne", "gt", "gte", "lt", "lte")]
    filters += [{"v": {"gte": asked[0], "lt": asked[-1]}}]
    for filter in filters:  # noqa: A001
        where = parse_filter(filter)
        assert found(store, filter) == [i for i, v in enumerate([*kept, *asked]) if meets({"v": v}, where)], filter


@given(values.filter(lambda v: not isinstance(v, str | bool)), values.filter(lambda v: not isinstance(v, str | bool)))
def test_pairs_are_ordered_as_the_numbers(first: Any, second: Any) -> None:
    assert (split(first) < split(second)) == (first < second)
    assert (split(first) == split(second)) == (first == second)
    high, low = split(first)
    assert int(high) + int(low) == first if isinstance(first, int) else high + low == first


def test_what_python_itself_says() -> None:
    for filter, metadata, expected in (  # noqa: A001
        ({"v": 1}, {"v": True}, False),
        ({"v": True}, {"v": 1}, False),
        ({"v": 1}, {"v": 1.0}, True),
        ({"v": 1}, {"v": "1"}, False),
        ({"v": {"ne": 1}}, {}, False),
        ({"v": {"ne": 1}}, {"v": None}, False),
        ({"v": 0}, {"v": -0.0}, True),
        ({"v": {"in": ["a", "b"]}}, {"v": "b"}, True),
        ({"v": {"gt": "Z"}}, {"v": "a"}, True),
        ({"v": 1, "w": 2}, {"v": 1}, False),
    ):
        assert meets(metadata, parse_filter(filter)) is expected, (filter, metadata)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("filter", "told"),
    [
        ({"v": 10**400}, "more than 64 bits"),
        ({"v": 2**64}, "more than 64 bits"),
        ({"v": {"in": [1, -(2**63) - 1]}}, "more than 64 bits"),
        ({"v": float("nan")}, "finite number"),
        ({"v": {"lt": float("inf")}}, "finite number"),
        ({f"f{i}": 1 for i in range(65)}, "more than 64 conditions"),
        ({"v": {"in": list(range(4097))}}, "4,097 values"),
        ({"v" * 1025: 1}, "1,025 characters"),
        ({"v": {"in": [[[]]]}}, "a list; give a string"),
        ({"v": "a\0b"}, "filter.v holds a NUL"),
        ({"v": {"in": ["a", "\ud800"]}}, "half of a surrogate pair"),
        ({"v\0": 1}, "a field's name holds a NUL"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_filter_beyond_its_bounds_is_told(filter: dict[str, Any], told: str) -> None:  # noqa: A002
    with pytest.raises(InvalidInput, match=told):
        parse_filter(filter)


def test_the_largest_filter_is_answered(store: Store) -> None:
    put(store, [UID + 10_000 + i for i in range(5)])
    small = range(300 if store.kind == "qdrant" else 3_968)  # whose local mode is slow
    filter = {"v": {"in": [UID + i for i in range(9_936, 10_002)] + list(small)}}  # noqa: A001
    assert found(store, filter | {f"f{i}": 1 for i in range(62)}) == []
    assert found(store, filter) == [0, 1]
