"""The rungs before a move: a reranker, a larger model that rescores, a funnel."""

from __future__ import annotations

import time

import pytest

from tests.index.conftest import QUERIES, TEXTS, Make
from tests.index.tools import settle, stored, write
from upsize.errors import InvalidInput, Refused, UpsizeError
from upsize.index import Index, Rerank, Rescore, SearchRequest, VectorSpec
from upsize.index import cascade as ladder
from upsize.migration import LabelledQuery, Relevant, move, plan_move
from upsize.migration.compare import compare_ladder


def wait_kept(index: Index, generation: str, number: int) -> None:
    end = time.monotonic() + 20
    while len(stored(index, generation)) < number:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_reranker_orders_the_first_by_its_own_scores(make: Make) -> None:
    index = make()
    write(index, TEXTS)
    plain = index.search(SearchRequest("recipe for onion soup"))
    ladder.set_rerank(index, "demo-rerank", 4)
    answer = index.search(SearchRequest("recipe for onion soup", k=4))
    assert answer.rungs == ("L0", "L1")
    assert set(answer.ids) == set(plain.ids[:4])
    models = index.models
    odds = models.score(models.reranker("demo-rerank", "test"), "recipe for onion soup", [TEXTS[i] for i in answer.ids])
    assert odds.tolist() == sorted(odds.tolist(), reverse=True)
    assert all(0 <= f.score <= 1 and f.scores.keys() == {"cosine", "reranker"} for f in answer.found)
    assert index.search(SearchRequest("recipe for onion soup", rerank=False)).rungs == ("L0",)
    ladder.set_rerank(index, None)
    assert index.search(SearchRequest("recipe for onion soup")).ids == plain.ids
    assert index.search(SearchRequest("soup", rerank=Rerank("demo-rerank", 3))).rungs == ("L0", "L1")


def test_a_larger_model_rescores_and_what_it_made_is_kept(make: Make) -> None:
    index, larger = make(background=True), make(model="demo-s")
    write(index, TEXTS)
    write(larger, TEXTS)
    ladder.set_rescore(index, "demo-s", depth=6)
    answer = index.search(SearchRequest("recipe for onion soup", k=6))
    assert answer.rungs == ("L0", "L2")
    own = larger.search(SearchRequest("recipe for onion soup", k=6))
    assert answer.ids == own.ids
    assert [f.score for f in answer.found] == pytest.approx([f.score for f in own.found], abs=2e-3)
    wait_kept(index, "g2", 6)
    # They count as backfill.
    plan = plan_move(index, VectorSpec("demo-s"), seconds=0.05)
    move.start(index, plan)
    assert move.status(index)["target"]["generation"] == "g2"
    assert move.status(index)["missing"] == 0
    move.switch(index)
    assert index.search(SearchRequest("recipe for onion soup", k=6)).rungs == ("L0",)
    move.finish(index)
    assert index.state.rescore is None


def test_what_is_kept_is_of_the_text_as_it_stands(make: Make) -> None:
    index = make(background=True)
    write(index, TEXTS)
    ladder.set_rescore(index, "demo-s", depth=6)
    index.search(SearchRequest("recipe for onion soup"))
    wait_kept(index, "g2", 6)
    write(index, {"moon": "A recipe for onion soup, with onions and butter."})
    index.delete(["rain"])
    answer = index.search(SearchRequest("recipe for onion soup"))
    assert answer.ids[0] == "moon"
    assert "rain" not in answer.ids


def test_no_more_is_kept_than_the_budget(make: Make) -> None:
    index = make(background=True)
    write(index, TEXTS)
    ladder.set_rescore(index, "demo-s", depth=6, keep_bytes=2 * 4 * 128 + 5)
    for query in QUERIES:
        index.search(SearchRequest(query))
    wait_kept(index, "g2", 2)
    time.sleep(0.1)
    assert len(stored(index, "g2")) == 2
    ladder.set_rescore(index, None)
    assert [g.id for g in index.state.generations] == ["g1"]


def test_leaving_the_larger_model_during_a_move_to_it_keeps_the_move(make: Make) -> None:
    index = make()
    write(index, TEXTS)
    ladder.set_rescore(index, "demo-s")
    move.start(index, plan_move(index, VectorSpec("demo-s"), seconds=0.05))
    ladder.set_rescore(index, None)
    settle(index)
    move.switch(index)
    assert index.state.active == "g2"


