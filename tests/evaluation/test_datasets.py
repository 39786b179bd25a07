"""Every shape of file becomes its dataset, in every format, and says what it was taken for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.evaluation.files import CORPUS, QRELS, QUERIES, beir, jsonl, write
from upsize.errors import InvalidInput
from upsize.evaluation.datasets import (
    LabelledData,
    PairsData,
    ParallelData,
    RerankingData,
    RetrievalData,
    TaskKind,
    TextStore,
    load_dataset,
)
from upsize.evaluation.tasks import RetrievalTask, task_of

SUFFIXES = ["jsonl", "csv", "parquet"]

JUDGED = [
    {"query": "how warm is tea?", "positives": ["hot", "not cold"], "negatives": ["cold"]},
    {"query": "how warm is ice?", "positives": ["cold"], "negatives": []},
]
CODE = "def add(a, b):\n    return a + b\n"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_queries_with_positives_are_a_corpus_of_all_their_documents(tmp_path: Path, suffix: str) -> None:
    data = load_dataset(write(tmp_path / f"d.{suffix}", JUDGED))
    assert isinstance(data, RetrievalData)
    assert data.kind is TaskKind.RETRIEVAL
    assert list(data.documents) == ["hot", "not cold", "cold"]
    first, second = data.unit_metadata.ids
    assert data.judgements == {first: {"d1": 1, "d2": 1, "d3": 0}, second: {"d3": 1}}
    assert data.notes[0] == "Read as retrieval: 2 queries over the 3 documents of all rows, 3 positives."


def test_a_text_in_brackets_is_a_text(tmp_path: Path) -> None:
    data = load_dataset(jsonl(tmp_path / "d.jsonl", [{"query": "q", "positive": "[1, 2]", "negatives": "[see below"}]))
    assert isinstance(data, RetrievalData)
    assert list(data.documents) == ["[1, 2]", "[see below"]


def test_rows_that_repeat_a_query_are_joined(tmp_path: Path) -> None:
    rows = [
        {"query": "q", "positive": "a", "negative": "b"},
        {"query": "q", "positive": "c"},
        {"query": "r", "positive": "a"},
    ]
    data = load_dataset(jsonl(tmp_path / "d.jsonl", rows))
    assert isinstance(data, RetrievalData)
    assert list(data.judgements.values()) == [{"d1": 1, "d2": 0, "d3": 1}, {"d1": 1}]
    assert any("1 rows repeat a query" in note for note in data.notes)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "rows",
    [
        [{"query": "q", "documents": ["a", "b", "c"], "relevance": [0, 2, 1]}],
        [{"query": "q", "documents": ["a", "b", "c"], "relevance": [0.0, 2.0, 1.0]}],
    ],
)
def test_reranking(tmp_path: Path, suffix: str, rows: list[dict[str, object]]) -> None:
    data = load_dataset(write(tmp_path / f"d.{suffix}", rows))
    assert isinstance(data, RerankingData)
    assert (data.queries, data.documents, data.relevance) == (("q",), (("a", "b", "c"),), ((0, 2, 1),))


def test_positives_and_negatives_can_be_read_as_reranking(tmp_path: Path) -> None:
    data = load_dataset(jsonl(tmp_path / "d.jsonl", JUDGED[:1]), "reranking")
    assert isinstance(data, RerankingData)
    assert data.documents == (("hot", "not cold", "cold"),)
    assert data.relevance == ((1, 1, 0),)


@pytest.mark.parametrize("suffix", [*SUFFIXES, "tsv"])
def test_pairs(tmp_path: Path, suffix: str) -> None:
    rows = [{"text1": "a", "text2": "b", "score": 4.5}, {"text1": "c", "text2": "d", "score": 0}]
    data = load_dataset(write(tmp_path / f"d.{suffix}", rows))
    assert isinstance(data, PairsData)
    assert (data.kind, data.left, data.right, data.scores) == (TaskKind.STS, ("a", "c"), ("b", "d"), (4.5, 0.0))
    same = load_dataset(write(tmp_path / f"s.{suffix}", [{**row, "score": row["score"] and 1} for row in rows]))
    assert same.kind is TaskKind.PAIR_CLASSIFICATION
    assert load_dataset(tmp_path / f"s.{suffix}", "sts").kind is TaskKind.STS


@pytest.mark.parametrize("suffix", [*SUFFIXES, "tsv"])
def test_parallel(tmp_path: Path, suffix: str) -> None:
    data = load_dataset(
        write(tmp_path / f"d.{suffix}", [{"text_a": "one", "text_b": "eins"}, {"text_a": "two", "text_b": "zwei"}])
    )
    assert isinstance(data, ParallelData)
    assert (data.left, data.right) == (("one", "two"), ("eins", "zwei"))


LABELLED = [{"text": f"t{i}", "label": "ab"[i % 2], "split": "train" if i < 4 else "test"} for i in range(10)]


@pytest.mark.parametrize("suffix", [*SUFFIXES, "tsv"])
def test_labels(tmp_path: Path, suffix: str) -> None:
    data = load_dataset(write(tmp_path / f"d.{suffix}", [{"title": r["text"], "label": r["label"]} for r in LABELLED]))
    assert isinstance(data, LabelledData)
    assert data.kind is TaskKind.CLASSIFICATION
    assert (len(data.texts), data.labels[:3], data.train_texts) == (10, ("a", "b", "a"), ())
    assert "can be read as clustering" in data.notes[0]


def test_what_to_train_on_is_told_by_a_column_or_by_files(tmp_path: Path) -> None:
    column = load_dataset(jsonl(tmp_path / "d.jsonl", LABELLED))
    jsonl(tmp_path / "folder" / "train.jsonl", [{"text": r["text"], "label": r["label"]} for r in LABELLED[:4]])
    jsonl(tmp_path / "folder" / "test.jsonl", [{"text": r["text"], "label": r["label"]} for r in LABELLED[4:]])
    files = load_dataset(tmp_path / "folder")
    for data in (column, files):
        assert isinstance(data, LabelledData)
        assert (data.texts[0], len(data.texts), data.train_texts) == ("t4", 6, ("t0", "t1", "t2", "t3"))
    assert "train 4, test 6" in column.notes[0]


def test_a_beir_folder(tmp_path: Path) -> None:
    data = load_dataset(beir(tmp_path / "tea", CORPUS, QUERIES, QRELS))
    assert isinstance(data, RetrievalData)
    assert (data.name, data.kind, data.queries, data.document_ids) == (
        "tea",
        TaskKind.RETRIEVAL,
        ("leaves?", "beans?"),
        ("d1", "d2", "d3"),
    )
    assert list(data.documents)[:2] == ["Tea A drink of leaves.", "Coffee is a drink of beans."]
    assert data.judgements == {"q1": {"d1": 2, "d3": 0}, "q2": {"d2": 1}}
    assert data.notes == (
        "Read as retrieval: 2 queries, 3 documents, 2 relevant pairs from qrels/test.tsv.",
        "1 queries have no judgement in qrels/test.tsv and are left out.",
    )


def test_a_split_of_judgements_is_chosen_and_said(tmp_path: Path) -> None:
    folder = beir(tmp_path / "tea", CORPUS, QUERIES, QRELS)
    beir(folder, CORPUS, QUERIES, [("q3", "d3", 1)], split="dev")
    assert any("there are also dev" in note for note in load_dataset(folder).notes)
    assert load_dataset(folder, split="dev").unit_metadata.ids == ("q3",)
    with pytest.raises(InvalidInput, match=r"no judgements for the split 'train'. There are: dev, test"):
        load_dataset(folder, split="train")


def test_judgements_may_lie_beside_and_be_jsonl(tmp_path: Path) -> None:
    folder = beir(tmp_path / "tea", CORPUS, QUERIES, None)
    jsonl(folder / "qrels.jsonl", [{"query-id": "q1", "corpus-id": "d1", "score": 1}])
    assert load_dataset(folder).kind is TaskKind.RETRIEVAL


def test_without_judgements_it_is_unjudged(tmp_path: Path) -> None:
    data = load_dataset(beir(tmp_path / "tea", CORPUS, QUERIES, None))
    assert data.kind is TaskKind.UNJUDGED
    assert data.unit_metadata.ids == ("q1", "q2", "q3")
    with pytest.raises(InvalidInput, match=r"has no judgements .* which retrieval needs"):
        load_dataset(tmp_path / "tea", "retrieval")


def test_a_corpus_and_queries_of_plain_lines(tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_text("tea\ncoffee\n")
    (tmp_path / "queries.txt").write_text("leaves?\r\nbeans?")
    data = load_dataset(tmp_path)
    assert isinstance(data, RetrievalData)
    assert (list(data.documents), data.queries, data.document_ids) == (
        ["tea", "coffee"],
        ("leaves?", "beans?"),
        ("1", "2"),
    )


@pytest.mark.parametrize(
    ("document", "kind", "metric"),
    [
        (CODE, TaskKind.CODE_SEARCH, "MRR@10"),
        ("word " * 900, TaskKind.LONG_DOCUMENTS, "nDCG@10"),
        ("a few words; and more", TaskKind.RETRIEVAL, "nDCG@10"),
    ],
)
def test_the_sort_of_corpus_is_seen_and_may_be_overridden(
    tmp_path: Path, document: str, kind: TaskKind, metric: str
) -> None:
    path = jsonl(tmp_path / "d.jsonl", [{"query": f"q{i}", "positive": f"{document}{i}"} for i in range(4)])
    data = load_dataset(path)
    assert data.kind is kind
    assert task_of(data).metric.name == metric
    task = task_of(load_dataset(path, "retrieval"))
    assert isinstance(task, RetrievalTask)
    assert (task.name, task.metric.name) == ("retrieval", "nDCG@10")


def test_optional_columns(tmp_path: Path) -> None:
    rows = [
        {
            "id": f"x{i}",
            "text": f"t{i}" * (1 + i // 40),
            "label": "ab"[i % 2],
            "lang": "zh" if i % 3 else "en",
            "user": f"u{i // 4}",
            "desk": i // 30 or None,
        }
        for i in range(80)
    ]
    data = load_dataset(jsonl(tmp_path / "d.jsonl", rows), "clustering", slices=["desk"])
    assert data.unit_metadata.ids[:2] == ("x0", "x1")
    assert data.unit_metadata.clusters is not None
    assert data.unit_metadata.clusters[3:5] == ("u0", "u1")
    assert any("Units of one 'user'" in note for note in data.notes)
    slices = task_of(data).slices
    assert {name: int(units.sum()) for name, units in slices.items() if "length" not in name} == {
        "lang=en": 27,
        "lang=zh": 53,
        "desk=1": 30,
        "desk=2": 20,
    }
    assert slices["length=long"].sum() == 40


def test_scripts_are_slices_where_no_language_is_told(tmp_path: Path) -> None:
    rows = [{"text": f"{'新闻标题' if i % 2 else 'title'} {i}", "label": "ab"[i % 2]} for i in range(48)]
    slices = task_of(load_dataset(jsonl(tmp_path / "d.jsonl", rows))).slices
    assert {"script=cjk", "script=latin"} <= set(slices)


def test_fields_may_be_told(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path / "d.jsonl",
        [{"headline": "a", "desk": "x"}, {"headline": "b", "desk": "y"}, {"headline": "c", "desk": "y"}],
    )
    with pytest.raises(
        InvalidInput,
        match=r"fields headline, desk, which fit none of the known shapes[\s\S]*--field text=headline",
    ):
        load_dataset(path)
    data = load_dataset(path, fields={"text": "headline", "label": "desk"})
    assert isinstance(data, LabelledData)
    assert data.texts == ("a", "b", "c")


def test_texts_on_disk_are_a_sequence() -> None:
    words = ["one", "", "三", "four\nlines"]
    texts = TextStore(words)
    assert list(texts) == words
    assert (len(texts), texts[2], texts[-1], texts[1:3], texts[::-1]) == (
        4,
        "三",
        "four\nlines",
        ["", "三"],
        words[::-1],
    )
    with pytest.raises(IndexError):
        texts[4]
