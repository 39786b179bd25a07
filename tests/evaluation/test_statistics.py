"""The statistics against what is known of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from upsize.evaluation.metrics import Mean, Spearman, VMeasure
from upsize.evaluation.statistics import (
    Sample,
    bounds,
    bounds_of_parts,
    contrasts,
    randomisation,
    sample_of,
    units_needed,
)

RNG = np.random.default_rng(0)


def test_contrasts_are_later_minus_earlier() -> None:
    assert contrasts(3).tolist() == [[-1, 1, 0], [-1, 0, 1], [0, -1, 1]]


def test_one_difference_of_many_normal_values_has_students_interval() -> None:
    values = RNG.normal(size=(400, 2))
    found = bounds(Sample(values), contrasts(2), seed=1)
    difference = values[:, 1] - values[:, 0]
    half = stats.t.ppf(0.975, 399) * difference.std(ddof=1) / 20
    assert found.estimate[0] == pytest.approx(difference.mean())
    assert found.upper[0] - found.estimate[0] == pytest.approx(half, rel=0.06)
    assert found.estimate[0] - found.lower[0] == pytest.approx(half, rel=0.06)


def test_three_at_once_have_tukeys_interval() -> None:
    values = RNG.normal(size=(500, 3))
    found = bounds(Sample(values), contrasts(3), seed=1)
    tukey = stats.studentized_range.ppf(0.95, 3, 998) / 2**0.5
    assert found.critical == pytest.approx([tukey] * 3, rel=0.04)


def test_what_candidates_share_cancels() -> None:
    level, noise = RNG.normal(size=(200, 1)), RNG.normal(size=(200, 2))
    wide, narrow = (bounds(Sample(scale * level + noise), contrasts(2), seed=2) for scale in (0, 100))
    assert narrow.upper - narrow.lower == pytest.approx(wide.upper - wide.lower)


def test_the_same_seed_gives_the_same_bounds() -> None:
    sample = Sample(RNG.random((50, 4)))
    one, again, other = (bounds(sample, contrasts(4), seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(one.lower, again.lower)
    assert not np.array_equal(one.lower, other.lower)


def test_units_that_all_tie_leave_a_doubt() -> None:
    found = bounds(Sample(np.ones((20, 2))), contrasts(2), seed=1)
    assert found.estimate[0] == 0
    assert 0.02 < found.upper[0] < 0.3, "20 ties do not show that there is no difference"


def test_several_samples_are_bounded_at_once() -> None:
    parts = [Sample(RNG.normal(size=(100, 2))) for _ in range(5)]
    alone = bounds(parts[0], contrasts(2), seed=1)
    together = bounds_of_parts(parts, contrasts(2), seed=1)
    assert together[0].critical[0] > alone.critical[0] * 1.2
    assert len({float(b.critical[0]) for b in together}) == 1


def test_seeds_are_a_second_source_of_variance() -> None:
    values = RNG.normal(size=(1000, 2)) * 0.01
    seeds = np.array([[0.5, 0.6], [0.5, 0.7], [0.5, 0.5], [0.5, 0.65]])
    found = bounds(Sample(values, seeds), contrasts(2), seed=1)
    alone = seeds[:, 1].std(ddof=1) / 2
    assert found.error[0] == pytest.approx(alone, rel=0.01)
    half = stats.t.ppf(0.975, 3) * alone
    assert found.upper[0] - found.estimate[0] == pytest.approx(half, rel=0.15)


def test_a_mean_is_its_own_values_and_clusters_count_once() -> None:
    columns = [[{"value": RNG.random(60)}] for _ in range(2)]
    sample = sample_of(columns, Mean("accuracy"))
    assert np.array_equal(sample.values[:, 0], columns[0][0]["value"])
    clusters = [str(i // 6) for i in range(60)]
    clustered = sample_of(columns, Mean("accuracy"), clusters)
    assert clustered.values.shape == (10, 2)
    assert clustered.estimates == pytest.approx(sample.estimates)


def test_clusters_widen_what_they_share() -> None:
    shared = np.repeat(RNG.normal(size=40), 10)
    columns = [[{"value": np.zeros(400)}], [{"value": shared + 0.1 * RNG.normal(size=400)}]]
    clusters = [str(i // 10) for i in range(400)]
    naive, whole = (bounds(sample_of(columns, Mean("m"), c), contrasts(2), seed=1).error[0] for c in (None, clusters))
    assert whole > 2.5 * naive


@pytest.mark.parametrize("metric", [Spearman(), VMeasure()])
def test_the_jackknife_has_the_error_of_repetition(metric: Spearman | VMeasure) -> None:
    """Its standard error against the spread of the metric over new data."""

    def data(rng: np.random.Generator) -> dict[str, np.ndarray]:
        if isinstance(metric, VMeasure):
            label = rng.integers(0, 5, 300)
            return {"label": label, "cluster": np.where(rng.random(300) < 0.7, label, rng.integers(0, 5, 300))}
        gold = rng.normal(size=300)
        return {"gold": gold, "cosine": gold + rng.normal(size=300)}

    repeated = [metric(data(np.random.default_rng(i)), np.arange(300)) for i in range(300)]
    errors = [
        sample_of([[data(np.random.default_rng(i))]], metric).values.std(ddof=1) / 300**0.5 for i in range(0, 300, 30)
    ]
    assert np.mean(errors) == pytest.approx(np.std(repeated), rel=0.15)


def test_the_estimate_is_the_metric_itself() -> None:
    columns = {"gold": RNG.normal(size=80), "cosine": RNG.normal(size=80)}
    sample = sample_of([[columns]], Spearman())
    assert sample.estimates[0] == pytest.approx(stats.spearmanr(columns["gold"], columns["cosine"]).statistic)


def test_p_is_uniform_without_a_difference_and_never_zero() -> None:
    ps = [
        randomisation(Sample(np.random.default_rng(i).normal(size=(30, 2))), contrasts(2), seed=i, resamples=499)[0][0]
        for i in range(300)
    ]
    assert stats.kstest(ps, "uniform").pvalue > 0.01
    far = Sample(np.stack([np.zeros(60), np.ones(60) + 0.01 * RNG.random(60)], axis=1))
    alone, family = randomisation(far, contrasts(2), seed=0, resamples=999)
    assert alone[0] == family[0] == 1 / 1000


def test_p_of_few_units_is_the_exact_one() -> None:
    values = np.stack([np.zeros(6), np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])], axis=1)
    alone, _ = randomisation(Sample(values), contrasts(2), seed=0, resamples=20000)
    assert alone[0] == pytest.approx(2 / 2**6, rel=0.15)


def test_p_of_a_family_is_no_smaller_than_alone() -> None:
    alone, family = randomisation(Sample(RNG.random((40, 4))), contrasts(4), seed=0)
    assert (family >= alone).all()


@given(st.integers(20, 2000), st.floats(-0.1, 0.1), st.floats(0.05, 0.6), st.floats(0.005, 0.1), st.floats(1.9, 3.5))
def test_units_needed_are_more_than_there_are_and_enough(
    units: int, beyond: float, sd: float, distance: float, critical: float
) -> None:
    total = units_needed(units, beyond, sd, (-distance, distance), critical)
    assert total is not None
    assert total > units
    wider = units_needed(units, beyond, sd, (-2 * distance, 2 * distance), critical)
    assert wider is not None
    assert wider <= total * 1.01 + 1 or abs(beyond) > distance


def test_units_needed_from_nothing_is_the_textbooks() -> None:
    """With a pilot of one unit that says nothing: ((z + z) sd / distance)²."""
    total = units_needed(1, 0.0, 0.3, (-0.02, 0.02), 1.96)
    assert total == pytest.approx(((1.96 + 0.8416) * 0.3 / 0.02) ** 2, rel=0.01)


def test_no_number_of_units_makes_up_for_seeds() -> None:
    assert units_needed(100, 0.0, 0.1, (-0.01, 0.01), 2.0, error_seeds=0.02) is None
