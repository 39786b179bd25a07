"""A query's own document is no answer to it: as in BEIR and MTEB, in every way that a ranking is made."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import pytrec_eval

from upsize.evaluation.datasets import RerankingData, RetrievalData, TaskKind, TextStore, UnitMetadata, load_dataset
from upsize.evaluation.datasets.own_documents import leaves_out
from upsize.evaluation.tasks import RankingTask, UnjudgedTask, task_of
from upsize.evaluation.tasks.ranking import top_k
from upsize.selection.quality import dataset_digest

COUNT = 30


def vectors(documents: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Queries are the first documents themselves; what answers them is near to them."""
    rng = np.random.default_rng(seed)
    corpus = rng.normal(size=(documents, 16))
    corpus[COUNT:] = corpus[np.arange(documents - COUNT) % COUNT] + 0.8 * rng.normal(size=(documents - COUNT, 16))
    corpus /= np.linalg.norm(corpus, axis=1, keepdims=True)
    whole = corpus.astype(np.float32)
    return {"corpus": whole, "queries": whole[:COUNT]}


def folder(path: Path, judged: bool = True, own_relevant: tuple[int, ...] = ()) -> Path:
    """A BEIR folder whose queries are documents, with the same ids."""
    path.mkdir()
    texts = [f"claim number {i}" for i in range(COUNT)] + [f"an answer to claim {i}" for i in range(COUNT)]
    ids = [f"a{i}" for i in range(COUNT)] + [f"c{i}" for i in range(COUNT)]
    rows = [json.dumps({"_id": i, "text": t}) + "\n" for i, t in zip(ids, texts, strict=True)]
    (path / "corpus.jsonl").write_text("".join(rows))
    (path / "queries.jsonl").write_text("".join(rows[:COUNT]))
    if judged:
        (path / "qrels").mkdir()
        grades = [(f"a{i}", f"c{i}") for i in range(COUNT)] + [(f"a{i}", f"a{i}") for i in own_relevant]
        table = "query-id\tcorpus-id\tscore\n" + "".join(f"{q}\t{d}\t1\n" for q, d in grades)
        (path / "qrels" / "test.tsv").write_text(table)
    return path


def test_retrieval_is_trec_evals_without_the_own_documents(tmp_path: Path) -> None:
    data = load_dataset(folder(tmp_path / "beir", own_relevant=(3, 4)))
    assert isinstance(data, RetrievalData)
    task, found = task_of(data), vectors(2 * COUNT)
    assert isinstance(task, RankingTask)
    scores = found["queries"] @ found["corpus"].T
    run = {
        unit: {d: s for d, s in zip(data.document_ids, row.tolist(), strict=True) if d != unit or unit in ("a3", "a4")}
        for unit, row in zip(data.unit_metadata.ids, scores, strict=True)
    }
    told = pytrec_eval.RelevanceEvaluator(data.judgements, {"ndcg_cut.10"}).evaluate(run)
    values = task.observe(found, 0)["value"]
    assert values == pytest.approx([told[unit]["ndcg_cut_10"] for unit in data.unit_metadata.ids], abs=1e-6)
    with_own = top_k(found["queries"], found["corpus"], 10, np.arange(2 * COUNT))
    assert (with_own[:, 0] == np.arange(COUNT)).all(), "the own document would have been the first of all"
    assert any("28 of the 30 queries" in note and "own document is left out" in note for note in data.notes)


def test_a_reranker_does_not_see_it(tmp_path: Path) -> None:
    task = task_of(load_dataset(folder(tmp_path / "beir")))
    assert isinstance(task, RankingTask)
    ranking = task.rank(vectors(2 * COUNT), 5)
    for unit in range(COUNT):
        query, documents = task.pairs(ranking, unit)
        assert len(documents) == 5
        assert query not in documents


def test_without_judgements_models_are_compared_without_it(tmp_path: Path) -> None:
    task = task_of(load_dataset(folder(tmp_path / "beir", judged=False)))
    assert isinstance(task, UnjudgedTask)
    rankings = [task.rank(vectors(2 * COUNT, seed), 10) for seed in (0, 1)]
    assert all((ranking != np.arange(COUNT)[:, None]).all() for ranking in rankings)
    assert task.compare(rankings[0], rankings[0])["value"] == pytest.approx(np.ones(COUNT))


def test_where_no_document_is_left_models_agree_on_what_there_is() -> None:
    """Three documents, one of them the query: two are ranked, and none is −1 to a reader."""
    data = RetrievalData(
        "x",
        TaskKind.UNJUDGED,
        UnitMetadata(("a", "b")),
        (),
        (),
        ("a", "b"),
        ("a", "b", "c"),
        TextStore("abc"),
        {"a": {}, "b": {}},
    )
    task = task_of(data)
    assert isinstance(task, UnjudgedTask)
    eye = np.eye(3, dtype=np.float32)
    ranking = task.rank({"queries": eye[:2], "corpus": eye}, 10)
    assert (ranking[:, -1] == -1).all()
    similarity = task.compare(ranking, ranking)
    assert similarity["value"].tolist() == [1, 1]
    assert similarity["rank-biased overlap"] == pytest.approx([1, 1])
    other = np.array([[2, 1, -1], [2, 0, -1]])
    assert all(-1 not in label.documents for label in task.label_first([ranking, other]))


