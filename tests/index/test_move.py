"""The move from one model to another, step by step, with the threads left out so that each step is seen."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.index.conftest import QUERIES, TEXTS, Make
from tests.index.tools import ids, require_in_step, settle, stored, write
from upsize.engine import Result
from upsize.errors import InvalidInput, OutOfMemory, Refused
from upsize.index import DocumentWrite, Index, SearchRequest, VectorSpec
from upsize.index import cascade as ladder
from upsize.migration import LabelledQuery, Relevant, move, plan_move, switching
from upsize.migration.compare import compare_move, place_labels, read_labelled
from upsize.migration.plan import MovePlan

LABELLED = [LabelledQuery(query, (Relevant(id),)) for query, id in QUERIES.items()]


def begin(index: Index, to: str = "demo-s", **settings: float) -> MovePlan:
    plan = plan_move(index, VectorSpec(to), seconds=0.05)
    move.start(index, plan, **settings)
    return plan


def test_a_move_from_beginning_to_end(make: Make, store_address: str) -> None:
    index = make(store=store_address)
    write(index, TEXTS)
    begin(index)
    assert index.state.active == "g1"
    with pytest.raises(Refused, match="6 of 6 documents are still missing in demo-s"):
        switching.require_complete(index, index.state.generation("g2"), index.documents.backlog_size("g2"))
    # Writes reach both while it fills.
    write(index, {"soup": "How to bake bread: flour, water, salt and yeast.", "new": "Volcanoes and lava."})
    index.delete(["rain"])
    settle(index)
    require_in_step(index)
    assert move.status(index)["ready"]
    move.switch(index)
    assert index.state.active == "g2"
    answer = index.search(SearchRequest("volcanoes", k=1))
    assert answer.ids == ["new"]
    assert answer.generation.model == "demo-s"
    # And after the switch.
    write(index, {"late": "The stock market fell."})
    index.delete(["new"])
    settle(index)
    require_in_step(index)
    move.rollback(index)
    assert index.state.active == "g1"
    assert ids(index, "The stock market fell", 1) == ["late"]
    move.switch(index)
    assert move.finish(index) == "g1"
    assert [g.id for g in index.state.generations] == ["g2"]
    assert index.documents.generations() == {"g2"}
    assert move.status(index)["phase"] == "none"
    assert ids(index, "The stock market fell", 1) == ["late"]


def test_the_new_generation_holds_the_new_models_vectors(make: Make) -> None:
    index, straight = make(), make(model="demo-s")
    write(index, TEXTS)
    write(straight, TEXTS)
    begin(index)
    settle(index)
    new = index.store.vectors(index.state.table(index.state.generation("g2")), list(TEXTS))
    own = straight.store.vectors(straight.state.table(straight.state.serving), list(TEXTS))
    assert all(float(new[id][1] @ own[id][1]) > 0.9999 for id in TEXTS)


def test_a_switch_too_early_is_refused_and_may_be_forced(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    index = make()
    write(index, TEXTS)
    begin(index)
    monkeypatch.setattr(switching, "TAIL", 3)
    with pytest.raises(Refused, match=r"6 of 6 documents are still missing.*upsize evolve status"):
        move.switch(index)
    assert index.state.active == "g1"
    move.switch(index, force=True)
    assert index.state.active == "g2"
    assert ids(index, "soup") == []
    settle(index)
    assert len(ids(index, "soup")) == 6


def test_a_short_tail_is_brought_in_by_the_switch_itself(make: Make) -> None:
    index = make()
    write(index, TEXTS)
    begin(index)
    move.switch(index)
    assert len(ids(index, "soup")) == 6


def test_a_pause_fills_no_further_and_start_goes_on(make: Make) -> None:
    index = make()
    write(index, TEXTS)
    plan = begin(index)
    move.pause(index)
    settle(index)
    assert stored(index, "g2") == {}
    with pytest.raises(Refused, match="no backfill to pause"):
        move.pause(index)
    assert move.resume(index, "demo-m", None, None, None) is None
    assert move.resume(index, "demo-s", 100, None, None) is None
    assert plan.wanted.dimension == 128
    went_on = move.resume(index, "demo-s", None, 0.3, None)
    assert went_on is not None
    assert (went_on.phase, went_on.shadow, went_on.canary) == ("backfill", 0.3, 0.0)
    settle(index)
    require_in_step(index)


def test_a_move_goes_on_after_opening_again(make: Make) -> None:
    index = make("again")
    write(index, TEXTS)
    begin(index)
    index.close()
    index = make("again")
    assert move.status(index)["missing"] == 6
    settle(index)
    require_in_step(index)


def test_steps_out_of_order_are_refused(make: Make) -> None:
    index = make()
    write(index, TEXTS)
    for step in (move.pause, move.switch, move.rollback, move.finish, move.tune):
        with pytest.raises(Refused, match="not on a move"):
            step(index)
    plan = begin(index)
    with pytest.raises(Refused, match=r"on a move already, to demo-s at 128 dimensions \(backfill\)"):
        move.start(index, plan)
    with pytest.raises(Refused, match="has not been switched; there is nothing to roll back"):
        move.rollback(index)
    with pytest.raises(Refused, match="finish would drop what was made"):
        move.finish(index)
    settle(index)
    move.switch(index)
    with pytest.raises(Refused, match=r"switched already.*rollback"):
        move.switch(index)
    with pytest.raises(Refused, match="answers all searches"):
        move.tune(index, canary=0.5)
    with pytest.raises(Refused, match="finish it, or roll back"):
        move.start(index, plan)
    assert move.resume(index, None, None, None, None) is None


def test_a_move_may_be_given_up(make: Make) -> None:
    index = make()
    write(index, TEXTS)
    begin(index)
    settle(index)
    assert move.finish(index, force=True) == "g2"
    assert index.state.active == "g1"
    assert ids(index, "recipe for onion soup", 1) == ["soup"]


def test_a_move_to_what_is_there_already_is_refused(make: Make) -> None:
    index = make()
    with pytest.raises(Refused, match=r"is what generation g1 .* holds already"):
        begin(index, "demo-xs")


def test_popular_documents_are_filled_first(make: Make) -> None:
    index = make()
    write(index, TEXTS)
    for _ in range(2):
        index.search(SearchRequest("the moon", k=1))
    index.search(SearchRequest("recipe for onion soup", k=1))
    index.follow_ups.flush()
    begin(index)
    assert [d.id for d in index.documents.backlog("g2", 6)][:2] == ["moon", "soup"]


def test_a_text_that_the_new_model_cannot_take_is_named_and_keeps_the_switch(make: Make) -> None:
    index = make()
    write(index, TEXTS | {"long": "word " * 40})
    move.start(index, plan_move(index, VectorSpec("demo-s", max_length=36), seconds=0.05))
    settle(index)
    told = move.status(index)
    assert (told["missing"], told["refused"], told["ready"]) == (0, 1, False)
    assert told["refused_examples"][0]["id"] == "long"
    with pytest.raises(Refused, match="cannot embed 1 of the documents, for example 'long'"):
        move.switch(index)
    write(index, {"long": "short now"})
    settle(index)
    move.switch(index)


def test_a_canary_answers_its_share_once_it_is_complete(make: Make) -> None:
    index = make()
    write(index, TEXTS)
    begin(index, canary=1.0)
    assert index.search(SearchRequest("soup")).generation.id == "g1"
    settle(index)
    assert index.search(SearchRequest("soup")).generation.id == "g2"
    move.tune(index, canary=0.5)
    answered = {index.search(SearchRequest("soup", k=1)).generation.id for _ in range(60)}
    assert answered == {"g1", "g2"}
    move.tune(index, canary=0.0)
    assert {index.search(SearchRequest("soup", k=1)).generation.id for _ in range(20)} == {"g1"}


def test_shadows_tell_agreement_and_what_differs_most(make: Make) -> None:
    index = make(background=True)
    write(index, TEXTS)
    begin(index, shadow=1.0)
    index.search(SearchRequest("what is not there yet is no other opinion", k=3))
    until(lambda: move.status(index)["ready"])
    time.sleep(0.1)
    move.tune(index, shadow=1.0)
    before = move.status(index)["agreement"]["searches"]
    for query in QUERIES:
        index.search(SearchRequest(query, k=3))
    until(lambda: move.status(index)["agreement"]["searches"] >= before + len(QUERIES))
    told = move.status(index)["agreement"]
    assert 0.3 < told["rank_biased_overlap"] <= 1
    assert "not quality" in told["note"]
    worst = told["differ_most"][0]
    assert worst["query"] in QUERIES
    assert worst["rank_biased_overlap"] == min(e["rank_biased_overlap"] for e in told["differ_most"])
    assert len(worst["answered"]) == len(worst["other"]) == 3


def until(true: object, seconds: float = 20.0) -> None:
    assert callable(true)
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_move_under_traffic_loses_nothing(make: Make, store_address: str) -> None:
    """Searches, writes and deletes go on through backfill, switch, rollback and switch: none fails."""
    index = make(background=True, store=store_address)
    write(index, {f"d{i}": f"{text} Number {i}." for i in range(60) for text in [list(TEXTS.values())[i % 6]]})
    failures: list[BaseException] = []
    stop = threading.Event()

    def traffic(seed: int) -> None:
        count = 0
        while not stop.is_set():
            try:
                count += 1
                index.add([DocumentWrite(f"t{seed}.{count % 7}", f"A text about {seed} and {count}.")])
                assert index.search(SearchRequest(f"about {count}", k=5)).found
                if count % 3 == 0:
                    index.delete([f"t{seed}.{(count + 3) % 7}", f"d{(7 * count + seed) % 60}"])
            except BaseException as error:
                failures.append(error)
                return

    threads = [threading.Thread(target=traffic, args=(seed,)) for seed in range(2)]
    for thread in threads:
        thread.start()
    begin(index)
    until(lambda: move.status(index)["missing"] < 30)
    move.switch(index)
    time.sleep(0.1)
    move.rollback(index)
    time.sleep(0.1)
    move.switch(index)
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures
    until(lambda: not sum(index.documents.backlog_size(g.id) for g in index.state.kept_current))
    until(lambda: not any(index.documents.tombstones(g.id, 1) for g in index.state.kept_current))
    require_in_step(index)


def test_comparing_gives_a_verdict_that_the_move_keeps(make: Make) -> None:
    index = make()
    write(index, TEXTS)
    begin(index)
    with pytest.raises(Refused, match="Compare when the backfill is done"):
        compare_move(index, LABELLED)
    settle(index)
    verdict = compare_move(index, LABELLED)
    assert verdict["queries"] == 6
    assert [w["name"] for w in verdict["ways"]] == ["demo-xs (g1)", "demo-s (g2)"]
    for way in verdict["ways"]:
        assert way["lower"] <= way["estimate"] <= way["upper"]
        assert way["estimate"] > 0.8
    assert verdict["decision"] in ("cannot_tell", "not_worse", "better")
    assert move.status(index)["verdict"] == verdict


def test_a_generation_that_was_judged_worse_is_not_switched_to(make: Make) -> None:
    """The way back down, from s to xs, with judgements that only the larger one's first place meets."""
    index = make(model="demo-s")
    texts = {f"d{i}": f"{text} {extra}" for i, text in enumerate(TEXTS.values()) for extra in [""]}
    write(index, texts | {f"x{i}": f"Something else, number {i}." for i in range(30)})
    begin(index, "demo-xs")
    settle(index)
    # What the old one finds is judged relevant, and of what only the new one finds nothing is: it cannot but be worse.
    labelled = []
    for i in range(30):
        query = f"number {i} of something, or {list(QUERIES)[i % 6]}"
        old, new = ids(index, query, 3, "g1"), ids(index, query, 3, "g2")
        if only := [id for id in old if id not in new][:1]:
            labelled.append(LabelledQuery(query, (Relevant(only[0]),)))
    assert len(labelled) >= 5
    verdict = compare_move(index, labelled)
    assert verdict["worse"]
    assert verdict["decision"] == "worse"
    with pytest.raises(Refused, match=r"judged worse: demo-xs .* surely worse"):
        move.switch(index)
    move.switch(index, force=True)
    assert index.state.active == "g2"


