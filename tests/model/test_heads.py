"""States become unit vectors of any dimension, or a refusal that names the row."""

from __future__ import annotations

import numpy as np
import pytest

from upsize.errors import InvalidDimension, NonFiniteVector
from upsize.model import check_dimension, probability, unit_vectors

STATES = np.random.default_rng(0).normal(0, 50, (5, 128)).astype(np.float32)


@pytest.mark.parametrize("dimension", range(32, 129))
def test_every_dimension_is_cut_then_normalised(dimension: int) -> None:
    cut = STATES[:, :dimension].astype(np.float64)
    expected = cut / np.linalg.norm(cut, axis=1, keepdims=True)
    vectors = unit_vectors(STATES, dimension, "float32")
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected, atol=1e-7)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", [0, 127])
def test_a_value_that_is_not_finite_names_its_row(wrong: float, column: int) -> None:
    states = STATES.copy()
    states[3, column] = wrong
    with pytest.raises(NonFiniteVector, match="Text 3 gave NaN or infinite values in float16") as caught:
        unit_vectors(states, 32, "float16")
    assert (caught.value.index, caught.value.precision) == (3, "float16")


@pytest.mark.parametrize("kept", [128, 32])
def test_zeros_alone_have_no_direction(kept: int) -> None:
    states = STATES.copy()
    states[2, :kept] = 0
    with pytest.raises(NonFiniteVector, match="Text 2 gave zeros alone in bfloat16"):
        unit_vectors(states, kept, "bfloat16")


def test_no_states_are_no_vectors() -> None:
    assert unit_vectors(STATES[:0], 64, "float32").shape == (0, 64)


def test_dimensions_from_32_to_the_hidden_size() -> None:
    assert check_dimension(None, 1024) == 1024
    assert [check_dimension(d, 1024) for d in (32, 33, 1024)] == [32, 33, 1024]
    assert check_dimension(16, 16) == 16


@pytest.mark.parametrize("asked", [31, 1025, 0, -1, True, 64.0, "64"])
def test_another_dimension_is_refused_with_the_range(asked: object) -> None:
    with pytest.raises(InvalidDimension, match=r"any whole number from 32 to 1024\.") as caught:
        check_dimension(asked, 1024)  # type: ignore[arg-type]
    assert repr(asked) in str(caught.value)
    assert caught.value.param == "dimensions"


def test_probability_is_the_softmax_of_yes() -> None:
    log_odds = np.array([-11.375, -1, 0, 7.625, 100, -800, 800], np.float32)
    wide = log_odds.astype(np.float64)
    expected = np.exp(np.minimum(wide, 0)) / (np.exp(np.minimum(wide, 0)) + np.exp(np.minimum(-wide, 0)))
    np.testing.assert_allclose(probability(log_odds), expected, atol=1e-7)
