"""The simulations of `benchmarks.calibration` at their smallest: intervals cover, and verdicts come out right."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import calibration, hard_cells, own_quality


def test_differences_are_covered_and_verdicts_are_right() -> None:
    """250 experiments: four standard errors are 5 % wide."""
    for name in ("normal", "bimodal"):
        found = calibration.coverage(calibration.SCENARIOS[name], 60, 250, 1)
        assert 0.9 < found["covered"] < 1.0
        assert found["false_go_up"] <= 0.05
    told = calibration.verdicts(calibration.tied, np.zeros(3), 100, 250, 2)
    assert told["pilots"]["wrong"] <= 0.05
    assert told["then"]["right"] >= 0.78


def test_the_interval_of_each_candidate_covers() -> None:
    """200 experiments: four standard errors are 6 points."""
    for name, (draw, truth) in own_quality.shapes().items():
        cell = own_quality.alone(draw, truth, 20, 200, 1)
        assert cell["covered"] >= 0.93, name
        assert cell["of_student"] < 2.5, name
    cell = own_quality.clustered([15] * 12, 200, 1)
    assert cell["covered"] >= 0.93
    assert cell["width"] < 0.4


@pytest.mark.parametrize("m", [2, 3])
@pytest.mark.parametrize("n", [15, 30])
def test_rare_gains_are_covered_and_not_stayed_without(n: int, m: int) -> None:
    """A gain of 1 on 5 % and a loss of 0.1 on 5 %: a bootstrap alone covers 66 to 86 % and stays in 14 to 34 %."""
    draw, truth = hard_cells.events(m, 1.0, 0.05, 0.1, 0.05)
    cell = hard_cells.rare(draw, truth, n, 250, 3)
    assert cell["covered"] >= 0.93
    assert cell["false_stay"] <= 0.05
    draw, truth = hard_cells.events(m, 0.1, 0.05, 1.0, 0.05)
    assert hard_cells.rare(draw, truth, n, 250, 3)["false_go_up"] <= 0.05


def test_many_candidates_of_many_ties_are_covered() -> None:
    draw, truth = hard_cells.events(12, 1.0, 0.05, 0.1, 0.05)
    assert hard_cells.rare(draw, truth, 40, 25, 3)["covered"] >= 0.93


def test_queries_that_share_documents_are_covered() -> None:
    cell = hard_cells.shared([15] * 20, 0.0, 60, 1)
    assert cell["groups"] == 20
    assert cell["covered"] >= 0.88, "60 experiments: four standard errors are 11 points"
    assert cell["one_by_one_covered"] < 0.7


def test_a_tenth_that_differ_cost_a_fifth_of_the_width() -> None:
    """Against the bootstrap alone, at 100 queries; skewed values cost a tenth."""
    for draw, most in ((calibration.rarely_different, 1.3), (calibration.skewed, 1.2), (calibration.tied, 1.05)):
        values = draw(np.random.default_rng(5), 60, 100, np.zeros(3))
        found = hard_cells.bounds_of(values, 1, 300)
        alone = np.mean([2 * b.critical * b.error for b in found])
        assert np.mean([b.upper - b.lower for b in found]) < most * alone
