"""mteb itself, on the same vectors: every task's figure is the same. Skipped where mteb is not installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.mteb_agreement import Table, ours, theirs
from tests.evaluation.test_tasks import SAME, about, task, trec, unit
from upsize import Embedder
from upsize.evaluation.datasets import (
    Dataset,
    LabelledData,
    PairsData,
    ParallelData,
    RerankingData,
    RetrievalData,
    TaskKind,
    TextStore,
)
from upsize.evaluation.mteb_encoder import MtebEncoder

mteb = pytest.importorskip("mteb", reason="mteb is not installed: pip install 'upsize[mteb]'")
pytestmark = pytest.mark.filterwarnings("ignore")  # mteb's and datasets' own

ROUNDED = {"rel": 0, "abs": 5.1e-6}
"""mteb rounds its means of rankings to five digits."""


def named(texts: tuple[str, ...], vectors: np.ndarray, side: str = "") -> Table:
    return {(side, text): vector for text, vector in zip(texts, vectors, strict=True)}


def names(letter: str, count: int) -> tuple[str, ...]:
    return tuple(f"{letter}{i:04}" for i in range(count))


def agree(data: Dataset, table: Table, tolerance: dict[str, float]) -> dict[str, float]:
    """mteb's figures, after ours were held against them; none is trivial."""
    mine, other = ours(task(data), table), theirs(data, table)
    assert other
    assert {name: mine[name] for name in other} == pytest.approx(other, **tolerance)
    assert all(0.05 < value < 0.98 for value in other.values())
    return mine


@pytest.mark.parametrize("kind", [TaskKind.STS, TaskKind.PAIR_CLASSIFICATION])
def test_pairs(kind: TaskKind) -> None:
    left, right, first = names("l", 200), names("r", 200), unit(200, 1)
    second = unit(200, 2, first)
    cosine = (first * second).sum(axis=1)
    gold = np.round(5 * cosine + np.random.default_rng(4).normal(size=200))
    gold = gold > np.median(gold) if kind is TaskKind.PAIR_CLASSIFICATION else gold
    data = PairsData(**about(kind, 200), left=left, right=right, scores=tuple(gold.astype(float)))  # type: ignore[arg-type]
    agree(data, named(left, first) | named(right, second), SAME)


def test_bitext() -> None:
    left, right, first = names("l", 150), names("r", 150), unit(150, 1)
    data = ParallelData(**about(TaskKind.BITEXT, 150), left=left, right=right)  # type: ignore[arg-type]
    agree(data, named(left, first) | named(right, unit(150, 2, first * 0.8)), SAME)


@pytest.mark.parametrize(
    ("kind", "train"), [(TaskKind.CLUSTERING, 0), (TaskKind.CLASSIFICATION, 120), (TaskKind.CLASSIFICATION, 0)]
)
def test_labels(kind: TaskKind, train: int) -> None:
    """Clustering; classification with texts to train on, and by cross-validation."""
    codes = np.random.default_rng(8).integers(0, 5, 300 + train)
    texts = names("t", 300 + train)
    labels = tuple("abcde"[c] for c in codes)
    data = LabelledData(
        **about(kind, 300), texts=texts[:300], labels=labels[:300], train_texts=texts[300:], train_labels=labels[300:]
    )  # type: ignore[arg-type]
    agree(data, named(texts, unit(300 + train, 7, unit(5, 9)[codes] * 0.8)), SAME)


QUERIES, DOCUMENTS = names("q", 40), names("d", 300)


def searched() -> tuple[Table, dict[str, dict[str, int]]]:
    """(vectors, graded judgements of some of the nearest) of 40 queries over 300 documents."""
    rng = np.random.default_rng(5)
    corpus = unit(300, 1)
    asked = unit(40, 2, corpus[rng.integers(0, 300, 40)])
    near = (asked @ corpus.T).argsort(axis=1)[:, ::-1]
    judgements = {
        f"u{q}": {DOCUMENTS[near[q, 30]]: 1}
        | {DOCUMENTS[d]: int(rng.integers(0, 4)) for d in rng.choice(near[q, :30], 12, replace=False)}
        for q in range(40)
    }
    return named(QUERIES, asked, "query") | named(DOCUMENTS, corpus, "document"), judgements


def test_retrieval() -> None:
    table, judgements = searched()
    data = RetrievalData(
        **about(TaskKind.RETRIEVAL, 40),
        queries=QUERIES,
        document_ids=DOCUMENTS,
        documents=TextStore(DOCUMENTS),
        judgements=judgements,
    )  # type: ignore[arg-type]
    mine = ours(task(data), table)
    other = theirs(data, table)
    assert {name: mine[name] for name in other} == pytest.approx(other, **ROUNDED)
    run = {
        f"u{i}": {d: float(table["document", d] @ table["query", query]) for d in DOCUMENTS}
        for i, query in enumerate(QUERIES)
    }
    exact = np.mean([found["ndcg_cut_10"] for found in trec(judgements, run).values()])
    assert mine["nDCG@10"] == pytest.approx(exact, **SAME)  # by mteb's own evaluator, before mteb rounds


def test_reranking() -> None:
    table, judgements = searched()
    data = RerankingData(
        **about(TaskKind.RERANKING, 40),
        queries=QUERIES,
        documents=tuple(tuple(grades) for grades in judgements.values()),
        relevance=tuple(tuple(grades.values()) for grades in judgements.values()),
    )  # type: ignore[arg-type]
    agree(data, table, ROUNDED)


@pytest.fixture
def encoder(embedder_folder: Path) -> Iterator[MtebEncoder]:
    with Embedder(str(embedder_folder), device="cpu") as embedder:
        yield MtebEncoder(embedder, "upsize/tiny", dim=32)


def test_mtebs_tasks_run_through_the_engine(encoder: MtebEncoder) -> None:
    from mteb.mocks.mock_tasks import clustering, retrieval, sts

    tasks = [sts.MockSTSTask(), clustering.MockClusteringTask(), retrieval.MockRetrievalTask()]
    result = mteb.evaluate(encoder, tasks, cache=None, show_progress_bar=False)
    assert result.model_name == "upsize/tiny"
    assert [found.task_name for found in result.task_results] == [made.metadata.name for made in tasks]
    assert all(np.isfinite(found.get_score()) for found in result.task_results)


def test_instructions_are_mtebs(encoder: MtebEncoder) -> None:
    from mteb.mocks.mock_tasks import retrieval, sts

    assert encoder.instruction(sts.MockSTSTask().metadata, None) == "Retrieve semantically similar text."
    assert encoder.instruction(retrieval.MockRetrievalTask().metadata, "document") is None
    titles = mteb.get_task("ThuNewsClusteringS2S").metadata
    assert (
        encoder.instruction(titles, None)
        == "Identify the topic or theme of the given news articles based on the titles"
    )
