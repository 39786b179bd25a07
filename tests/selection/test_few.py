"""Few units, and what does not vary: bounds within the metric's range, and no verdict without something to judge by."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from upsize.errors import InvalidInput
from upsize.evaluation.metrics import AveragePrecision, BitextF1, Mean, Metric, Spearman, VMeasure
from upsize.evaluation.statistics import (
    FEWEST,
    FEWEST_EFFECTIVE,
    Sample,
    bounds,
    contrasts,
    sample_of,
    units_needed,
    upper_sd,
)
from upsize.evaluation.statistics.distribution_free import lower_bounds, upper_bounds
from upsize.selection.comparison import compare_candidates
from upsize.selection.pipeline import run_choice
from upsize.selection.settings import ChoiceSettings
from upsize.selection.wording import reason_text

RNG = np.random.default_rng(0)


# bounds that hold for every distribution


@pytest.mark.parametrize(("n", "ones"), [(5, 0), (20, 2), (30, 30), (100, 3), (5000, 20)])
@pytest.mark.parametrize("alpha", [0.025, 0.0004])
def test_of_zeros_and_ones_they_are_clopper_and_pearsons(n: int, ones: int, alpha: float) -> None:
    values = np.zeros((1, n))
    values[0, :ones] = 1
    upper = 1.0 if ones == n else stats.beta.ppf(1 - alpha, ones + 1, n - ones)
    lower = 0.0 if ones == 0 else stats.beta.ppf(alpha, ones, n - ones + 1)
    assert upper_bounds(values, np.ones(1), alpha)[0] == pytest.approx(upper, abs=3e-3)
    assert lower_bounds(values, np.zeros(1), alpha)[0] == pytest.approx(lower, abs=3e-3)


def test_they_are_the_quantile_over_random_weights() -> None:
    values = RNG.beta(2, 5, (1, 30))
    weights = np.random.default_rng(1).dirichlet(np.ones(31), 200_000)
    drawn = weights @ np.append(values[0], 1.0)
    assert upper_bounds(values, np.ones(1), 0.025)[0] == pytest.approx(np.quantile(drawn, 0.975), abs=1e-3)


def test_counts_on_a_grid_are_near() -> None:
    values = RNG.beta(1, 3, (2, 6000))
    whole = upper_bounds(values, np.ones(2), 0.001)
    half = np.sort(values, axis=1)[:, ::2], np.sort(values, axis=1)[:, 1::2]
    low, high = (upper_bounds(part, np.ones(2), 0.001, np.full((2, 3000), 2.0)) for part in half)
    assert (low < whole).all()
    assert (whole < high).all()


def test_where_much_was_seen_the_bounds_are_the_bootstraps() -> None:
    """No wider than Student's by more than 10 %."""
    values = 0.5 + 0.2 * RNG.standard_normal((200, 2))
    found = bounds(Sample(values, range=(0.0, 1.0)), contrasts(2), seed=1)
    half = stats.t.ppf(0.975, 199) * (values[:, 1] - values[:, 0]).std(ddof=1) / 200**0.5
    assert found.upper[0] - found.estimate[0] == pytest.approx(half, rel=0.1)
    assert found.allowance[0] == 0


@pytest.mark.parametrize("candidates", [2, 4])
def test_where_all_tie_the_bounds_are_those_that_hold_for_every_distribution(candidates: int) -> None:
    """Not wider: what a bootstrap imagines of ties is then left out."""
    found = bounds(Sample(np.ones((15, candidates)), range=(0.0, 1.0)), contrasts(candidates), seed=1)
    pairs = candidates * (candidates - 1) // 2
    assert found.upper == pytest.approx([1 - (0.025 / pairs) ** (1 / 15)] * pairs, abs=2e-3)
    assert found.lower == pytest.approx(-found.upper)


@pytest.mark.parametrize("groups", [3, 4, 9])
def test_differences_of_few_groups_are_about_equally_uncertain(groups: int) -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        base = rng.choice([0.0, 0.39, 0.5, 0.63, 1.0], 30)
        columns = [[{"value": np.clip(base + 0.15 * rng.standard_normal(30), 0, 1)}] for _ in range(3)]
        found = compare_candidates(
            sample_of(columns, Mean("x"), [str(i % groups) for i in range(30)]), 0.01, seed=0, units=30
        )
        width = found.differences.upper - found.differences.lower
        assert found.too_few
        assert width.max() < 1.2 * width.min()
        assert width.max() < 1.8


