"""Numbers for people: never an exponent, never a bare question mark."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upsize.number_format import bounds, cells, fixed, plain, short


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1304.4, "1,304"),
        (1e6, "1,000,000"),
        (12.0, "12"),
        (0.5, "0.500"),
        (0.00001, "0.0000100"),
        (0.9996, "1.00"),
        (99.96, "100"),
        (-0.0, "0"),
        (-0.02, "-0.0200"),
        (1e-15, "less than 0.000000000001"),
        (-1e-15, "0"),
        (math.nan, "–"),
        (math.inf, "∞"),
        (None, "–"),
    ],
)
def test_plain(value: float | None, shown: str) -> None:
    assert plain(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.00001, "0.00001"), (0.01, "0.01"), (300.0, "300"), (1e6, "1,000,000"), (2.5, "2.5"), (-0.0, "0"), (0.1, "0.1")],
)
def test_short(value: float, shown: str) -> None:
    assert short(value) == shown


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e15, max_value=1e15), st.integers(1, 6))
def test_shown_is_the_value_to_its_digits_and_has_no_exponent(value: float, digits: int) -> None:
    for told in (plain(value, digits), short(value), fixed(value, digits)):
        assert re.fullmatch(r"(less than )?-?[\d,]+(\.\d+)?", told), told
        assert not re.fullmatch(r"-[0.,]+", told), "a zero has no sign"
    if abs(value) >= 1e-9:
        read = float(plain(value, digits).replace(",", ""))
        assert read == pytest.approx(value, rel=0.51 * 10 ** (1 - digits))


def test_an_open_end_is_said() -> None:
    assert bounds("32", None) == "at least 32"
    assert bounds("32", "41") == "32 to 41"


def test_wide_characters_take_two_cells_and_marks_none() -> None:
    assert cells("ab漢字") == 6
    assert cells("e\u0301") == 1
