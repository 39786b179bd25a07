"""The demo family's tasks: figures that can be told beforehand, and the sets as their sources describe them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.quality import references, sets, tasks
from benchmarks.quality.outcomes import Outcome, difference, interval, mean


def whole(outcome: Outcome) -> float:
    return outcome.statistic(np.arange(outcome.units))


def test_the_mean_lies_in_its_interval_and_a_difference_to_itself_is_nothing() -> None:
    outcome = mean(np.random.default_rng(0).random(200))
    found = interval(outcome)
    assert found["low"] < found["value"] < found["high"]
    assert found["n"] == 200
    assert difference(outcome, outcome) == {"value": 0.0, "low": 0.0, "high": 0.0, "n": 200}


def test_a_paired_difference_is_narrower_than_its_sides() -> None:
    rng = np.random.default_rng(1)
    theirs = rng.random(300)
    ours = theirs + 0.05 + 0.01 * rng.standard_normal(300)
    found = difference(mean(ours), mean(theirs))
    assert 0.048 < found["low"] < found["value"] < found["high"] < 0.052


def test_rankings() -> None:
    scores = np.array([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]], np.float32)
    assert whole(tasks.ranking(scores, [{0}, {1}], "MRR")) == pytest.approx((1 + 1 / 2) / 2)
    assert whole(tasks.ranking(scores, [{0}, {1}], "nDCG@10")) == pytest.approx((1 + 1 / np.log2(3)) / 2)


def test_similarity_is_of_ranks() -> None:
    assert whole(tasks.similarity(np.array([0.1, 0.2, 0.9], np.float32), [0, 1, 5])) == pytest.approx(1)


def test_bitext_counts_the_translations_found() -> None:
    assert whole(tasks.bitext(np.eye(10, dtype=np.float32))) == 1
    assert whole(tasks.bitext(np.roll(np.eye(10, dtype=np.float32), 1, 1))) == 0


def test_clusters_far_apart_are_found_whatever_they_are_called() -> None:
    labels = ["a", "b", "c"] * 30
    vectors = np.eye(3, dtype=np.float32)[[ord(label) - 97 for label in labels]]
    vectors += 0.01 * np.random.default_rng(0).standard_normal(vectors.shape).astype(np.float32)
    assert {name: whole(found) for name, found in tasks.clusters(vectors, labels).items()} == {
        "V-measure": pytest.approx(1),
        "Hungarian F1": pytest.approx(1),
    }


def test_word_matching_finds_words() -> None:
    documents = ["the cat sleeps", "a dog barks", "rain falls"]
    assert references.bm25(["barking dog"], documents, "en").argmax() == 1
    assert references.bm25(["下雨"], ["猫在睡觉", "狗在叫", "今天下雨了"], "zh").argmax() == 2
    queries, texts = references.tf_idf(["dogs"], documents)
    assert (queries @ texts.T).toarray().argmax() == 1


def test_the_sets_are_complete(shared_data: Path) -> None:
    data = shared_data / "data"
    for retrieval, queries, documents, judged in (
        (sets.xquad(data, "zh", "en"), 1190, 240, 1190),
        (sets.scifact(data), 300, 5183, 339),
        (sets.cosqa(data), 500, 6267, 500),
    ):
        assert len(retrieval.queries) == len(retrieval.right) == queries
        assert len(retrieval.documents) == documents
        assert sum(map(len, retrieval.right)) == judged
    assert [len(side) for side in sets.tatoeba(data, "cmn")] == [1000, 1000]
    assert len(sets.sts_b(data, "fr")[0]) == 1379
    assert len(set(sets.thucnews(data).labels)) == 10
    assert len(set(sets.tnews(data).labels)) == 15
    assert len(set(sets.banking77(data, "test").labels)) == 77
