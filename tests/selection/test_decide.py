"""The decision, case by case."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from upsize.evaluation.statistics import Sample
from upsize.selection.comparison import compare_candidates
from upsize.selection.decision import DecisionResult, bound_matrices, decide


def decided(*pairs: tuple[float, float], delta: float = 0.01) -> DecisionResult:
    """From bounds of 1−0, or of 1−0, 2−0, 2−1."""
    lower, upper = (np.array(side) for side in zip(*pairs, strict=True))
    return decide(*bound_matrices({1: 2, 3: 3}[len(pairs)], lower, upper), delta)


def test_stay_where_the_larger_is_surely_not_better_by_the_margin() -> None:
    assert decided((-0.02, 0.009)) == DecisionResult("stay", 0, True, ())


def test_go_up_where_it_surely_is() -> None:
    assert decided((0.011, 0.05)) == DecisionResult("go_up", 1, True, ())


@pytest.mark.parametrize("bounds", [(-0.02, 0.02), (0.005, 0.05), (0.0, 0.011)])
def test_cannot_tell_between(bounds: tuple[float, float]) -> None:
    assert decided(bounds) == DecisionResult("cannot_tell", 0, False, ((0, 1),))


def test_a_gain_that_is_sure_but_smaller_than_the_margin_is_no_reason_to_move() -> None:
    assert decided((0.002, 0.008)).decision == "stay"


def test_the_smallest_that_is_good_enough() -> None:
    assert decided((0.03, 0.06), (0.03, 0.06), (-0.009, 0.009)) == DecisionResult("go_up", 1, True, ())


def test_up_to_the_largest_step_by_step() -> None:
    assert decided((0.03, 0.06), (0.06, 0.1), (0.02, 0.05)) == DecisionResult("go_up", 2, True, ())


def test_up_for_sure_and_whether_further_is_open() -> None:
    assert decided((0.03, 0.06), (0.03, 0.08), (-0.02, 0.03)) == DecisionResult("go_up", 1, False, ((1, 2),))


def test_up_past_one_of_which_nothing_is_known() -> None:
    answer = decided((-0.02, 0.05), (0.02, 0.09), (-0.02, 0.06))
    assert answer == DecisionResult("go_up", 2, False, ((1, 2),))


def test_good_enough_and_smaller_comes_before_surely_better() -> None:
    assert decided((0.005, 0.05), (0.02, 0.06), (-0.03, 0.009)).choice == 1


def test_a_smaller_one_that_is_better_is_no_reason_to_go_up() -> None:
    assert decided((-0.08, -0.03)).decision == "stay"


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=6), st.floats(0, 0.3), st.floats(0, 0.2))
def test_with_bounds_that_hold_what_is_said_is_true(quality: list[float], half: float, delta: float) -> None:
    """Bounds around the truth: going up is to one that is better, and a settled choice is within the margin."""
    m = len(quality)
    true = np.array([quality[j] - quality[i] for i in range(m) for j in range(i + 1, m)])
    answer = decide(*bound_matrices(m, true - half, true + half), delta)
    if answer.decision == "go_up":
        assert max(quality) - quality[0] > delta
    if answer.decision == "stay" or answer.settled:
        assert max(quality) - quality[answer.choice] <= delta + half * 2 + 1e-9
        assert answer.settled
    assert bool(answer.open) != answer.settled


def test_one_candidate_is_stayed_with() -> None:
    assert decide(np.zeros((1, 1)), np.zeros((1, 1)), 0.01) == DecisionResult("stay", 0, True, ())


def test_a_single_candidate_has_a_quality_and_no_difference() -> None:
    judged = compare_candidates(Sample(np.random.default_rng(0).random((20, 1))), 0.01, seed=0)
    assert judged.decided == DecisionResult("stay", 0, True, ())
    assert judged.quality.lower[0] < judged.quality.estimate[0] < judged.quality.upper[0]
    assert len(judged.differences.estimate) == len(judged.p) == 0
    assert judged.size is None
