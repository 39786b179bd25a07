"""Every task's figures equal those of the libraries, computed from the same vectors in their own way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.cluster import MiniBatchKMeans
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, v_measure_score
from sklearn.metrics.pairwise import cosine_similarity

from upsize.errors import InvalidInput
from upsize.evaluation.datasets import (
    LabelledData,
    PairsData,
    ParallelData,
    RerankingData,
    RetrievalData,
    TaskKind,
    TextStore,
    UnitMetadata,
)
from upsize.evaluation.metrics import point_estimate
from upsize.evaluation.ranking_similarity import rank_biased_overlap
from upsize.evaluation.tasks import NEWS_TITLES, Task, UnjudgedTask, reorder, task_of
from upsize.evaluation.tasks.ranking import priorities, top_k

SAME = {"rel": 0, "abs": 1e-6}
DIMENSION = 16


def unit(count: int, seed: int, near: np.ndarray | None = None) -> np.ndarray:
    """Unit vectors, perhaps near to others, so that figures are neither 0 nor 1."""
    values = np.random.default_rng(seed).normal(size=(count, DIMENSION))
    values = values if near is None else values + 3.5 * near
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def unit_metadata(count: int, letter: str = "u") -> UnitMetadata:
    return UnitMetadata(tuple(f"{letter}{i}" for i in range(count)))


def about(kind: TaskKind, count: int) -> dict[str, object]:
    return {"name": "x", "kind": kind, "unit_metadata": unit_metadata(count), "notes": (), "row_errors": ()}


def retrieval(
    kind: TaskKind = TaskKind.RETRIEVAL, queries: int = 40, documents: int = 300
) -> tuple[RetrievalData, dict[str, np.ndarray]]:
    """Graded judgements, some of them 0; every tenth document is the copy of another, so that scores tie."""
    rng = np.random.default_rng(5)
    corpus = unit(documents, 1)
    corpus[::10] = corpus[1::10]
    vectors = {"corpus": corpus, "queries": unit(queries, 2, corpus[rng.integers(0, documents, queries)])}
    ids = tuple(f"d{i}" for i in range(documents))
    near = (vectors["queries"] @ corpus.T).argsort(axis=1)[:, ::-1]
    judgements = {
        f"u{q}": {ids[d]: int(rng.integers(0, 4)) for d in rng.choice(near[q, :14], 8, replace=False)}
        for q in range(queries)
    }
    data = RetrievalData(
        **about(kind, queries),
        queries=("q",) * queries,
        document_ids=ids,
        documents=TextStore(ids),
        judgements=judgements,
    )  # type: ignore[arg-type]
    return data, vectors


def task(data: object) -> Task:
    made = task_of(data)  # type: ignore[arg-type]
    assert not isinstance(made, UnjudgedTask)
    return made


def trec(qrels: Mapping[str, Mapping[str, int]], run: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """trec_eval itself, on cosines instead of ranks."""
    return pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.10", "recall.10,100", "map", "recip_rank"}).evaluate(run)  # type: ignore[no-any-return]


def test_retrieval_equals_trec_eval_on_the_cosines() -> None:
    data, vectors = retrieval()
    scores = vectors["queries"] @ vectors["corpus"].T
    run = {
        u: dict(zip(data.document_ids, row.tolist(), strict=True))
        for u, row in zip(data.unit_metadata.ids, scores, strict=True)
    }
    expected = trec(data.judgements, run)
    columns = task(data).observe(vectors, 0)
    for ours, theirs in (("value", "ndcg_cut_10"), ("recall@10", "recall_10"), ("recall@100", "recall_100")):
        assert columns[ours] == pytest.approx([expected[u][theirs] for u in data.unit_metadata.ids], **SAME)
    reciprocal = np.array([expected[u]["recip_rank"] for u in data.unit_metadata.ids])
    assert columns["MRR@10"] == pytest.approx(np.where(reciprocal >= 0.1, reciprocal, 0), **SAME)
    assert 0.2 < columns["value"].mean() < 0.9


def test_code_search_decides_by_mrr() -> None:
    data, vectors = retrieval(TaskKind.CODE_SEARCH)
    made = task(data)
    columns = made.observe(vectors, 0)
    plain = task(retrieval()[0]).observe(vectors, 0)
    assert made.metric.name == "MRR@10"
    assert columns["value"] == pytest.approx(plain["MRR@10"])
    assert columns["nDCG@10"] == pytest.approx(plain["value"])


@given(st.integers(0, 50), st.integers(1, 30), st.integers(1, 40), st.booleans())
def test_top_k_is_the_full_sort_whatever_the_blocks(seed: int, depth: int, documents: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    queries, corpus = rng.normal(size=(7, 3)).astype(np.float32), rng.normal(size=(documents, 3)).astype(np.float32)
    if ties:
        queries, corpus = np.round(queries), np.round(corpus)
    priority = rng.permutation(documents)
    expected = np.lexsort((np.broadcast_to(priority, (7, documents)), -(queries @ corpus.T)), axis=1)[:, :depth]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("upsize.evaluation.tasks.ranking.QUERIES", 3)
        patch.setattr("upsize.evaluation.tasks.ranking.DOCUMENTS", int(rng.integers(1, 15)))
        assert (top_k(queries, corpus, depth, priority) == expected).all()


def test_equal_scores_are_ordered_by_id_from_the_last() -> None:
    assert priorities(["d2", "d10", "d1", "e"]).tolist() == [1, 2, 3, 0]


def test_a_reranked_ranking_is_judged_alike() -> None:
    data, vectors = retrieval()
    made = task(data)
    ranking = made.rank(vectors, 100)  # type: ignore[attr-defined]
    query, documents = made.pairs(ranking, 3)  # type: ignore[attr-defined]
    assert query == "q"
    assert documents == [data.document_ids[place] for place in ranking[3]]
    grades = np.array(
        [
            [data.judgements[u].get(data.document_ids[p], 0) for p in row]
            for u, row in zip(data.unit_metadata.ids, ranking, strict=True)
        ]
    )
    columns = made.observe_ranking(reorder(ranking, grades[:, :60].astype(float)))  # type: ignore[attr-defined]
    relevant = [any(g > 0 for g in data.judgements[u].values()) for u in data.unit_metadata.ids]
    assert columns["value"] == pytest.approx(
        np.array(relevant, float), **SAME
    )  # by the grades themselves it is perfect
    assert (reorder(ranking, np.zeros((len(ranking), 60))) == ranking).all()


def reranking() -> tuple[RerankingData, dict[str, np.ndarray]]:
    rng = np.random.default_rng(3)
    counts = rng.integers(2, 20, 30)
    names = [tuple(f"d{rng.integers(0, 80)}" for _ in range(n)) for n in counts]
    relevance = [(int(rng.integers(1, 3)), 0, *(int(g) for g in rng.integers(0, 3, n - 2))) for n in counts]
    data = RerankingData(
        **about(TaskKind.RERANKING, 30), queries=("q",) * 30, documents=tuple(names), relevance=tuple(relevance)
    )  # type: ignore[arg-type]
    distinct = len({d for own in names for d in own})
    return data, {"queries": unit(30, 1), "documents": unit(distinct, 2)}


def test_reranking_equals_trec_eval_on_the_cosines() -> None:
    data, vectors = reranking()
    made = task(data)
    place = {text: i for i, text in enumerate(made.groups()["documents"].texts)}
    qrels = {
        u: {f"{i:02}": g for i, g in enumerate(grades)}
        for u, grades in zip(data.unit_metadata.ids, data.relevance, strict=True)
    }
    run = {
        u: {
            f"{i:02}": float(vectors["documents"][place[d]] @ vectors["queries"][q])
            for i, d in enumerate(data.documents[q])
        }
        for q, u in enumerate(data.unit_metadata.ids)
    }
    expected = trec(qrels, run)
    columns = made.observe(vectors, 0)
    assert columns["value"] == pytest.approx([expected[u]["ndcg_cut_10"] for u in data.unit_metadata.ids], **SAME)
    assert columns["MAP"] == pytest.approx([expected[u]["map"] for u in data.unit_metadata.ids], **SAME)


@pytest.mark.parametrize("kind", [TaskKind.STS, TaskKind.PAIR_CLASSIFICATION])
def test_pairs_equal_scipy_and_scikit_learn(kind: TaskKind) -> None:
    left = unit(200, 1)
    vectors = {"left": left, "right": unit(200, 2, left)}
    cosine = np.diag(cosine_similarity(vectors["left"].astype(float), vectors["right"].astype(float)))
    gold = np.round(cosine * 5 + np.random.default_rng(4).normal(size=200))
    gold = (gold > np.median(gold)).astype(float) if kind is TaskKind.PAIR_CLASSIFICATION else gold
    made = task(PairsData(**about(kind, 200), left=("a",) * 200, right=("b",) * 200, scores=tuple(gold)))  # type: ignore[arg-type]
    expected = spearmanr(cosine, gold).statistic if kind is TaskKind.STS else average_precision_score(gold, cosine)
    assert point_estimate(made.metric, made.observe(vectors, 0)) == pytest.approx(expected, **SAME)
    assert 0.2 < expected < 0.95


def test_bitext_equals_scikit_learn() -> None:
    left = unit(150, 1)
    vectors = {"left": left, "right": unit(150, 2, left * 0.8)}
    made = task(ParallelData(**about(TaskKind.BITEXT, 150), left=("a",) * 150, right=("b",) * 150))  # type: ignore[arg-type]
    nearest = cosine_similarity(vectors["left"], vectors["right"]).argmax(axis=1)
    columns = made.observe(vectors, 0)
    assert point_estimate(made.metric, columns) == pytest.approx(
        f1_score(np.arange(150), nearest, average="weighted", zero_division=0), **SAME
    )
    assert columns["found"].mean() == pytest.approx(accuracy_score(np.arange(150), nearest), **SAME)
    assert 0.1 < columns["found"].mean() < 0.95


def labelled(kind: TaskKind, train: int = 0) -> tuple[LabelledData, dict[str, np.ndarray]]:
    centres = unit(5, 9)
    codes = np.random.default_rng(8).integers(0, 5, 200 + train)
    vectors = unit(200 + train, 7, centres[codes] * 0.8)
    labels = tuple("abcde"[c] for c in codes)
    data = LabelledData(
        **about(kind, 200),
        texts=("t",) * 200,
        labels=labels[:200],
        train_texts=("t",) * train,
        train_labels=labels[200:],
    )  # type: ignore[arg-type]
    return data, {"texts": vectors[:200], "train": vectors[200:]} if train else {"texts": vectors}


def test_clustering_equals_scikit_learn() -> None:
    data, vectors = labelled(TaskKind.CLUSTERING)
    made = task(data)
    kmeans = MiniBatchKMeans(n_clusters=5, batch_size=500, n_init="auto", random_state=3).fit(vectors["texts"])
    columns = made.observe(vectors, 3)
    assert point_estimate(made.metric, columns) == pytest.approx(v_measure_score(data.labels, kmeans.labels_), **SAME)
    assert made.seeded
    assert (made.observe(vectors, 3)["cluster"] == columns["cluster"]).all()
    assert [metric.name for metric in made.also] == ["Hungarian macro F1", "pairwise F1"]


def test_classification_equals_scikit_learn_over_the_protocols_draws() -> None:
    data, vectors = labelled(TaskKind.CLASSIFICATION, train=120)
    accuracies, order = [], list(range(120))
    for _ in range(10):
        np.random.RandomState(42).shuffle(order)
        seen: Counter[str] = Counter()
        drawn = []
        for place in order:
            seen[data.train_labels[place]] += 1
            if seen[data.train_labels[place]] <= 8:
                drawn.append(place)
        model = LogisticRegression(max_iter=100, random_state=42).fit(
            vectors["train"][drawn], [data.train_labels[p] for p in drawn]
        )
        accuracies.append(accuracy_score(data.labels, model.predict(vectors["texts"])))
    columns = task(data).observe(vectors, 42)
    assert columns["value"].mean() == pytest.approx(np.mean(accuracies), **SAME)
    assert set(np.round(columns["value"] * 10)) - {0, 10}, "the draws differ"


def test_classification_without_training_texts_judges_every_text_by_the_others() -> None:
    data, vectors = labelled(TaskKind.CLASSIFICATION)
    right = task(data).observe(vectors, 42)["value"]
    assert set(right) == {0, 1}
    assert 0.4 < right.mean() < 1


def test_a_label_of_which_there_is_one_text_is_wrong_and_no_error() -> None:
    data = LabelledData(**about(TaskKind.CLASSIFICATION, 9), texts=("t",) * 9, labels=("a",) * 8 + ("b",))  # type: ignore[arg-type]
    right = task(data).observe({"texts": unit(9, 1)}, 42)["value"]
    assert right[8] == 0


def rank_biased_overlap_by_hand(one: list[int], other: list[int], p: float) -> float:
    """The sum as it stands in the paper."""
    depth = len(one)
    similarity = [len(set(one[:d]) & set(other[:d])) / d for d in range(1, depth + 1)]
    return similarity[-1] * p**depth + (1 - p) / p * sum(a * p**d for d, a in enumerate(similarity, 1))


@given(st.permutations(range(12)), st.permutations(range(12)))
def test_rank_biased_overlap(one: list[int], other: list[int]) -> None:
    found = rank_biased_overlap(one[:8], other[:8])
    assert found == pytest.approx(rank_biased_overlap_by_hand(one[:8], other[:8], 0.9), rel=1e-9)
    assert rank_biased_overlap(one, one) == pytest.approx(1)


def test_unjudged_says_how_far_models_agree_and_what_to_label() -> None:
    data, vectors = retrieval(TaskKind.UNJUDGED)
    made = task_of(data)
    assert isinstance(made, UnjudgedTask)
    one = made.rank(vectors, 50)
    other = one.copy()
    other[4, :3] = one[4, [2, 0, 1]]  # the same ten in another order
    other[7] = one[7, ::-1]
    other[9, 30:] = one[9, 30:][::-1]  # beyond what a reader sees
    columns = made.compare(one, other)
    assert columns["value"][[0, 4, 7, 9]].tolist() == [1, 1, 0, 1]
    assert columns["rank-biased overlap"][7] < columns["rank-biased overlap"][4] < 1
    first, second = made.label_first([one, other])
    assert (first.unit, second.unit) == (7, 4)
    assert set(first.documents) == {*one[7, :10].tolist(), *one[7, -10:].tolist()}


def test_what_is_embedded_how() -> None:
    groups = task(retrieval()[0]).groups()
    assert (groups["queries"].input_type, groups["queries"].instruction) == ("query", None)
    assert (groups["corpus"].input_type, groups["corpus"].instruction) == ("document", None)
    data, _ = labelled(TaskKind.CLUSTERING)
    assert task_of(data).groups()["texts"].instruction == "Identify categories in user passages."
    assert task_of(data, NEWS_TITLES).groups()["texts"].instruction == NEWS_TITLES
    assert task_of(data, "").groups()["texts"].instruction is None


def test_too_few_to_judge() -> None:
    few = LabelledData(**about(TaskKind.CLASSIFICATION, 4), texts=("t",) * 4, labels=("a", "b", "a", "b"))  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="x has 4 texts; classification needs 5 or more"):
        task_of(few)
