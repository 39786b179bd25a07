"""Public test sets laid out as users' files are read for what they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.datasets import convert
from upsize.evaluation.datasets import LabelledData, RetrievalData, TaskKind, load_dataset
from upsize.evaluation.tasks import NEWS_TITLES, task_of


@pytest.fixture(scope="module")
def laid_out(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("datasets")
    convert(out, shared_data / "data")
    return out


@pytest.mark.parametrize(
    ("name", "kind", "units"),
    [
        ("xquad-zh", TaskKind.RETRIEVAL, 1190),
        ("xquad-en", TaskKind.RETRIEVAL, 1190),
        ("scifact", TaskKind.RETRIEVAL, 300),
        ("cosqa", TaskKind.CODE_SEARCH, 500),
        ("banking77", TaskKind.CLASSIFICATION, 3080),
        ("stsb-zh.csv", TaskKind.STS, 1379),
        ("tatoeba-zh-en.jsonl", TaskKind.BITEXT, 1000),
    ],
)
def test_each_is_read_for_what_it_is(laid_out: Path, name: str, kind: TaskKind, units: int) -> None:
    data = load_dataset(laid_out / name)
    assert (data.kind, len(data.unit_metadata.ids), data.row_errors) == (kind, units, ())


def test_scifact_is_beirs(laid_out: Path) -> None:
    data = load_dataset(laid_out / "scifact")
    assert isinstance(data, RetrievalData)
    assert len(data.documents) == 5183
    assert sum(len(grades) for grades in data.judgements.values()) == 339
    assert data.documents[0].startswith("Microstructural development of human newborn cerebral white matter assessed")
    assert "functional disabilities. A line scan" in data.documents[0]


def test_questions_of_a_paragraph_belong_together(laid_out: Path) -> None:
    clusters = load_dataset(laid_out / "xquad-zh").unit_metadata.clusters
    assert clusters is not None
    assert len(set(clusters)) == 240


@pytest.mark.parametrize(("name", "sections"), [("thucnews.jsonl", 10), ("tnews.jsonl", 15)])
def test_chinese_news_titles_are_clustered_by_section(laid_out: Path, name: str, sections: int) -> None:
    data = load_dataset(laid_out / name, TaskKind.CLUSTERING)
    assert isinstance(data, LabelledData)
    assert (len(data.texts), len(set(data.labels))) == (10_000, sections)
    task = task_of(data, NEWS_TITLES)
    assert task.name == "clustering"
    assert task.groups()["texts"].instruction == NEWS_TITLES