# within the range


def _columns(metric: Metric, n: int, rng: np.random.Generator, perfect: bool) -> dict[str, np.ndarray]:
    if metric.mean:
        return {"value": np.ones(n) if perfect else rng.choice([0.0, 0.39, 1.0], n)}
    if isinstance(metric, VMeasure):
        label = np.arange(n) % 3
        return {"label": label, "cluster": label if perfect else rng.integers(0, 3, n)}
    if isinstance(metric, BitextF1):
        gold = np.arange(n)
        return {"gold": gold, "predicted": gold if perfect else rng.integers(0, n, n)}
    score = (np.arange(n) % 2).astype(float) if isinstance(metric, AveragePrecision) else np.arange(n) * 1.0
    return {"gold": score, "cosine": score if perfect else rng.normal(size=n)}


@pytest.mark.parametrize("metric", [Mean("nDCG@10"), Spearman(), AveragePrecision(), VMeasure(), BitextF1()])
@pytest.mark.parametrize("n", [1, 2, 3, 9, 10, 25])
@pytest.mark.parametrize("perfect", [False, True])
def test_bounds_lie_within_the_range_of_the_metric(metric: Metric, n: int, perfect: bool) -> None:
    rng = np.random.default_rng(n)
    columns = [[_columns(metric, n, rng, perfect)] for _ in range(3)]
    found = compare_candidates(sample_of(columns, metric), 0.01, seed=1, resamples=200)
    least, greatest = metric.range
    assert np.isfinite(found.differences.sd).all()
    for part, low, high in ((found.quality, least, greatest), (found.differences, least - greatest, greatest - least)):
        assert np.isfinite([part.estimate, part.lower, part.upper]).all()
        assert (low <= part.lower).all()
        assert (part.upper <= high).all()
        assert (part.lower <= part.estimate + 1e-12).all()
        assert (part.estimate <= part.upper + 1e-12).all()
    assert found.too_few == (n < FEWEST)
    assert found.decided is not None
    if n < FEWEST:
        assert found.decided.decision == "cannot_tell"
        assert found.more == FEWEST - n
        assert found.size is None


def test_seeds_do_not_lead_beyond_it() -> None:
    columns = [[{"value": RNG.choice([0.0, 1.0], 30)} for _ in range(5)] for _ in range(2)]
    found = compare_candidates(sample_of(columns, Mean("accuracy")), 0.01, seed=0)
    assert (found.quality.upper <= 1).all()
    assert (found.differences.lower >= -1).all()


# what is said


def _said(values: np.ndarray, delta: float = 0.01, seeds: np.ndarray | None = None) -> str:
    judged = compare_candidates(Sample(values, seeds), delta, seed=0)
    names = [f"m{i}" for i in range(values.shape[1])]
    return reason_text(judged, names, "nDCG@10", len(values), "query", delta, range(len(names)))


def test_three_queries_are_too_few() -> None:
    values = np.array([[0.1, 0.9], [0.2, 0.8], [0.3, 0.9]])
    assert _said(values) == (
        "Too few to judge: 3 queries, and 10 are the fewest that are judged; label about 7 more. "
        "Meanwhile use m0, the smallest."
    )


