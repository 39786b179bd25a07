"""Overlap and rank-biased overlap, held against their definitions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upsize.evaluation.ranking_similarity import overlap, rank_biased_overlap

rankings = st.lists(st.sampled_from("abcdefghijkl"), unique=True, max_size=10)


def by_definition(first: list[str], second: list[str], p: float) -> float:
    """Webber, Moffat and Zobel 2010: agreement at each depth, and beyond the lists as at their end."""
    depth = min(len(first), len(second))
    agreement = [len({*first[:d]} & {*second[:d]}) / d for d in range(1, depth + 1)]
    weights = [(1 - p) * p ** (d - 1) for d in range(1, 2000)]
    return sum(w * (agreement[d] if d < depth else agreement[-1]) for d, w in enumerate(weights))


@given(rankings, rankings, st.floats(0.1, 0.95))
def test_rank_biased_overlap_is_the_infinite_sum(first: list[str], second: list[str], p: float) -> None:
    if min(len(first), len(second)):
        assert rank_biased_overlap(first, second, p) == pytest.approx(by_definition(first, second, p), abs=1e-6)


@given(rankings, rankings)
def test_both_are_symmetric_and_between_0_and_1(first: list[str], second: list[str]) -> None:
    for measure in (lambda a, b: overlap(a, b, 10), rank_biased_overlap):
        assert 0 <= measure(first, second) <= 1 + 1e-12
        assert measure(first, second) == pytest.approx(measure(second, first))
        assert measure(first, first) == pytest.approx(1)


def test_what_differs_at_the_top_counts_for_more() -> None:
    base = list("abcdefghij")
    top, bottom = ["x", *base[1:]], [*base[:-1], "x"]
    assert overlap(base, top, 10) == overlap(base, bottom, 10) == 0.9
    assert rank_biased_overlap(base, top) < rank_biased_overlap(base, bottom) < 1


def test_of_nothing() -> None:
    assert overlap([], [], 10) == rank_biased_overlap([], []) == 1
    assert overlap(["a"], [], 10) == rank_biased_overlap(["a"], []) == 0
