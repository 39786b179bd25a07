import json

import numpy as np
import pytest

from upsize.diagnostics import Check, Figure, check_figures
from upsize.diagnostics.check import invariance_figures, log_odds_figures, vector_figures
from upsize.model.pooling import Vectors


def unit(n: int = 8, dimension: int = 64, common: float = 0.0) -> Vectors:
    vectors = np.random.default_rng(0).standard_normal((n, dimension)) + common
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize(
    ("figure", "holds"),
    [
        (Figure("x", 1.0, 1.0), True),
        (Figure("x", 1.1, 1.0), False),
        (Figure("x", 1.0, 1.0, at_least=True), True),
        (Figure("x", 0.9, 1.0, at_least=True), False),
        (Figure("x", float("nan"), 1.0), False),
        (Figure("x", float("nan"), 1.0, at_least=True), False),
        (Figure("x", float("inf"), 1.0), False),
    ],
)
def test_a_figure_holds_up_to_its_limit_and_nan_never_does(figure: Figure, holds: bool) -> None:
    assert figure.holds is holds
    assert check_figures("check", [figure]).status == ("passed" if holds else "failed")


def test_one_figure_that_fails_fails_the_check() -> None:
    figures = [Figure("good", 0, 1), Figure("bad", 2, 1)]
    assert check_figures("check", figures).status == "failed"
    assert check_figures("check", figures, otherwise="differs").status == "differs"


def test_a_check_that_measured_nothing_is_not_passed() -> None:
    assert check_figures("check", []).status == "failed"


def test_equal_vectors_pass_in_every_precision() -> None:
    for precision in ("float32", "bfloat16", "float16"):
        assert check_figures("x", vector_figures(unit(), unit(), precision)).status == "passed"
        assert check_figures("x", log_odds_figures(unit()[0], unit()[0], precision)).status == "passed"
        assert check_figures("x", invariance_figures(unit(), unit(), precision)).status == "passed"


def test_one_wrong_value_of_one_vector_is_seen_in_float32() -> None:
    wrong = unit()
    wrong[3, 5] += 2e-5
    assert check_figures("x", vector_figures(wrong, unit(), "float32")).status == "failed"
    assert check_figures("x", invariance_figures(wrong, unit(), "float32")).status == "failed"


def test_the_worst_vector_counts_not_the_mean() -> None:
    wrong = unit()
    wrong[3] = wrong[2]
    assert check_figures("x", vector_figures(wrong, unit(), "bfloat16")).status == "failed"
    assert check_figures("x", invariance_figures(wrong, unit(), "bfloat16")).status == "failed"


def test_a_large_common_component_does_not_flatter_the_centred_cosine() -> None:
    right = unit(common=30.0)
    noise = np.random.default_rng(1).standard_normal(right.shape) * 0.3 / 30 / np.sqrt(right.shape[1])
    plain, centred = vector_figures((right + noise).astype(np.float32), right, "bfloat16")
    assert plain.holds
    assert not centred.holds


def test_log_odds_that_are_small_and_unrelated_fail_by_their_correlation() -> None:
    draw = np.random.default_rng(2)
    ours, theirs = (draw.standard_normal(20).astype(np.float32) * 0.01 for _ in range(2))
    difference, correlation = log_odds_figures(ours, theirs, "bfloat16")
    assert difference.holds
    assert not correlation.holds


def test_log_odds_that_are_off_by_a_constant_fail() -> None:
    right = np.linspace(-5, 5, 20, dtype=np.float32)
    assert check_figures("x", log_odds_figures(right + 0.3, right, "bfloat16")).status == "failed"
    assert check_figures("x", log_odds_figures(right + 2e-4, right, "float32")).status == "failed"
    assert check_figures("x", invariance_figures(right + 0.1, right, "bfloat16")).status == "failed"


def test_nan_can_be_written_as_json() -> None:
    plain = Check("x", "failed", (Figure("y", float("nan"), 0.0),)).to_json()
    assert json.loads(json.dumps(plain, allow_nan=False))["figures"][0] == {
        "name": "y",
        "value": "nan",
        "limit": 0.0,
        "at_least": False,
        "holds": False,
    }
