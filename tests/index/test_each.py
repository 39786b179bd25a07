"""What fails because of one item fails for that one alone."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upsize.errors import InvalidInput, NonFiniteVector, Unavailable
from upsize.index.bisection import each


@given(st.lists(st.booleans(), max_size=40))
def test_every_good_item_gets_its_value_and_every_bad_one_its_error(bad: list[bool]) -> None:
    calls = 0

    def compute(items: Sequence[int]) -> list[int]:
        nonlocal calls
        calls += 1
        if wrong := [i for i in items if bad[i]]:
            raise NonFiniteVector(items.index(wrong[0]), "float32") if len(items) > 1 else InvalidInput(str(wrong[0]))
        return [10 * i for i in items]

    outcomes = each(compute, range(len(bad)))
    assert [str(o) if isinstance(o, InvalidInput) else o for o in outcomes] == [
        str(i) if bad[i] else 10 * i for i in range(len(bad))
    ]
    assert calls <= 1 + 2 * max(len(bad), 1).bit_length() * max(sum(bad), 1)


def test_what_is_no_items_fault_is_raised() -> None:
    def compute(_: Sequence[int]) -> list[int]:
        raise Unavailable("draining")

    with pytest.raises(Unavailable):
        each(compute, [1, 2])