def test_blocks_do_not_matter() -> None:
    """More queries and documents than one block of scores holds."""
    rng = np.random.default_rng(0)
    queries, corpus = (rng.normal(size=(n, 4)).astype(np.float32) for n in (520, 17_000))
    without = (np.arange(520), rng.integers(0, 17_000, 520))
    scores = queries @ corpus.T
    scores[without] = -np.inf
    nearest = np.argpartition(-scores, 5, axis=1)[:, :5]
    expected = np.take_along_axis(nearest, np.argsort(-np.take_along_axis(scores, nearest, axis=1), axis=1), axis=1)
    assert (top_k(queries, corpus, 5, np.arange(17_000), without) == expected).all()


def test_candidates_that_are_the_query_itself_are_left_out() -> None:
    texts = (("good", "q0", "bad"), ("q1", "bad", "good"), ("bad", "good", "worse"))
    data = RerankingData(
        "x",
        TaskKind.RERANKING,
        UnitMetadata(("u0", "u1", "u2")),
        (),
        (),
        ("q0", "q1", "q2"),
        texts,
        ((1, 0, 0), (1, 0, 0), (0, 1, 0)),
    )
    task = task_of(data)
    assert isinstance(task, RankingTask)
    names = list(task.groups()["documents"].texts)
    basis = np.eye(len(names), dtype=np.float32)
    queries = np.stack([basis[names.index(q)] if q in names else basis[0] for q in ("q0", "q1", "q2")])
    ranking = task.rank({"queries": queries, "documents": basis}, 10)
    assert 1 not in ranking[0], "itself, and not judged relevant"
    assert ranking[1, 0] == 0, "itself, and judged relevant"
    assert sorted(ranking[2].tolist()) == [0, 1, 2]


def test_rows_without_ids_are_told_apart_by_their_texts(tmp_path: Path) -> None:
    """Two questions that are each other's positive, as in lists of duplicates; ids that are made up are no ids."""
    rows: list[dict[str, str]] = [{"query": f"how to {i}?", "positive": f"what is the way to {i}?"} for i in range(5)]
    rows += [{"query": r["positive"], "positive": r["query"]} for r in rows]
    rows += [{"query": "named as a document is by us", "positive": "an answer"}]
    rows = [{"id": f"d{i}"} | row for i, row in enumerate(rows)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = load_dataset(path)
    task = task_of(data)
    assert isinstance(data, RetrievalData)
    assert isinstance(task, RankingTask)
    same = np.ones((11, 2), np.float32)
    ranking = task.rank({"queries": same, "corpus": same}, 11)
    for unit in range(11):
        query, documents = task.pairs(ranking, unit)
        assert len(documents) == (11 if unit == 10 else 10)
        assert query not in documents
    assert any("10 of the 11 queries are documents too (equal text)" in note for note in data.notes)


def test_equal_ids_by_chance_are_said(tmp_path: Path) -> None:
    path = folder(tmp_path / "beir")
    numbers = [json.dumps({"_id": f"a{i}", "text": f"something else {i}"}) + "\n" for i in range(COUNT)]
    (path / "queries.jsonl").write_text("".join(numbers))
    assert any("30 of these have another text" in note for note in load_dataset(path).notes)


def test_runs_of_before_are_not_taken_for_those_without_it(tmp_path: Path) -> None:
    """The digest that names vectors and runs on disk tells whether documents are left out; other data keep theirs."""
    with_own, without = folder(tmp_path / "a"), folder(tmp_path / "b", own_relevant=tuple(range(COUNT)))
    assert leaves_out(load_dataset(with_own))
    assert not leaves_out(load_dataset(without))
    data = load_dataset(with_own)
    assert isinstance(data, RetrievalData)
    apart = replace(data, named=False, queries=tuple(f"{query}?" for query in data.queries))
    asked = replace(data, queries=apart.queries)
    assert not leaves_out(apart)
    assert dataset_digest(asked) != dataset_digest(apart), "the same data but for that"


def test_renamed_fields_leave_the_dataset_digest_the_data_as_it_is(tmp_path: Path) -> None:
    """Vectors and runs of earlier versions lie on disk under this digest."""
    path = tmp_path / "q.jsonl"
    path.write_text(
        '{"query": "a", "positives": ["b"], "language": "en"}\n'
        '{"query": "c", "positives": ["d"], "negatives": ["b"], "language": "de"}\nbad\n'
    )
    assert dataset_digest(load_dataset(path, skip_bad=True)) == "934d25e9d53c687f"
