"""How the published scores are read, and that the package's table is made of them."""

from __future__ import annotations

import csv
import lzma
from pathlib import Path

import pytest

from benchmarks.published_scores import PublishedScore, broken, cells, data_set, languages, superseded
from upsize.catalog.published import SIZES, task_scores


@pytest.mark.parametrize(
    ("scores", "verdict"),
    [
        ((0.9, 0.96, 0.02), True),
        ((0.9, 0.4, 0.95), True),
        ((0.08, 0.63, 0.76), False),  # a language that the small model does not know
        ((0.2, 0.05, 0.04), False),  # none of them can do it
        ((0.6, 0.5, 0.4), False),
    ],
)
def test_what_counts_as_broken(scores: tuple[float, float, float], verdict: bool) -> None:
    assert broken(dict(zip(SIZES, scores, strict=True))) is verdict


@pytest.mark.parametrize(
    ("task", "name"),
    [
        ("ThuNewsClusteringP2P", "ThuNews"),
        ("ThuNewsClusteringS2S", "ThuNews"),
        ("ArxivClusteringS2S.v2", "Arxiv"),
        ("MIRACLRetrievalHardNegatives.v2", "MIRACL"),
        ("MIRACLReranking", "MIRACL"),
        ("CQADupstackUnixRetrieval", "CQADupstack"),
        ("BrightProBiologyRetrieval", "BrightBiology"),
        ("NFCorpus-NL.v2", "NFCorpus"),
        ("STS17", "STS17"),
    ],
)
def test_tasks_of_one_data_set(task: str, name: str) -> None:
    assert data_set(task) == name


def test_old_versions_and_samples_are_superseded() -> None:
    tasks = {"STS22", "STS22.v2", "Tatoeba", "HUMESTS22"}
    assert {t for t in tasks if superseded(t, tasks)} == {"STS22", "HUMESTS22"}


def test_a_pair_with_english_is_the_other_languages() -> None:
    assert languages(PublishedScore("t", "bitext", "fra-Latn eng-Latn", "test/x")) == {"fr"}
    assert languages(PublishedScore("t", "retrieval", "eng-Latn python-Code", "test/x")) == {"en"}


def test_the_table_is_that_of_the_source(shared_data: Path) -> None:
    path = shared_data / "data" / "mteb-qwen3-published-results" / "scores.csv.xz"
    if not path.exists():
        pytest.skip(f"no published scores at {path}")
    with lzma.open(path, "rt", encoding="utf-8") as file:
        wanted = [c for c in cells(csv.DictReader(file)) if c.task == "Banking77Classification"]
    (row,) = (r for r in task_scores() if (r.task, r.language) == ("Banking77Classification", "*"))
    means = [sum(c.scores[s] for c in wanted) / len(wanted) for s in SIZES]
    assert row.scores == pytest.approx(means, abs=5e-5)
    assert row.cells == len(wanted)
