"""mteb itself, on the same vectors: every task's figure is the same. Skipped where mteb is not installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.measure.test_tasks import SAME, about, task, trec, unit
from upsize import Embedder
from upsize.measure.datasets import Kind, LabelledData, PairsData, ParallelData, RerankingData, RetrievalData, Texts
from upsize.measure.metrics import whole
from upsize.measure.mteb_encoder import MtebEncoder
from upsize.measure.tasks import Task

mteb = pytest.importorskip("mteb", reason="mteb is not installed: pip install 'upsize[mteb]'")
pytestmark = pytest.mark.filterwarnings("ignore")  # mteb's and datasets' own


class Lookup(MtebEncoder):
    """Gives each text its known vector."""

    def __init__(self, vectors: dict[str, np.ndarray]) -> None:
        self._vectors = vectors

    def encode(self, inputs: Any, **kwargs: Any) -> np.ndarray:
        return np.stack([self._vectors[text] for batch in inputs for text in batch["text"]])

    @property
    def mteb_model_meta(self) -> Any:
        return mteb.models.ModelMeta.create_empty({"name": "upsize/lookup", "revision": "1"})


def named(texts: tuple[str, ...], vectors: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip(texts, vectors, strict=True))


def names(letter: str, count: int) -> tuple[str, ...]:
    return tuple(f"{letter}{i:04}" for i in range(count))


def score(base: Any, dataset: Any, vectors: dict[str, np.ndarray], metric: str) -> float:
    """What mteb says of the vectors: one of its mock tasks, with our data in it."""

    def load_data(self: Any, num_proc: Any = None, **kwargs: Any) -> None:
        self.dataset, self.data_loaded = dataset, True

    made = type("Filled", (base,), {"load_data": load_data})()
    result = made.evaluate(Lookup(vectors), "test", encode_kwargs={"batch_size": 64, "show_progress_bar": False})
    return float(result["default"][metric])


def ours(made: Task, vectors: dict[str, np.ndarray]) -> float:
    by_group = {name: np.stack([vectors[text] for text in group.texts]) for name, group in made.groups().items()}
    return whole(made.metric, made.observe(by_group, 42))


def split(**columns: Any) -> Any:
    from datasets import Dataset

    return Dataset.from_dict(columns)


@pytest.mark.parametrize("kind", [Kind.STS, Kind.PAIR_CLASSIFICATION])
def test_pairs(kind: Kind) -> None:
    from mteb.mocks.mock_tasks.pair_classification import MockPairClassificationTask
    from mteb.mocks.mock_tasks.sts import MockSTSTask

    left, right, first = names("l", 200), names("r", 200), unit(200, 1)
    vectors = named(left, first) | named(right, unit(200, 2, first))
    rng = np.random.default_rng(1)
    gold = rng.integers(0, 2, 200) if kind is Kind.PAIR_CLASSIFICATION else rng.integers(0, 6, 200) / 5
    data = PairsData(**about(kind, 200), left=left, right=right, scores=tuple(gold.astype(float)))  # type: ignore[arg-type]
    base, column, metric = (
        (MockSTSTask, "score", "cosine_spearman")
        if kind is Kind.STS
        else (MockPairClassificationTask, "labels", "cosine_ap")
    )
    theirs = {"test": split(sentence1=left, sentence2=right, **{column: gold.tolist()})}
    assert ours(task(data), vectors) == pytest.approx(score(base, theirs, vectors, metric), **SAME)


def test_bitext() -> None:
    from mteb.mocks.mock_tasks.bitext_mining import MockBitextMiningTask

    left, right, first = names("l", 150), names("r", 150), unit(150, 1)
    vectors = named(left, first) | named(right, unit(150, 2, first * 0.6))
    data = ParallelData(**about(Kind.BITEXT, 150), left=left, right=right)  # type: ignore[arg-type]
    theirs = score(MockBitextMiningTask, {"test": split(sentence1=left, sentence2=right)}, vectors, "f1")
    assert ours(task(data), vectors) == pytest.approx(theirs, **SAME)
    assert 0.05 < theirs < 0.95


def labelled(kind: Kind, train: int) -> tuple[LabelledData, dict[str, np.ndarray]]:
    codes = np.random.default_rng(8).integers(0, 5, 300 + train)
    texts = names("t", 300 + train)
    vectors = named(texts, unit(300 + train, 7, unit(5, 9)[codes] * 0.8))
    labels = tuple("abcde"[c] for c in codes)
    data = LabelledData(
        **about(kind, 300), texts=texts[:300], labels=labels[:300], train_texts=texts[300:], train_labels=labels[300:]
    )  # type: ignore[arg-type]
    return data, vectors


def test_clustering() -> None:
    from mteb.mocks.mock_tasks.clustering import MockClusteringTask

    data, vectors = labelled(Kind.CLUSTERING, 0)
    theirs = score(
        MockClusteringTask, {"test": split(sentences=[data.texts], labels=[data.labels])}, vectors, "v_measure"
    )
    assert ours(task(data), vectors) == pytest.approx(theirs, **SAME)
    assert 0.05 < theirs < 0.95


@pytest.mark.parametrize("train", [0, 120])
def test_classification(train: int) -> None:
    """With texts to train on, and by cross-validation."""
    from mteb.abstasks.classification import AbsTaskClassification
    from mteb.mocks.mock_tasks.classification import MockClassificationTask

    class Plain(AbsTaskClassification):
        metadata = MockClassificationTask.metadata
        is_cross_validation = not train
        train_split = "train" if train else "test"

    from datasets import DatasetDict

    data, vectors = labelled(Kind.CLASSIFICATION, train)
    splits = {"test": split(text=data.texts, label=data.labels)}
    if train:
        splits["train"] = split(text=data.train_texts, label=data.train_labels)
    theirs = score(Plain, DatasetDict(splits), vectors, "accuracy")
    assert ours(task(data), vectors) == pytest.approx(theirs, **SAME)
    assert 0.3 < theirs < 0.98


def searched(candidates: bool) -> tuple[Any, dict[str, np.ndarray], dict[str, dict[str, int]]]:
    """(mteb's split, vectors, judgements): 40 queries over 300 documents."""
    rng = np.random.default_rng(5)
    queries, documents, corpus = names("q", 40), names("d", 300), unit(300, 1)
    asked = unit(40, 2, corpus[rng.integers(0, 300, 40)])
    near = (asked @ corpus.T).argsort(axis=1)[:, ::-1]
    judgements = {
        f"u{q}": {documents[d]: int(rng.integers(0, 4)) for d in rng.choice(near[q, :30], 12, replace=False)}
        | {documents[near[q, 30]]: 1}
        for q in range(40)
    }
    found = {
        "queries": split(id=[f"u{i}" for i in range(40)], text=list(queries)),
        "corpus": split(id=list(documents), text=list(documents), title=[""] * 300),
        "relevant_docs": judgements,
        "top_ranked": {query: list(grades) for query, grades in judgements.items()} if candidates else None,
    }
    return {"default": {"test": found}}, named(queries, asked) | named(documents, corpus), judgements


def test_retrieval() -> None:
    from mteb.mocks.mock_tasks.retrieval import MockRetrievalTask

    theirs, vectors, judgements = searched(candidates=False)
    documents = names("d", 300)
    data = RetrievalData(
        **about(Kind.RETRIEVAL, 40),
        queries=names("q", 40),
        document_ids=documents,
        documents=Texts(documents),
        judgements=judgements,
    )  # type: ignore[arg-type]
    made = task(data)
    by_group = {name: np.stack([vectors[text] for text in group.texts]) for name, group in made.groups().items()}
    columns = made.observe(by_group, 0)
    for column, metric in (("value", "ndcg_at_10"), ("recall@100", "recall_at_100"), ("MRR@10", "mrr_at_10")):
        # mteb rounds its means of a ranking to five digits
        assert columns[column].mean() == pytest.approx(score(MockRetrievalTask, theirs, vectors, metric), abs=5.1e-6)
    run = {
        f"u{q}": {d: float(vectors[d] @ vectors[query]) for d in documents} for q, query in enumerate(names("q", 40))
    }
    exact = np.mean([found["ndcg_cut_10"] for found in trec(judgements, run).values()])
    assert columns["value"].mean() == pytest.approx(exact, **SAME)  # the same evaluator, before mteb rounds


def test_reranking() -> None:
    from mteb.mocks.mock_tasks.reranking import MockRerankingTask

    theirs, vectors, judgements = searched(candidates=True)
    data = RerankingData(
        **about(Kind.RERANKING, 40),
        queries=names("q", 40),
        documents=tuple(tuple(grades) for grades in judgements.values()),
        relevance=tuple(tuple(grades.values()) for grades in judgements.values()),
    )  # type: ignore[arg-type]
    made = task(data)
    by_group = {name: np.stack([vectors[text] for text in group.texts]) for name, group in made.groups().items()}
    columns = made.observe(by_group, 0)
    for column, metric in (("value", "ndcg_at_10"), ("MAP", "map_at_1000")):
        assert columns[column].mean() == pytest.approx(score(MockRerankingTask, theirs, vectors, metric), abs=5.1e-6)


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
