"""Which units are independent, and what is said of data that says less than it seems to."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from upsize.evaluation.datasets import (
    LabelledData,
    PairsData,
    RerankingData,
    RetrievalData,
    TaskKind,
    TextStore,
    UnitMetadata,
    load_dataset,
)
from upsize.evaluation.metrics import Spearman, VMeasure
from upsize.evaluation.tasks import Task, UnjudgedTask, task_of
from upsize.evaluation.tasks.chance import permuted, random_order
from upsize.evaluation.tasks.grouping import HUB, grouping_of, shared_groups


def retrieval(
    relevant: list[dict[str, int]], documents: int, queries: list[str] | None = None, texts: list[str] | None = None
) -> Task:
    units = tuple(f"u{i}" for i in range(len(relevant)))
    data = RetrievalData(
        "x",
        TaskKind.RETRIEVAL,
        UnitMetadata(units),
        (),
        (),
        tuple(queries or (f"query {i}" for i in units)),
        tuple(f"d{i}" for i in range(documents)),
        TextStore(texts or [f"text {i}" for i in range(documents)]),
        dict(zip(units, relevant, strict=True)),
    )
    task = task_of(data)
    assert not isinstance(task, UnjudgedTask)
    return task


def test_queries_of_one_document_are_one_group() -> None:
    task = retrieval([{f"d{i // 4}": 1, f"d{50 + i}": 0} for i in range(40)], 100)
    clusters = task.grouping.clusters
    assert clusters is not None
    assert len(set(clusters)) == 10
    assert [clusters[4 * i] for i in range(10)] == [clusters[4 * i + 3] for i in range(10)]
    assert "The 40 queries share documents and are resampled in 10 groups, the largest of 4" in task.lint[0]


def test_copies_of_a_document_are_one_document() -> None:
    texts = [f"text {i // 2}" for i in range(80)]
    clusters = retrieval([{f"d{i}": 1} for i in range(40)], 80, texts=texts).grouping.clusters
    assert clusters is not None
    assert len(set(clusters)) == 20


def test_a_document_that_answers_everything_joins_nothing() -> None:
    links = [{"hub", f"d{i // 5}"} for i in range(100)]
    groups, _ = shared_groups(links, "queries")
    assert groups is not None
    assert len(set(groups.tolist())) == 20
    below = [{f"d{i // 5}", *(["hub"] if i % 5 == 0 else [])} for i in range(100)]
    assert HUB > 0.2
    groups, notes = shared_groups(below, "queries")
    assert groups is not None
    assert len(set(groups.tolist())) == 20
    assert "More queries share documents than these groups join" in notes[0]


def test_long_lists_of_relevant_documents_join_only_what_is_alike() -> None:
    rng = np.random.default_rng(0)
    lists = [frozenset(rng.choice(200, 20, replace=False).tolist()) for _ in range(60)]
    groups, notes = shared_groups([*lists, *lists[:5]], "queries")
    assert groups is not None
    assert len(set(groups.tolist())) == 60
    groups, notes = shared_groups(lists, "queries")
    assert groups is None
    assert "resampled one by one" in notes[0]


def test_many_queries_of_few_documents_are_grouped_in_no_time() -> None:
    groups, _ = shared_groups([{f"d{i % 7}"} for i in range(20_000)], "queries")
    assert groups is not None
    assert len(set(groups.tolist())) == 7


@pytest.mark.parametrize(("column", "groups"), [("_id", 50), ("customer", 25)])
def test_clusters_of_a_folder_are_told_by_a_field_of_its_queries(tmp_path: Path, column: str, groups: int) -> None:
    """By the id: each query is independent of all others, and still has its id."""
    (tmp_path / "qrels").mkdir()
    documents = [{"_id": f"d{i}", "text": f"text {i}"} for i in range(5)]
    queries = [{"_id": f"q{i}", "text": f"query {i}", "customer": f"c{i % 25}"} for i in range(50)]
    for name, rows in (("corpus", documents), ("queries", queries)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    judged = "".join(f"q{i}\td{i % 5}\t1\n" for i in range(50))
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
    task = task_of(load_dataset(tmp_path, fields={"cluster": column}))
    assert not isinstance(task, UnjudgedTask)
    assert task.units == tuple(f"q{i}" for i in range(50))
    assert task.grouping.clusters is not None
    assert len(set(task.grouping.clusters)) == groups


def test_told_clusters_are_kept() -> None:
    grouping = grouping_of([("a",), ("b",), ("c",)], [None] * 3, [{"d"}] * 3, ("x", "y", "x"), "queries")
    assert grouping.clusters == ("x", "y", "x")
    assert not grouping.notes


def test_repeats_are_found_whatever_their_case_and_white_space() -> None:
    queries = [f"What is  {i}?" for i in range(20)] + [f"what is {i}? " for i in range(20)] + ["ＷＨＡＴ IS 3?"]
    task = retrieval([{f"d{i}": 1} for i in range(41)], 60, queries)
    repeats = task.grouping.repeats
    assert repeats is not None
    assert repeats.tolist() == [*range(20), *range(20), 3]
    assert "21 of the 41 queries repeat another's text; repeats count once." in task.lint


@pytest.mark.parametrize("kind", [TaskKind.CLASSIFICATION, TaskKind.CLUSTERING])
def test_one_text_with_two_labels_is_said(kind: TaskKind) -> None:
    texts = tuple(f"text {i % 20}" for i in range(30))
    labels = tuple("ab"[i % 2] if i < 25 else "ab"[(i + 1) % 2] for i in range(30))
    data = LabelledData("x", kind, UnitMetadata(tuple(map(str, range(30)))), (), (), texts, labels)
    task = task_of(data)
    assert not isinstance(task, UnjudgedTask)
    assert any("5 of the repeats are judged otherwise" in line for line in task.lint)
    assert task.grouping.kept is not None
    assert len(task.grouping.kept) == 25
    assert task.grouping.clusters is not None
    assert len(set(task.grouping.clusters)) == 20


def test_pairs_that_share_a_sentence_are_one_group() -> None:
    left = tuple(f"sentence {i // 3}" for i in range(30))
    right = tuple(f"other {i}" for i in range(30))
    data = PairsData(
        "x", TaskKind.STS, UnitMetadata(tuple(map(str, range(30)))), (), (), left, right, tuple(map(float, range(30)))
    )
    task = task_of(data)
    assert not isinstance(task, UnjudgedTask)
    assert task.grouping.clusters is not None
    assert len(set(task.grouping.clusters)) == 10


def test_repeated_documents_are_said_and_whom_they_hurt() -> None:
    texts = [f"text {i % 30}" for i in range(40)]
    lint = " ".join(retrieval([{f"d{i}": 1} for i in range(20)], 40, texts=texts).lint)
    assert "10 of the 40 documents repeat another's text; for 10 queries a copy of a relevant document is not" in lint
    assert "none of them is judged relevant" in " ".join(
        retrieval([{f"d{i + 10}": 1} for i in range(20)], 40, texts=texts).lint
    )


def test_counts_as_grades_are_said() -> None:
    lint = " ".join(retrieval([{f"d{i}": 1 + i * i} for i in range(20)], 40).lint)
    assert "Grades go up to 362, like counts" in lint
    lint = " ".join(retrieval([{f"d{i}": i % 4 - 1, f"d{i + 20}": 3} for i in range(20)], 40).lint)
    assert "like counts" not in lint
    assert "5 grades are below 0" in lint


def test_queries_that_everything_answers_are_said() -> None:
    every = [{f"d{d}": 1 for d in range(30)} for _ in range(20)]
    assert any("20 queries have all documents judged relevant" in line for line in retrieval(every, 30).lint)
    half = [{f"d{d}": 1 for d in range(16)} for _ in range(20)]
    assert any("at least half of the documents are relevant" in line for line in retrieval(half, 30).lint)
    data = RerankingData(
        "x",
        TaskKind.RERANKING,
        UnitMetadata(("a", "b")),
        (),
        (),
        ("q", "r"),
        (("1", "2", "3"), ("4", "5", "5 ")),
        ((1, 1, 0), (1, 1, 0)),
    )
    task = task_of(data)
    assert not isinstance(task, UnjudgedTask)
    assert any("more than half of the documents are relevant" in line for line in task.lint)
    assert any("the same text among their relevant and their other documents" in line for line in task.lint)


def test_judgements_by_which_no_model_can_differ() -> None:
    every = {f"d{d}": 1 for d in range(4)}
    assert not retrieval([every] * 5, 4).decidable
    assert not retrieval([every, {}, {"d1": 0}], 4).decidable
    assert retrieval([every, {"d1": 1}], 4).decidable
    graded = retrieval([every | {"d1": 2}] * 5, 4)
    assert graded.decidable
    assert not any("every order is right" in line for line in graded.lint)


def test_one_group_is_told_as_one() -> None:
    (note, *_) = retrieval([{f"d{d}": 1 for d in range(30)} for _ in range(20)], 40).lint
    assert note.startswith("The 20 queries all share documents and are one group, which is too few to judge by")


def test_queries_that_are_their_own_answers_are_said() -> None:
    relevant = [{f"d{i}": 1} for i in range(6)]
    same = retrieval(relevant, 12, [f"Text  {i}" if i < 4 else f"query {i}" for i in range(6)])
    assert any(line.startswith("4 of the 6 queries have the same text as a document") for line in same.lint)
    other = retrieval(relevant, 12, [f"text {i + 6}" for i in range(6)])
    assert other.lint == ()
    data = RerankingData(
        "x",
        TaskKind.RERANKING,
        UnitMetadata(("a", "b")),
        (),
        (),
        ("q", "r"),
        (("Q ", "2"), ("r", "4")),
        ((1, 0), (0, 1)),
    )
    task = task_of(data)
    assert not isinstance(task, UnjudgedTask)
    assert any(line.startswith("1 of the 2 queries have the same text") for line in task.lint)


@pytest.mark.parametrize("kind", [TaskKind.CLASSIFICATION, TaskKind.CLUSTERING])
def test_labels_that_differ_by_case_or_space_alone_are_said(kind: TaskKind) -> None:
    def lint(labels: tuple[str, ...], train: tuple[str, ...] = ()) -> str:
        texts = tuple(f"text {i}" for i in range(len(labels)))
        others = tuple(f"other {i}" for i in range(len(train)))
        unit_metadata = UnitMetadata(tuple(map(str, range(len(labels)))))
        task = task_of(LabelledData("x", kind, unit_metadata, (), (), texts, labels, others, train))
        assert not isinstance(task, UnjudgedTask)
        return " ".join(task.lint)

    said = lint(("sport", "Sport", "news", "sport ", "news", "sport"))
    assert "3 labels differ from another by case, width or white space alone" in said
    assert "'sport', 'Sport', 'sport '" in said
    assert lint(("sport", "news", "sports") * 2) == ""
    if kind is TaskKind.CLASSIFICATION:
        assert "'a', 'A'" in lint(("a", "b") * 3, ("A", "b"))


def test_texts_that_are_judged_and_trained_on_are_said() -> None:
    texts = tuple(f"text {i}" for i in range(20))
    labels = tuple("ab"[i % 2] for i in range(20))
    data = LabelledData(
        "x",
        TaskKind.CLASSIFICATION,
        UnitMetadata(tuple(map(str, range(20)))),
        (),
        (),
        texts,
        labels,
        ("TEXT 3", "else"),
        ("a", "b"),
    )
    task = task_of(data)
    assert not isinstance(task, UnjudgedTask)
    assert any("1 of the 20 test texts are training texts too" in line for line in task.lint)


def test_what_is_in_order_has_no_lint() -> None:
    assert retrieval([{f"d{i}": 1 + i % 3} for i in range(40)], 80).lint == ()


@pytest.mark.parametrize(("grades", "documents"), [((1,), 30), ((3, 1, 0, 2), 12), ((1, 1, 1), 5), ((2, -1), 100)])
@pytest.mark.parametrize("reciprocal", [False, True])
def test_a_random_order_by_trial(grades: tuple[int, ...], documents: int, reciprocal: bool) -> None:
    rng = np.random.default_rng(1)
    gains = np.zeros(documents)
    gains[: len(grades)] = np.maximum(grades, 0)
    discount = np.zeros(documents)
    discount[:10] = 1 / np.log2(np.arange(2, min(documents, 10) + 2))
    orders = rng.permuted(np.tile(gains, (20_000, 1)), axis=1)
    if reciprocal:
        first = (orders > 0).argmax(axis=1)
        trial = np.where(first < 10, 1 / (first + 1), 0).mean()
    else:
        trial = (orders @ discount).mean() / (np.sort(gains)[::-1] @ discount)
    assert random_order(grades, documents, reciprocal) == pytest.approx(trial, rel=0.05)


def test_permuted_labels_are_chance() -> None:
    rng = np.random.default_rng(0)
    gold, label = rng.normal(size=100), rng.integers(0, 4, 100)
    assert 0.1 < permuted(Spearman(), {"cosine": gold, "gold": gold}) < 0.3
    assert permuted(VMeasure(), {"label": label, "cluster": label}) < 0.15


def test_a_triplicated_folder_says_so(tmp_path: Path) -> None:
    (tmp_path / "qrels").mkdir()
    documents = [{"_id": f"d{i}", "text": f"text {i}"} for i in range(30)]
    queries = [{"_id": f"q{i}-{copy}", "text": f"query {i}"} for copy in range(3) for i in range(30)]
    for name, rows in (("corpus", documents), ("queries", queries)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    judged = [f"q{i}-{copy}\td{i}\t1\n" for copy in range(3) for i in range(30)]
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(judged))
    task = task_of(load_dataset(tmp_path))
    assert not isinstance(task, UnjudgedTask)
    assert task.lint == ("60 of the 90 queries repeat another's text; repeats count once.",)
    assert task.grouping.clusters is None