def test_a_funnel_needs_coarse_vectors(make: Make) -> None:
    index = make(coarse=32)
    write(index, TEXTS)
    before = index.search(SearchRequest("recipe for onion soup", k=2)).ids
    ladder.set_funnel(index, 5)
    assert index.search(SearchRequest("recipe for onion soup", k=2)).ids == before
    ladder.set_funnel(index, None)
    with pytest.raises(Refused, match=r"keeps no coarse vectors.*--coarse"):
        ladder.set_funnel(make(), 5)


def test_settings_that_make_no_sense_are_told(make: Make) -> None:
    index = make()
    for wrong, told in (
        (lambda: ladder.set_rerank(index, "demo-xs"), "reranker"),
        (lambda: ladder.set_rerank(index, "demo-rerank", 0), "depth is 0"),
        (lambda: ladder.set_rescore(index, "demo-xs"), "searches with already"),
        (lambda: ladder.set_rescore(index, "demo-s", keep_bytes=-1), "keep_bytes is -1"),
        (lambda: ladder.set_rescore(index, "no-such"), "no-such"),
    ):
        with pytest.raises(UpsizeError, match=told):
            wrong()
    assert (index.state.rerank, index.state.rescore) == (None, None)
    assert len(index.state.generations) == 1


def test_a_vector_alone_cannot_be_rescored(make: Make) -> None:
    index = make()
    write(index, TEXTS)
    ladder.set_rerank(index, "demo-rerank")
    vector = index.models.embed_query(index.models.embedder("demo-xs", "test"), "soup", 64).tolist()
    question = SearchRequest(vector=vector, fingerprint=index.state.serving.fingerprint.id)
    with pytest.raises(InvalidInput, match="needs the query's text"):
        index.search(question)


def test_the_rungs_are_measured_on_labelled_queries(make: Make) -> None:
    index = make()
    write(index, TEXTS)
    ladder.set_rescore(index, "demo-s")
    labelled = [LabelledQuery(query, (Relevant(id),)) for query, id in QUERIES.items()]
    told = compare_ladder(index, labelled, rerank=[Rerank("demo-rerank", 3)], rescore=[Rescore("g2", 4)])
    assert [w["name"] for w in told["ways"]] == ["L0", "L1 demo-rerank, 3", "L2 demo-s, 4"]
    assert all(w["p95_ms"] >= w["p50_ms"] > 0 and 0.5 < w["estimate"] <= 1 for w in told["ways"])
    assert len(told["differences"]) == 3


def test_what_disturbed_the_latencies_of_the_rungs_is_said(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """And none of them is of a first question, which may load a model."""
    index = make()
    write(index, TEXTS)
    labelled = [LabelledQuery(query, (Relevant(id),)) for query, id in QUERIES.items()]
    monkeypatch.setattr("upsize.compute.contention.Contention.share", lambda _: 0.4)
    asked: list[str] = []
    search = index.search
    monkeypatch.setattr(index, "search", lambda q: asked.append(str(q.query)) or search(q))  # type: ignore[func-returns-value]
    told = compare_ladder(index, labelled)
    assert any("Other processes took 40% of the processor" in note for note in told["notes"])
    assert asked == [labelled[0].query, *(q.query for q in labelled)]
    monkeypatch.setattr("upsize.compute.contention.Contention.share", lambda _: 0.0)
    assert not any("processor" in note for note in compare_ladder(index, labelled)["notes"])


def test_what_an_approximate_index_loses_is_told_apart(make: Make) -> None:
    index = make()
    write(index, TEXTS | {f"x{i}": f"Something else, number {i}." for i in range(300)})
    labelled = [LabelledQuery(query, (Relevant(id),)) for query, id in QUERIES.items()]
    assert compare_ladder(index, labelled)["approximate_recall"] is None
    index.store.exact_below = 100  # type: ignore[attr-defined]
    index.generations.compact(index.state.serving)
    assert index.status()["generations"][0]["approximate"]
    recall = compare_ladder(index, labelled)["approximate_recall"]
    assert 0.5 < recall <= 1
