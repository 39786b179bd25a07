"""The demo family's tasks: figures that can be told beforehand, and the sets as their sources describe them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import demo_family, precision
from benchmarks.datasets import convert, write_beir, write_jsonl
from benchmarks.quality import references
from benchmarks.quality.outcomes import difference, interval, mean
from benchmarks.quality.tasks import LabelledSet, labelled_sets
from upsize import Embedder, Reranker


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


def test_the_interval_of_a_metric_that_is_no_mean_lies_around_it(tmp_path: Path) -> None:
    path, rng = tmp_path / "pairs.jsonl", np.random.default_rng(2)
    write_jsonl(path, [{"text_a": f"left {i}", "text_b": f"right {i}"} for i in range(400)])
    bitext = LabelledSet("Pairs", path, metrics=("F1",))
    left, right = bitext.task.groups()
    vectors = rng.standard_normal((400, 16)).astype(np.float32)
    noise = rng.standard_normal((400, 16)).astype(np.float32)
    unit = {
        name: v / np.linalg.norm(v, axis=1, keepdims=True) for name, v in ((left, vectors), (right, vectors + noise))
    }
    ((name, outcome),) = bitext.judge(unit)
    found = interval(outcome)
    assert name == "Pairs, F1"
    assert 0.3 < found["value"] < 0.9
    assert found["value"] - found["low"] == pytest.approx(found["high"] - found["value"], rel=0.2)


ANIMALS = [
    ("cats purr", "most cats purr and sleep"),
    ("dogs bark", "our dogs bark at night"),
    ("rain falls", "in autumn much rain falls"),
]


@pytest.fixture
def animals(tmp_path: Path) -> LabelledSet:
    write_beir(
        tmp_path / "animals",
        [{"_id": f"d{i}", "text": document} for i, (_, document) in enumerate(ANIMALS)],
        [{"_id": f"q{i}", "text": query} for i, (query, _) in enumerate(ANIMALS)],
        [(f"q{i}", f"d{i}", 1) for i in range(len(ANIMALS))],
    )
    return LabelledSet("Animals", tmp_path / "animals")


def test_retrieval_with_a_model_with_fewer_dimensions_and_with_words_alone(animals: LabelledSet) -> None:
    with Embedder("demo-s") as model:
        vectors = animals.embed(demo_family.encoder(model))
    ((name, outcome),) = animals.judge(vectors)
    assert (name, outcome()) == ("Animals, nDCG@10", 1.0)
    cuts = demo_family.matryoshka(vectors, animals)
    assert {name: cut["kept"] > 0.5 for name, cut in cuts.items()} == {
        f"Animals, nDCG@10, {dim} dimensions": True for dim in (32, 64)
    }
    ((name, reference, words),) = animals.match_words()
    assert (name, reference) == ("Animals, nDCG@10", "BM25")
    assert words() == 1


def test_the_reranker_is_compared_on_the_same_queries(animals: LabelledSet) -> None:
    with Reranker("demo-rerank") as judge, Embedder("demo-xs") as first:
        without, with_it = demo_family.reranked(judge, first, animals)
    assert with_it.units == without.units == 3
    assert difference(with_it, without)["value"] == pytest.approx(with_it() - without(), abs=1e-4)


def test_what_int8_loses_is_told_in_points_with_an_interval(animals: LabelledSet, tmp_path: Path) -> None:
    told = json.loads(precision.measure([animals], str, tmp_path).read_text())["scores"]
    assert set(told) == set(demo_family.SIZES)
    for tasks in told.values():
        row = tasks["Animals, nDCG@10"]
        lost = row["lost_points"]
        assert lost["value"] == pytest.approx(100 * (row["bfloat16"] - row["int8"]), abs=0.02)
        assert lost["low"] <= lost["value"] <= lost["high"]


def test_clusters_far_apart_are_found_whatever_they_are_called(tmp_path: Path) -> None:
    rows = [{"text": f"text {i}", "label": "abc"[i % 3]} for i in range(90)]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    labelled = LabelledSet("Letters", tmp_path / "rows.jsonl", "clustering")
    vectors = np.eye(3, dtype=np.float32)[[i % 3 for i in range(90)]]
    vectors += 0.01 * np.random.default_rng(0).standard_normal(vectors.shape).astype(np.float32)
    assert {name: outcome() for name, outcome in labelled.judge({"texts": vectors})} == {
        "Letters, V-measure": pytest.approx(1),
        "Letters, Hungarian macro F1": pytest.approx(1),
    }


def test_word_matching_finds_words() -> None:
    documents = ["the cat sleeps", "a dog barks", "rain falls"]
    assert references.bm25(["barking dog"], documents, "en").argmax() == 1
    assert references.bm25(["下雨"], ["猫在睡觉", "狗在叫", "今天下雨了"], "zh").argmax() == 2
    queries, texts = references.tf_idf(["dogs"], documents)
    assert (queries @ texts.T).toarray().argmax() == 1


def test_every_set_is_there_and_complete(shared_data: Path, tmp_path: Path) -> None:
    convert(tmp_path, shared_data / "data")
    units = {each.name: len(each.task.units) for each in labelled_sets(tmp_path)}
    assert units == {
        **{f"STS-B {lang}": 1379 for lang in ("en", "zh", "fr", "de")},
        **{f"XQuAD {pair}": 1190 for pair in ("en", "zh", "zh question, en paragraph")},
        "SciFact": 300,
        "CosQA": 500,
        **{f"Tatoeba {lang}-en": 1000 for lang in ("zh", "de", "fr")},
        "THUCNews titles": 10_000,
        "TNEWS": 10_000,
        "Banking77": 3080,
    }
