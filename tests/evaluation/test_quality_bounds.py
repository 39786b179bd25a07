"""The interval of each candidate's own quality: it holds for every distribution, and rises with each value."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from upsize.evaluation.metrics import Mean, Spearman
from upsize.evaluation.statistics import QualityBounds, Sample, quality_bounds, sample_of
from upsize.selection.comparison import compare_candidates

VALUES = st.one_of(st.sampled_from([0.0, 0.39, 0.5, 0.63, 1.0]), st.floats(0, 1))


def _of(*columns: Sequence[float] | np.ndarray, clusters: Sequence[str] | None = None) -> QualityBounds:
    return quality_bounds(sample_of([[{"value": np.asarray(c)}] for c in columns], Mean("x"), clusters))


@pytest.mark.parametrize(
    ("n", "ones"), [(1, 0), (1, 1), (2, 1), (3, 3), (9, 9), (12, 12), (20, 2), (30, 17), (100, 99), (128, 128)]
)
def test_of_zeros_and_ones_it_is_clopper_and_pearsons(n: int, ones: int) -> None:
    found = _of([1.0] * ones + [0.0] * (n - ones))
    lower = stats.beta.ppf(0.025, ones, n - ones + 1) if ones else 0.0
    upper = stats.beta.ppf(0.975, ones + 1, n - ones) if ones < n else 1.0
    assert (found.estimate[0], found.lower[0], found.upper[0]) == pytest.approx((ones / n, lower, upper), abs=1e-6)


@pytest.mark.parametrize(("n", "ones"), [(200, 180), (1000, 999), (3000, 1500)])
def test_with_many_values_it_is_to_four_digits(n: int, ones: int) -> None:
    found = _of([1.0] * ones + [0.0] * (n - ones))
    assert found.lower[0] == pytest.approx(stats.beta.ppf(0.025, ones, n - ones + 1), abs=1e-4)
    assert found.upper[0] == pytest.approx(stats.beta.ppf(0.975, ones + 1, n - ones), abs=1e-4)


def test_nine_queries_that_are_as_good_or_better() -> None:
    found = _of([0.631] + [1.0] * 8, [1.0] * 9)
    assert found.lower == pytest.approx([0.6306, 0.6637], abs=1e-4)
    assert found.upper[0] < found.upper[1] == 1


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_bounds_rise_with_each_value(data: st.DataObject) -> None:
    """Of units of their own, and of clusters of any sizes."""
    before = np.array(data.draw(st.lists(VALUES, min_size=1, max_size=20)))
    n = len(before)
    after = np.maximum(before, data.draw(st.lists(VALUES, min_size=n, max_size=n)))
    clusters = data.draw(st.none() | st.lists(st.sampled_from("abcd"), min_size=n, max_size=n))
    found = _of(before, after, clusters=clusters)
    assert found.lower[0] <= found.lower[1] + 1e-9
    assert found.upper[0] <= found.upper[1] + 1e-9
    assert (found.lower >= 0).all()
    assert (found.lower <= found.estimate + 1e-12).all()
    assert (found.estimate <= found.upper + 1e-12).all()
    assert (found.upper <= 1).all()


@pytest.mark.parametrize("n", [300, 5000])
def test_bounds_of_many_values_rise_with_each_value(n: int) -> None:
    """Approximated, and counted on a grid."""
    rng = np.random.default_rng(n)
    before = rng.beta(8, 2, n)
    for raised in (1, n // 10, n):
        after = before.copy()
        after[:raised] += (1 - before[:raised]) * rng.random(raised) * 0.01
        found = _of(before, after)
        assert found.lower[0] <= found.lower[1] + 1e-9
        assert found.upper[0] <= found.upper[1] + 1e-9


@pytest.mark.parametrize("groups", [2, 4, 7])
def test_near_equal_candidates_of_few_groups_have_near_equal_widths(groups: int) -> None:
    rng = np.random.default_rng(groups)
    clusters = [str(i % groups) for i in range(30)]
    first = rng.choice([0.0, 0.39, 0.5, 0.63, 1.0], 30)
    others = [np.clip(first + 0.05 * rng.standard_normal(30), 0, 1) for _ in range(4)]
    found = _of(first, *others, clusters=clusters)
    width = found.upper - found.lower
    assert width.max() < 1.1 * width.min()
    assert width.max() < 1
    alone = _of(first, *others)
    assert (width > alone.upper - alone.lower).all(), "few groups say less than as many units"


def test_clusters_of_one_size_count_one_each() -> None:
    means = np.array([0.2, 0.4, 0.7, 0.9, 0.5])
    clustered = _of(np.repeat(means, 3), clusters=[str(i) for i in np.repeat(np.arange(5), 3)])
    single = _of(means)
    assert clustered.lower == pytest.approx(single.lower)
    assert clustered.upper == pytest.approx(single.upper)


def test_seeds_widen_it() -> None:
    values = np.full((50, 1), 0.6)
    seeds = np.array([[0.55], [0.6], [0.65], [0.58], [0.62]])
    alone, both = (
        quality_bounds(Sample(values, range=(0.0, 1.0))),
        quality_bounds(Sample(values, seeds, range=(0.0, 1.0))),
    )
    half = stats.t.ppf(0.975, 4) * seeds.std(ddof=1) / 5**0.5
    assert both.estimate - both.lower == pytest.approx(np.hypot(alone.estimate - alone.lower, half))
    assert both.upper - both.estimate == pytest.approx(np.hypot(alone.upper - alone.estimate, half))


def test_a_jackknifes_values_may_lie_beyond_the_range() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(40):
        gold = rng.normal(size=25)
        found = quality_bounds(
            sample_of([[{"gold": gold, "cosine": 0.8 * gold + 0.6 * rng.normal(size=25)}]], Spearman())
        )
        inside += bool(found.lower[0] <= 6 / np.pi * np.arcsin(0.4) <= found.upper[0])
    assert inside >= 37


def test_the_verdict_has_it() -> None:
    judged = compare_candidates(Sample(np.ones((12, 2)), range=(0.0, 1.0)), 0.01, seed=0)
    assert judged.quality.lower == pytest.approx([0.025 ** (1 / 12)] * 2)
