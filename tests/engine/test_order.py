"""Priorities, budgets and preemption, by the order of batches."""

from __future__ import annotations

import time
from concurrent.futures import Future

from tests.engine.scripted import Gate, Scripted, slow_engine, wait_until
from upsize.compute import LoadedModel
from upsize.engine import EmbedRequest, Engine, Priority, Result


def ids(tokens: int, first: int = 5) -> list[list[int]]:
    """One input that has so many tokens, the end token included."""
    return [[first, *[6] * (tokens - 2)]]


def queued(engine: Engine, tokens: int, priority: Priority = Priority.INTERACTIVE) -> Future[Result]:
    """Submit one sequence and wait until it stands in the queue."""
    before = engine.queue("m")[0]
    future = engine.submit("m", EmbedRequest(ids(tokens), priority=priority))
    wait_until(lambda: engine.queue("m")[0] > before)
    return future


def test_a_short_query_preempts_a_long_text_that_has_begun(embedding_model: LoadedModel) -> None:
    model = Scripted(embedding_model)
    futures = []

    def when_the_long_one_runs(tokens: int, step: int) -> None:
        if tokens == 400 and step == 1:
            futures.append(queued(engine, 10))

    engine = slow_engine({"m": model}, 100)
    model.at_step = when_the_long_one_runs
    engine.submit("m", EmbedRequest(ids(400))).result(20)
    assert model.events == [("start", (400,)), ("start", (10,)), ("end", (10,)), ("end", (400,))]
    assert futures[0].result(20).times.queue >= 0
    engine.close()


def test_a_text_of_another_model_preempts_too(embedding_model: LoadedModel) -> None:
    long, short = Scripted(embedding_model), Scripted(embedding_model)
    engine = slow_engine({"long": long, "short": short}, 100)
    order: list[str] = []

    def when_the_long_one_runs(tokens: int, step: int) -> None:
        if step == 1:
            future = engine.submit("short", EmbedRequest(ids(10)))
            future.add_done_callback(lambda _: order.append("short"))
            wait_until(lambda: engine.queue("short")[0] == 1)

    long.at_step = when_the_long_one_runs
    engine.submit("long", EmbedRequest(ids(400))).result(20)
    order.append("long")
    assert order == ["short", "long"]
    engine.close()


def test_a_short_text_is_in_the_queue_when_submit_returns(embedding_model: LoadedModel) -> None:
    gate = Gate(100)
    engine = Engine({"m": Scripted(embedding_model, at_step=gate)})
    futures = [engine.submit("m", EmbedRequest(ids(100)))]
    gate.reached.wait(20)
    futures += [engine.submit("m", EmbedRequest(["a few words"] * count)) for count in (1, 3)]
    assert engine.queue("m")[0] == 4
    gate.open.set()
    for future in futures:
        future.result(20)
    engine.close()


def test_what_is_not_much_smaller_waits(embedding_model: LoadedModel) -> None:
    gate = Gate(100)
    model = Scripted(embedding_model, at_step=gate)
    engine = Engine({"m": model})
    running = engine.submit("m", EmbedRequest(ids(100)))
    gate.reached.wait(20)
    waiting = queued(engine, 26)
    gate.open.set()
    running.result(20), waiting.result(20)
    assert model.starts == [(100,), (26,)]
    assert model.events.index(("end", (100,))) < model.events.index(("start", (26,)))
    engine.close()


def test_a_backlog_of_equals_runs_in_full_batches(embedding_model: LoadedModel) -> None:
    model = Scripted(embedding_model, budget=100)
    engine = Engine({"m": model})
    engine.submit("m", EmbedRequest(ids(10) * 40)).result(20)
    assert model.starts == [(10,) * 10] * 4
    engine.close()


def test_priorities_run_in_their_order(embedding_model: LoadedModel) -> None:
    gate = Gate(20)
    model = Scripted(embedding_model, budget=40, at_step=gate)
    engine = slow_engine({"m": model}, 100)
    futures = [engine.submit("m", EmbedRequest(ids(20)))]
    gate.reached.wait(20)
    for tokens, priority in (
        (31, Priority.SHADOW),
        (32, Priority.BULK),
        (33, Priority.INTERACTIVE),
        (34, Priority.BULK),
        (35, Priority.INTERACTIVE),
    ):
        futures.append(queued(engine, tokens, priority))
    gate.open.set()
    for future in futures:
        future.result(20)
    assert model.starts == [(20,), (33,), (35,), (32,), (34,), (31,)]
    engine.close()


def test_a_query_passes_a_backlog_of_bulk_work(embedding_model: LoadedModel) -> None:
    """A query comes at the third batch of many, and is too large a part of one to preempt it."""
    model = Scripted(embedding_model, budget=40)
    engine = slow_engine({"m": model}, 1000)
    futures: list[Future[Result]] = []

    def at_the_third(tokens: int, step: int) -> None:
        time.sleep(0.01)  # bulk work gets its fair share after nine times what its batch took
        if step == 0 and len(model.starts) == 3 and not futures:
            futures.append(queued(engine, 33))

    model.at_step = at_the_third
    bulk = engine.submit("m", EmbedRequest(ids(40) * 6, priority=Priority.BULK))
    bulk.result(20)
    futures[0].result(20)
    assert model.starts == [(40,), (40,), (40,), (33,), (40,), (40,), (40,)]
    engine.close()


def test_only_interactive_work_preempts(embedding_model: LoadedModel) -> None:
    model = Scripted(embedding_model)
    engine = Engine({"m": model})
    futures: list[Future[Result]] = []

    def when_the_long_one_runs(tokens: int, step: int) -> None:
        if tokens == 400 and step == 0:
            futures.extend([queued(engine, 11, Priority.BULK), queued(engine, 12)])

    model.at_step = when_the_long_one_runs
    engine.submit("m", EmbedRequest(ids(400), priority=Priority.BULK)).result(20)
    for future in futures:
        future.result(20)
    assert model.events[:4] == [("start", (400,)), ("start", (12,)), ("end", (12,)), ("end", (400,))]
    engine.close()


def test_batches_fill_the_budget_and_no_more(embedding_model: LoadedModel) -> None:
    gate = Gate(20)
    model = Scripted(embedding_model, budget=100, at_step=gate)
    engine = Engine({"m": model})
    futures = [engine.submit("m", EmbedRequest(ids(20)))]
    gate.reached.wait(20)
    futures.append(engine.submit("m", EmbedRequest([ids(n)[0] for n in (40, 50, 30, 10, 60, 120)])))
    wait_until(lambda: engine.queue("m")[0] == 6)
    gate.open.set()
    for future in futures:
        future.result(20)
    assert [sorted(batch) for batch in model.starts] == [[20], [10, 40, 50], [30, 60], [120]]
    engine.close()


def test_a_long_text_is_not_held_up_for_ever(embedding_model: LoadedModel) -> None:
    """A short text arrives at each yield point; the long text is preempted at most once per yield point."""
    model = Scripted(embedding_model, budget=100)
    engine = Engine({"m": model})
    futures = []

    def one_more(tokens: int, step: int) -> None:
        if tokens == 400:
            futures.append(queued(engine, 10))

    model.at_step = one_more
    engine.submit("m", EmbedRequest(ids(400))).result(20)
    for future in futures:
        future.result(20)
    assert ("end", (400,)) in model.events[: 2 + 2 * 4]
    engine.close()
