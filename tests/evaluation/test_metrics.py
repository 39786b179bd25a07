"""What a bootstrap computes of a draw equals what the libraries compute of the same values."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linear_sum_assignment
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score, f1_score, pair_confusion_matrix, v_measure_score

from upsize.evaluation.metrics import (
    AveragePrecision,
    BitextF1,
    HungarianF1,
    Mean,
    PairwiseF1,
    Spearman,
    VMeasure,
    contingency,
    point_estimate,
)

UNITS = 30
DRAWS = arrays(np.int64, st.integers(2, 40), elements=st.integers(0, UNITS - 1))
COSINES = arrays(np.float32, UNITS, elements=st.sampled_from([-0.5, 0.1, 0.25, 0.3, 0.7, 0.9]))
"""Few values, so that there are ties."""
CODES = arrays(np.int64, UNITS, elements=st.integers(0, 4))
EQUAL = {"rel": 1e-9, "abs": 1e-9}


@given(COSINES, DRAWS)
def test_a_mean(values: np.ndarray, chosen: np.ndarray) -> None:
    assert Mean("x", "y")({"y": values}, chosen) == pytest.approx(np.mean(values[chosen]), **EQUAL)


@given(COSINES, arrays(np.float64, UNITS, elements=st.sampled_from([0.0, 1.5, 2.0, 5.0])), DRAWS)
def test_spearman(cosine: np.ndarray, gold: np.ndarray, chosen: np.ndarray) -> None:
    constant = len(set(cosine[chosen])) == 1 or len(set(gold[chosen])) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy warns of what is constant
        expected = 0.0 if constant else spearmanr(cosine[chosen], gold[chosen]).statistic
    assert Spearman()({"cosine": cosine, "gold": gold}, chosen) == pytest.approx(expected, **EQUAL)


@given(COSINES, arrays(np.float64, UNITS, elements=st.sampled_from([0.0, 1.0])), DRAWS)
def test_average_precision(cosine: np.ndarray, gold: np.ndarray, chosen: np.ndarray) -> None:
    found = AveragePrecision()({"cosine": cosine, "gold": gold}, chosen)
    if not gold[chosen].any():
        assert found == 0
    else:
        assert found == pytest.approx(average_precision_score(gold[chosen], cosine[chosen]), **EQUAL)


@given(CODES, CODES, DRAWS)
def test_v_measure(label: np.ndarray, cluster: np.ndarray, chosen: np.ndarray) -> None:
    expected = v_measure_score(label[chosen], cluster[chosen])
    assert VMeasure()({"label": label, "cluster": cluster}, chosen) == pytest.approx(expected, **EQUAL)


@given(CODES, arrays(np.int64, UNITS, elements=st.integers(0, 6)), DRAWS)
def test_hungarian_f1(label: np.ndarray, cluster: np.ndarray, chosen: np.ndarray) -> None:
    """Against scikit-learn on clusters renamed by scipy's assignment."""
    columns = {"label": label, "cluster": cluster}
    rows, places = linear_sum_assignment(contingency(columns, chosen), maximize=True)
    renamed = np.array([dict(zip(places, rows, strict=True)).get(c, -1) for c in cluster[chosen]])
    drawn = np.unique(label[chosen])
    expected = f1_score(label[chosen], renamed, labels=drawn, average="macro", zero_division=0)
    assert HungarianF1()(columns, chosen) == pytest.approx(expected, **EQUAL)


@given(CODES, CODES, DRAWS)
def test_pairwise_f1(label: np.ndarray, cluster: np.ndarray, chosen: np.ndarray) -> None:
    (_, false_positives), (false_negatives, both) = pair_confusion_matrix(label[chosen], cluster[chosen])
    total = 2 * both + false_positives + false_negatives
    expected = 2 * both / total if total else 0.0
    assert PairwiseF1()({"label": label, "cluster": cluster}, chosen) == pytest.approx(expected, **EQUAL)


@given(arrays(np.int64, UNITS, elements=st.integers(0, UNITS - 1)), DRAWS)
def test_bitext_f1(predicted: np.ndarray, chosen: np.ndarray) -> None:
    gold = np.arange(UNITS)
    expected = f1_score(gold[chosen], predicted[chosen], average="weighted", zero_division=0)
    assert BitextF1()({"gold": gold, "predicted": predicted}, chosen) == pytest.approx(expected, **EQUAL)


@given(CODES, CODES)
def test_the_whole_is_every_unit_once(label: np.ndarray, cluster: np.ndarray) -> None:
    assume(len(set(label)) > 1)
    columns = {"label": label, "cluster": cluster}
    assert point_estimate(VMeasure(), columns) == pytest.approx(v_measure_score(label, cluster), **EQUAL)