def test_labels_are_put_on_documents_by_id_or_text(make: Make, tmp_path: Path) -> None:
    index = make()
    write(index, TEXTS)
    queries = [
        LabelledQuery("by id", (Relevant("soup"),)),
        LabelledQuery("by text", (Relevant(text=TEXTS["moon"]),)),
        LabelledQuery("another's id, but this text", (Relevant("soup", TEXTS["rain"]),)),
        LabelledQuery("a text that changed since", (Relevant("bank", "An older text."),)),
        LabelledQuery("not there", (Relevant("nobody"), Relevant(text="nowhere"))),
    ]
    data = place_labels(index, queries)
    assert list(data.judgements.values()) == [{"soup": 1}, {"moon": 1}, {"rain": 1}, {"bank": 1}]
    assert data.notes == (
        "2 relevant documents are not in the index; they are not counted.",
        "1 queries have no relevant document in the index: not asked.",
    )
    with pytest.raises(InvalidInput, match="holds those of 0 queries"):
        place_labels(index, queries[-1:])
    file = tmp_path / "labelled.jsonl"
    rows = [{"query": "a", "positive": TEXTS["soup"]}, {"query": "b", "positive": TEXTS["rain"]}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    read, _ = read_labelled(file)
    assert list(place_labels(index, read).judgements.values()) == [{"soup": 1}, {"rain": 1}]


def test_a_plan_tells_what_it_takes_and_what_will_not_fit(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    index = make()
    write(index, TEXTS)
    plan = plan_move(index, VectorSpec("demo-s"), price=3.0, seconds=0.05)
    assert (plan.documents, plan.problems) == (6, ())
    assert 60 < plan.tokens < 300
    assert plan.tokens_per_second
    assert plan.hours
    assert plan.money == pytest.approx(3.0 * plan.hours)
    assert plan.hours == pytest.approx(plan.tokens / plan.tokens_per_second / 3600)
    assert plan.vector_bytes >= 6 * 4 * plan.wanted.dimension
    assert index.state.move is None
    monkeypatch.setattr("upsize.migration.plan.shutil.disk_usage", lambda _: type("Usage", (), {"free": 100}))
    full = plan_move(index, VectorSpec("demo-s"), seconds=0.05)
    assert "100 are free on the disk" in full.problems[0]
    with pytest.raises(Refused, match=r"will not fit: Its vectors take .*--force"):
        move.start(index, full)
    move.start(index, full, force=True)


def test_a_dimension_that_the_store_cannot_index_leads_to_one_that_it_can(
    make: Make, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = make(store=postgres)
    monkeypatch.setattr(type(index.store), "largest_dimension", 100)
    plan = plan_move(index, VectorSpec("demo-s"), seconds=0.05)
    assert "128 dimensions and pgvector indexes 100 at most: plan it with --dim 100" in plan.problems[0]
    assert plan_move(index, VectorSpec("demo-s", dimension=100), seconds=0.05).problems == ()


def test_steps_that_come_at_once_come_one_after_the_other(make: Make) -> None:
    """A rollback and a finish, and what is left is whole whichever was first."""
    for _ in range(5):
        index = make()
        write(index, TEXTS)
        begin(index)
        move.switch(index)
        refused: list[BaseException] = []

        def step(act: Callable[[Index], object], index: Index = index, refused: list[BaseException] = refused) -> None:
            try:
                act(index)
            except Refused as error:
                refused.append(error)

        threads = [threading.Thread(target=step, args=(act,)) for act in (move.rollback, move.finish)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert index.state.active in {g.id for g in index.state.generations}
        assert len(ids(index, "soup")) == 6
        assert len(refused) <= 1
        index.close()


def test_a_text_that_only_the_new_model_takes_does_not_keep_the_way_back(make: Make) -> None:
    index = make(max_length=36)
    write(index, TEXTS)
    begin(index)
    move.switch(index)
    write(index, {"long": "word " * 40})
    settle(index)
    assert index.documents.refused("g1")[0] == 1
    move.rollback(index)
    assert index.state.active == "g1"
    with pytest.raises(Refused, match="cannot embed 1 of the documents"):
        move.finish(index)


def test_a_generation_that_nothing_uses_is_dropped_when_the_index_is_opened(make: Make) -> None:
    index = make("orphan")
    write(index, TEXTS)
    orphan = index.add_generation(VectorSpec("demo-s"))
    table = index.state.table(orphan)
    index.close()
    index = make("orphan")
    assert [g.id for g in index.state.generations] == ["g1"]
    assert index.documents.generations() == {"g1"}
    assert not (index.folder / "vectors" / f"{table.name}.lance").exists()


def test_shadows_compare_the_models_and_not_the_reranker_with_itself(make: Make) -> None:
    index = make(background=True)
    write(index, TEXTS)
    ladder.set_rerank(index, "demo-rerank", 3)
    begin(index, shadow=1.0)
    until(lambda: move.status(index)["ready"])
    index.search(SearchRequest("recipe for onion soup", k=3))
    until(lambda: move.status(index)["agreement"]["searches"] == 1)
    shown = move.status(index)["agreement"]["differ_most"][0]
    plain = index.search(SearchRequest("recipe for onion soup", k=3, rerank=False, counted=False)).ids
    assert [one["id"] for one in shown["answered"]] == plain


def test_others_who_read_the_database_follow_a_switch(make: Make, postgres: str) -> None:
    import psycopg

    index = make("Followed", store=postgres)
    write(index, TEXTS)

    def width() -> int:
        with psycopg.connect(postgres) as connection:
            row = connection.execute('SELECT vector_dims(vector), count(*) OVER () FROM "Followed" LIMIT 1').fetchone()
        assert row is not None
        assert row[1] == 6
        return int(row[0])

    assert width() == 64
    begin(index)
    move.switch(index)
    assert width() == 128
    move.rollback(index)
    assert width() == 64
    move.switch(index)
    move.finish(index)
    assert width() == 128
    assert index.status()["generations"][0]["bytes"] > 0


def test_a_text_that_memory_does_not_suffice_for_is_named_and_keeps_no_other_waiting(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = make()
    write(index, TEXTS)
    begin(index)
    start = index.models.start

    def short_of_memory(name: str, texts: Sequence[str], *args: Any, **kwargs: Any) -> Future[Result]:
        if TEXTS["moon"] not in texts:
            return start(name, texts, *args, **kwargs)
        failed: Future[Result] = Future()
        failed.set_exception(OutOfMemory(40, "cpu"))
        return failed

    monkeypatch.setattr(index.models, "start", short_of_memory)
    settle(index)
    count, examples = index.documents.refused("g2")
    assert (count, examples[0]["id"]) == (1, "moon")
    assert "did not fit into the memory" in examples[0]["reason"]
    assert set(stored(index, "g2")) == set(TEXTS) - {"moon"}


def test_a_search_under_way_outlives_the_generation_that_it_began_with(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = make()
    write(index, TEXTS)
    begin(index)
    move.switch(index)
    move.rollback(index)
    search, times = index.store.search, []

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        times.append(args[0].name)
        if len(times) == 1:
            move.switch(index)
            move.finish(index)
        return search(*args, **kwargs)

    monkeypatch.setattr(index.store, "search", interrupted)
    found = ids(index, "recipe for onion soup")
    assert [name[-2:] for name in times] == ["g1", "g2"]
    assert found == ids(index, "recipe for onion soup")


class Slow:
    """A model whose documents take a given time each, on one thread, as a larger one's would."""

    def __init__(self, index: Index, name: str, seconds: float) -> None:
        self._start, self._name, self._seconds = index.models.start, name, seconds
        self.pool = ThreadPoolExecutor(1)

    def __call__(self, name: str, texts: Sequence[str], *args: Any, **kwargs: Any) -> Future[Result]:
        if name != self._name or kwargs.get("query"):
            return self._start(name, texts, *args, **kwargs)
        return self.pool.submit(self._work, name, texts, *args, **kwargs)

    def _work(self, name: str, texts: Sequence[str], *args: Any, **kwargs: Any) -> Result:
        threading.Event().wait(self._seconds * len(texts))
        return self._start(name, texts, *args, **kwargs).result()


@contextmanager
def writing(index: Index, pause: float) -> Iterator[list[float]]:
    """Documents are written one after the other; gives how long each write took."""
    stop, took = threading.Event(), list[float]()

    def write_on() -> None:
        while not stop.wait(pause):
            begun = time.monotonic()
            index.add([DocumentWrite(f"w{len(took)}", f"Written while it moves, number {len(took)}.")])
            took.append(time.monotonic() - begun)

    thread = threading.Thread(target=write_on)
    thread.start()
    try:
        yield took
    finally:
        stop.set()
        thread.join()


def test_a_switch_under_writes_that_the_new_model_follows_is_done_at_once(make: Make) -> None:
    index = make(background=True)
    write(index, TEXTS)
    begin(index)
    with writing(index, 0.005) as took:
        until(lambda: len(took) > 10)
        begun = time.monotonic()
        move.switch(index)
        assert time.monotonic() - begun < switching.CATCH_UP_SECONDS
        before = len(took)
        move.rollback(index)
        move.switch(index)
        until(lambda: len(took) > before + 5)
    assert index.state.active == "g2"
    until(lambda: not index.documents.backlog_size("g1"))
    require_in_step(index)


def test_a_switch_that_cannot_catch_up_is_refused_with_the_rates(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    index = make(background=True)
    write(index, TEXTS)
    begin(index)
    until(lambda: move.status(index)["ready"])
    monkeypatch.setattr(switching, "CATCH_UP_SECONDS", 0.6)
    monkeypatch.setattr(switching, "PAUSE_SECONDS", 0.2)
    slow = Slow(index, "demo-s", 0.2)
    monkeypatch.setattr(index.models, "start", slow)
    with writing(index, 0.01) as took:
        until(lambda: index.documents.backlog_size("g2") > 20)
        begun = time.monotonic()
        with pytest.raises(Refused, match=r"does not catch up: [1-9]\d*\.\d documents/s are written, and it embeds \d"):
            move.switch(index)
        assert time.monotonic() - begun < 5
        assert index.state.active == "g1"
        count = len(took)
        until(lambda: len(took) > count + 5)  # writes go on
    monkeypatch.setattr(index.models, "start", slow._start)
    slow.pool.shutdown(wait=True, cancel_futures=True)
    move.switch(index)
    assert index.state.active == "g2"
    require_in_step(index)


def test_writes_wait_no_longer_than_the_bound_for_the_last_documents(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model hangs once the writes are held up: they go on after PAUSE_SECONDS, and the switch is refused."""
    index = make()
    write(index, TEXTS)
    begin(index)
    settle(index)
    write(index, {"one": "About volcanoes.", "two": "About lava."})
    monkeypatch.setattr(switching, "CATCH_UP_SECONDS", 0.2)
    monkeypatch.setattr(switching, "PAUSE_SECONDS", 0.2)
    start, never = index.models.start, Future[Result]()
    monkeypatch.setattr(index.models, "start", lambda n, *a, **k: never if n == "demo-s" else start(n, *a, **k))
    with pytest.raises(Refused, match="2 documents are still missing in demo-s"):
        move.switch(index)
    assert never.cancelled()
    write(index, {"three": "Writes go on."})
    assert index.state.active == "g1"