def test_many_queries_of_few_documents_are_too_few() -> None:
    clusters = [str(i // 40) for i in range(320)]
    columns = [[{"value": RNG.random(320)}] for _ in range(2)]
    sample = sample_of(columns, Mean("x"), clusters)
    judged = compare_candidates(sample, 0.01, seed=0, units=320)
    assert judged.too_few
    assert judged.more == 80
    told = reason_text(judged, ["a", "b"], "x", 320, "query", 0.01, [0, 1])
    assert "320 queries that come in 8 independent groups, and 10 groups are the fewest" in told
    uneven = sample_of(columns, Mean("x"), ["hub"] * 200 + [str(i) for i in range(120)])
    judged = compare_candidates(uneven, 0.01, seed=0, units=320)
    assert judged.too_few
    assert judged.effective < FEWEST_EFFECTIVE
    assert judged.more is None
    assert "tell as much as 2.6 equal ones; 8 are the fewest" in reason_text(
        judged, ["a", "b"], "x", 320, "query", 0.01, [0, 1]
    )


def test_without_a_margin_the_number_is_told_and_no_false_reason() -> None:
    values = 0.5 + 0.25 * np.random.default_rng(4).standard_normal((60, 2))
    judged = compare_candidates(Sample(values), 0.0, seed=0)
    assert judged.decided is not None
    assert judged.decided.decision == "cannot_tell"
    told = _said(values, delta=0.0)
    assert "seeds" not in told
    assert f"with no margin, and differences as observed, label about {judged.more:,} more queries" in told
    (beyond,) = judged.differences.estimate
    sd = upper_sd(float(np.sqrt(judged.differences.error[0] ** 2 * 60)), 60)
    assert judged.more is not None
    total = units_needed(60, float(beyond), sd, (float(beyond),), float(judged.differences.critical[0]))
    assert total is not None
    assert judged.more == pytest.approx(total - 60, rel=0.1)


def test_why_no_number_is_told() -> None:
    same = np.repeat(RNG.random((40, 1)), 2, axis=1)
    assert "candidates that are alike cannot be told apart by any number" in _said(same, delta=0.0)
    noisy = 0.5 + 0.05 * RNG.standard_normal((400, 2))
    seeds = np.array([[0.5, 0.5], [0.5, 0.8], [0.5, 0.3], [0.5, 0.9], [0.5, 0.1]])
    assert "the algorithm's own seeds vary too much" in _said(noisy, seeds=seeds)
    assert "more than 1,000,000,000 more would be needed for so small a margin" in _said(noisy, delta=1e-7)


def test_one_number_is_told(questions: Path, small: str, large: str, tmp_path: Path) -> None:
    found = run_choice(ChoiceSettings(questions, (small, large), tmp_path, speed=False))
    assert found.decision == "cannot_tell"
    assert found.queries_needed is not None
    assert found.sample_size is not None
    assert found.sample_size.total == found.sample_size.more + found.task.units
    numbers = {f"{found.sample_size.more:,} more"}
    told = " ".join([found.reason, *found.what_would_change_it])
    assert all(number in told for number in numbers)
    assert "as observed" not in told


def test_three_labelled_queries_from_end_to_end(questions: Path, small: str, large: str, tmp_path: Path) -> None:
    path = tmp_path / "three.jsonl"
    path.write_text("".join(questions.read_text().splitlines(keepends=True)[:3]))
    found = run_choice(ChoiceSettings(path, (small, large), tmp_path / "out", speed=False))
    assert found.too_few
    assert (found.decision, found.settled, found.choice) == ("cannot_tell", False, found.candidates[0].id)
    assert found.reason.startswith("Too few to judge: 3 queries")
    assert (found.queries_needed, found.sample_size) == (7, None)
    assert all(0 <= c.quality.lower <= c.quality.upper <= 1 for c in found.candidates)
    (difference,) = found.differences
    assert -1 <= difference.lower <= difference.upper <= 1
    assert json.loads((tmp_path / "out" / "verdict.json").read_text())["too_few"] is True


@pytest.mark.parametrize("relevant", [1.0, 0.0])
def test_judgements_by_which_no_model_can_differ(small: str, large: str, tmp_path: Path, relevant: float) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    for name, count in (("queries", 12), ("corpus", 5)):
        rows = (json.dumps({"_id": f"{name[0]}{i}", "text": f"{name} {i}"}) for i in range(count))
        (folder / f"{name}.jsonl").write_text("\n".join(rows))
    pairs = (f"q{q}\tc{c}\t{int(relevant)}" for q in range(12) for c in range(5))
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n" + "\n".join(pairs))
    found = run_choice(ChoiceSettings(folder, (small, large), tmp_path / "out", speed=False))
    assert (found.decision, found.settled, found.choice) == ("cannot_tell", False, found.candidates[0].id)
    assert (found.queries_needed, found.sample_size) == (None, None)
    assert {c.quality.estimate for c in found.candidates} == {relevant}
    assert "every order of the documents is as good as another for each of the 12 queries" in found.reason
    told = " ".join((found.reason, *found.what_would_change_it, *found.notes))
    assert "label about" not in told
    assert "1 groups" not in told
    assert "better than chance" not in told
    assert found.what_would_change_it[0].startswith("Judgements that tell documents apart")


def test_labels_that_say_nothing_are_said(small: str, large: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [f"text number {i} about {rng.integers(1000)},{'ab'[rng.integers(2)]}" for i in range(60)]
    path = tmp_path / "random.csv"
    path.write_text("text,label\n" + "\n".join(rows) + "\n")
    found = run_choice(ChoiceSettings(path, (small, large), tmp_path / "out", kind="clustering", speed=False))
    assert any(note.startswith("No candidate is shown to be better than chance: V-measure") for note in found.notes)


# repeats, and values that are none


@given(st.integers(2, 4), st.integers(12, 30), st.integers(0, 5))
@settings(max_examples=10, deadline=None)
def test_repeats_change_nothing(copies: int, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    once = [[{"value": rng.random(n)}] for _ in range(2)]
    often = [[{"value": np.tile(columns["value"], copies)}] for (columns,) in once]
    one = compare_candidates(sample_of(once, Mean("x")), 0.01, seed=1, resamples=300)
    repeats = np.tile(np.arange(n), copies)
    other = compare_candidates(sample_of(often, Mean("x"), repeats=repeats), 0.01, seed=1, resamples=300)
    assert other.differences.lower == pytest.approx(one.differences.lower)
    assert other.differences.upper == pytest.approx(one.differences.upper)
    assert other.decided == one.decided


def test_repeats_of_pairs_change_nothing() -> None:
    gold = RNG.normal(size=40)
    once = [[{"gold": gold, "cosine": gold + RNG.normal(size=40)}] for _ in range(2)]
    often = [[{name: np.tile(c, 3) for name, c in columns.items()}] for (columns,) in once]
    one = sample_of(once, Spearman())
    other = sample_of(often, Spearman(), repeats=np.tile(np.arange(40), 3), kept=np.arange(40))
    assert other.values == pytest.approx(one.values)


def test_a_repeat_weighs_once_in_the_estimate() -> None:
    columns = [[{"value": np.array([1.0] * 30 + [0.0] * 30)}]]
    repeats = np.array([0] * 30 + list(range(30, 60)))
    assert sample_of(columns, Mean("x"), repeats=repeats).estimates[0] == pytest.approx(1 / 31)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_refused(wrong: float) -> None:
    columns = [[{"value": np.ones(20)}], [{"value": np.append(np.ones(19), wrong)}]]
    with pytest.raises(InvalidInput, match="Candidate 2 of 2: 1 of 20 values of 'value' are not finite numbers"):
        sample_of(columns, Mean("x"))


def test_identical_candidates_are_stayed_with_once_there_are_enough() -> None:
    for n, decision in ((50, "cannot_tell"), (1000, "stay")):
        judged = compare_candidates(Sample(np.repeat(RNG.random((n, 1)), 3, axis=1)), 0.01, seed=0, resamples=300)
        assert judged.decided is not None
        assert judged.decided.decision == decision
        assert judged.differences.sd.tolist() == pytest.approx([0, 0, 0])


# margins


@given(
    st.integers(0, 10_000),
    st.integers(2, 6),
    st.sampled_from([3, 10, 15, 40, 200]),
    st.sampled_from([0.02, 0.1, 0.3]),
    st.lists(st.floats(0, 0.3), min_size=2, max_size=8),
)
@settings(max_examples=40, deadline=None)
def test_a_larger_margin_never_chooses_a_dearer_candidate(
    seed: int, m: int, n: int, spread: float, margins: list[float]
) -> None:
    """Random values unit by unit, random costs: candidates are in order of cost, some of them not feasible."""
    rng = np.random.default_rng(seed)
    quality = rng.uniform(0.2, 0.8, m) if seed % 2 else np.sort(rng.uniform(0.2, 0.8, m))
    scale = spread * rng.uniform(0.3, 2, m)
    values = np.clip(rng.normal(0, 0.1, (n, 1)) + quality + rng.normal(size=(n, m)) * scale, 0, 1)
    feasible = sorted(rng.choice(m, rng.integers(1, m + 1), replace=False).tolist())
    answers = []
    for delta in sorted(margins):
        decided = compare_candidates(Sample(values), delta, seed=1, feasible=feasible, resamples=100).decided
        assert decided is not None
        answers.append(decided)
    for before, after in itertools.pairwise(answers):
        assert after.choice <= before.choice
        assert not (before.decision == "stay" and after.decision != "stay")
        assert not (before.decision != "go_up" and after.decision == "go_up")
