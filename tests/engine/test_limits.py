"""Overload, cancellation and failures: every request gets an answer, and no other request is affected."""

from __future__ import annotations

import gc
import logging
import threading
import weakref
from collections.abc import Generator, Sequence
from concurrent.futures import CancelledError

import numpy as np
import pytest

from tests.engine.scripted import Gate, Scripted, slow_engine, wait_until
from tests.engine.test_order import ids, queued
from upsize.compute import LoadedModel
from upsize.engine import EmbedRequest, Engine, Limits
from upsize.engine.pending import PendingRequest
from upsize.errors import NonFiniteVector, OutOfMemory, Overloaded, Unavailable
from upsize.model.incremental_encoding import Steps
from upsize.model.pooling import Vectors
from upsize.model.tokenizer import Ids


class RecordingObserver:
    """An observer that records the engine's events."""

    def __init__(self, fails: bool = False) -> None:
        self.batches: list[tuple[str, int, int]] = []
        self.lint_findings: list[str] = []
        self.fails = fails

    def batch(self, model: str, sequences: int, tokens: int, seconds: float) -> None:
        assert seconds >= 0
        self.batches.append((model, sequences, tokens))
        if self.fails:
            raise RuntimeError("a mistake in the metrics")

    def lint_finding(self, model: str, kind: str) -> None:
        self.lint_findings.append(kind)


def held(
    model: LoadedModel, limits: Limits = Limits(), rate: float | None = None, **scripted: int
) -> tuple[Engine, Scripted, Gate]:
    """An engine whose runner is held at the first yield point of a batch of 20 tokens.

    `rate`: tokens per second that its warm-up measures.
    """
    gate = Gate(20)
    script = Scripted(model, at_step=gate, **scripted)
    engine = Engine({"m": script}, limits) if rate is None else slow_engine({"m": script}, rate, limits)
    engine.running = engine.submit("m", EmbedRequest(ids(20)))  # type: ignore[attr-defined]
    assert gate.reached.wait(20)
    return engine, script, gate


def test_a_full_queue_says_when_to_come_back(embedding_model: LoadedModel) -> None:
    engine, model, gate = held(embedding_model, Limits(queue_seconds=30.0), rate=20)
    first = [queued(engine, 300) for _ in range(3)]
    refused = engine.submit("m", EmbedRequest(ids(301)))
    with pytest.raises(Overloaded, match=r"900 tokens, .* about 45 seconds, .* Try again in 24 seconds") as caught:
        refused.result(20)
    assert caught.value.retry_after == pytest.approx(24.0)
    short = queued(engine, 20)
    gate.open.set()
    for future in (*first, short):
        future.result(20)
    assert (301,) not in model.starts
    engine.close()


def test_short_requests_have_a_queue_of_their_own(embedding_model: LoadedModel) -> None:
    engine, model, gate = held(embedding_model, Limits(queue_seconds=30.0), rate=20)
    waiting = [queued(engine, 300), *(queued(engine, 70) for _ in range(3))]
    with pytest.raises(Overloaded):
        engine.submit("m", EmbedRequest(ids(71))).result(20)
    waiting.append(queued(engine, 300))
    gate.open.set()
    for future in waiting:
        future.result(20)
    assert model.starts == [(20,), (70, 70, 70), (300,), (300,)]
    engine.close()


def test_a_request_that_would_be_refused_is_not_tokenised(
    embedding_model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, _, gate = held(embedding_model, Limits(queue_seconds=1.0), rate=20)
    waiting = queued(engine, 300)
    monkeypatch.setattr(PendingRequest, "encode", lambda pending, model, limit: pytest.fail("it was tokenised"))
    with pytest.raises(Overloaded):
        engine.submit("m", EmbedRequest(["word " * 1000])).result(20)
    gate.open.set()
    waiting.result(20)
    engine.close()


def test_a_small_request_does_not_wait_for_a_large_one(embedding_model: LoadedModel) -> None:
    """The wait of a request is that for what runs before it: a small one runs before a large one that came first."""
    engine, model, gate = held(embedding_model, Limits(queue_seconds=10.0), rate=20)
    large = engine.submit("m", EmbedRequest(ids(400) * 20))
    wait_until(lambda: engine.queue("m")[0] == 20)
    small = queued(engine, 300)
    gate.open.set()
    small.result(20), large.result(20)
    assert model.starts[:2] == [(20,), (300,)]
    engine.close()


def test_an_empty_queue_takes_a_request_of_any_size(embedding_model: LoadedModel) -> None:
    engine, _, gate = held(embedding_model, Limits(queue_seconds=1.0), rate=20)
    large = queued(engine, 300)
    gate.open.set()
    assert large.result(20).tokens == (300,)
    engine.close()


def test_too_many_requests_are_refused_at_once(embedding_model: LoadedModel) -> None:
    engine, _, gate = held(embedding_model, Limits(requests=2))
    second = engine.submit("m", EmbedRequest(ids(30)))
    with pytest.raises(Overloaded) as caught:
        engine.submit("m", EmbedRequest(ids(30)))
    assert caught.value.retry_after >= 1
    gate.open.set()
    second.result(20)
    wait_until(lambda: engine.in_flight == 0)
    engine.submit("m", EmbedRequest(ids(30))).result(20)
    engine.close()


def test_a_request_cancelled_in_the_queue_never_runs(embedding_model: LoadedModel) -> None:
    engine, model, gate = held(embedding_model)
    dropped, kept = queued(engine, 30), queued(engine, 40)
    assert dropped.cancel()
    assert engine.queue("m") == (1, 40)
    gate.open.set()
    kept.result(20)
    assert model.starts == [(20,), (40,)]
    engine.close()


def test_a_request_cancelled_while_it_runs_is_dropped_at_the_next_pause(embedding_model: LoadedModel) -> None:
    engine, model, gate = held(embedding_model)
    kept = queued(engine, 40)
    assert engine.running.cancel()  # type: ignore[attr-defined]
    gate.open.set()
    kept.result(20)
    assert model.events[:2] == [("start", (20,)), ("dropped", (20,))]
    with pytest.raises(CancelledError):
        engine.running.result(0)  # type: ignore[attr-defined]
    assert engine.drain(20)
    engine.close()


def test_a_batch_goes_on_while_anyone_waits_for_it(embedding_model: LoadedModel) -> None:
    engine, model, gate = held(embedding_model)
    dropped, kept = queued(engine, 30), queued(engine, 40)
    model.at_step = lambda tokens, step: dropped.cancel() if tokens == 70 else None
    gate.open.set()
    assert kept.result(20).tokens == (40,)
    assert ("end", (30, 40)) in model.events
    engine.close()


def test_draining_takes_nothing_new_and_answers_what_is_inside(embedding_model: LoadedModel) -> None:
    engine, _, gate = held(embedding_model)
    waiting = queued(engine, 30)
    assert engine.drain(0.01) is False
    with pytest.raises(Unavailable, match="draining"):
        engine.submit("m", EmbedRequest(ids(30)))
    gate.open.set()
    assert engine.drain(20) is True
    assert waiting.done()
    engine.close()


def test_closing_answers_everyone(embedding_model: LoadedModel) -> None:
    engine, _, gate = held(embedding_model)
    waiting = [queued(engine, 30), queued(engine, 200)]
    closing = threading.Thread(target=engine.close)
    closing.start()
    wait_until(lambda: engine.closed)
    gate.open.set()
    closing.join(20)
    assert engine.running.result(0).tokens == (20,)  # type: ignore[attr-defined]
    for future in waiting:
        with pytest.raises(Unavailable, match="closed before this request ran"):
            future.result(0)
    engine.close()


def test_a_closed_engine_takes_nothing_and_is_drained(embedding_model: LoadedModel) -> None:
    engine = Engine({"m": Scripted(embedding_model)})
    engine.close()
    with pytest.raises(Unavailable):
        engine.submit("m", EmbedRequest(ids(30)))
    assert engine.drain(1)


def test_nan_fails_its_own_request_and_names_the_text(embedding_model: LoadedModel) -> None:
    engine, model, gate = held(embedding_model)
    model.poison = 7
    healthy = queued(engine, 30)
    sick = engine.submit("m", EmbedRequest([*ids(40), *ids(50, first=7)]))
    wait_until(lambda: engine.queue("m")[0] == 3)
    gate.open.set()
    with pytest.raises(NonFiniteVector, match="Text 1 gave NaN or infinite values in float32"):
        sick.result(20)
    assert np.isfinite(healthy.result(20).values).all()
    assert model.starts == [(20,), (30, 40, 50)]
    engine.close()


def test_a_batch_that_does_not_fit_runs_in_halves(embedding_model: LoadedModel) -> None:
    engine, model, gate = held(embedding_model, memory=70)
    together = [queued(engine, n) for n in (30, 31, 32, 80)]
    gate.open.set()
    for future in together[:3]:
        assert future.result(20).values.shape == (1, 64)
    with pytest.raises(OutOfMemory, match="A batch of 80 tokens did not fit into the memory of a small device"):
        together[3].result(20)
    assert model.starts[1:] == [(30, 31, 32, 80), (30, 31), (32, 80), (32,), (80,)]
    engine.close()


def test_values_of_a_halved_batch_reach_their_own_requests(embedding_model: LoadedModel) -> None:
    engine, _, gate = held(embedding_model, memory=70)
    request = EmbedRequest([ids(n, first=n)[0] for n in (60, 20, 50, 30, 40)])
    future = engine.submit("m", request)
    wait_until(lambda: engine.queue("m")[0] == 5)
    gate.open.set()
    states = np.stack([np.arange(1, 65, dtype=np.float32) + n for n in (60, 20, 50, 30, 40)])
    expected = states / np.linalg.norm(states, axis=1, keepdims=True)
    np.testing.assert_allclose(future.result(20).values, expected, atol=1e-6)
    engine.close()


def test_an_unexpected_error_fails_its_batch_alone(
    embedding_model: LoadedModel, caplog: pytest.LogCaptureFixture
) -> None:
    model = Scripted(embedding_model)
    engine = Engine({"m": model})

    def fail(tokens: int, step: int) -> None:
        raise RuntimeError("a broken kernel")

    model.at_step = fail
    with caplog.at_level(logging.ERROR, "upsize.engine"), pytest.raises(RuntimeError, match="a broken kernel"):
        engine.submit("m", EmbedRequest(ids(30))).result(20)
    assert "A batch of 30 tokens of m failed" in caplog.text
    model.at_step = lambda tokens, step: None
    assert engine.submit("m", EmbedRequest(ids(30))).result(20).tokens == (30,)
    engine.close()


def test_an_unexpected_error_of_one_text_costs_its_batch_mates_nothing(embedding_model: LoadedModel) -> None:
    engine, model, gate = held(embedding_model)
    good, bad, other = (queued(engine, n) for n in (30, 31, 32))
    real = model.run

    def run(sequences: Sequence[Ids]) -> Generator[bool, None, Vectors]:
        if any(len(s) == 31 for s in sequences):
            raise RuntimeError("a text that no kernel takes")
        return (yield from real(sequences))

    model.run = run  # type: ignore[method-assign]
    gate.open.set()
    assert [f.result(20).tokens for f in (good, other)] == [(30,), (32,)]
    with pytest.raises(RuntimeError, match="no kernel takes"):
        bad.result(20)
    engine.close()


def test_the_queues_tokens_are_those_that_wait(embedding_model: LoadedModel) -> None:
    engine, _, gate = held(embedding_model)
    futures = [queued(engine, n) for n in (30, 40, 50)]
    assert engine.queue("m") == (3, 120)
    futures[1].cancel()
    assert engine.queue("m") == (2, 80)
    gate.open.set()
    futures[0].result(20), futures[2].result(20)
    assert engine.queue("m") == (0, 0)
    engine.close()


def test_a_client_that_leaves_while_its_texts_are_tokenised_is_not_queued(
    embedding_model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, model, gate = held(embedding_model)
    encode = PendingRequest.encode

    def leaves(pending: PendingRequest, loaded: LoadedModel, max_tokens: float) -> Steps[None]:
        yield from encode(pending, loaded, max_tokens)
        pending.future.cancel()

    monkeypatch.setattr(PendingRequest, "encode", leaves)
    gone = engine.submit("m", EmbedRequest(ids(33)))
    wait_until(gone.done)
    monkeypatch.undo()
    gate.open.set()
    engine.submit("m", EmbedRequest(ids(34))).result(20)
    assert (33,) not in model.starts
    engine.close()


def test_an_idle_engine_holds_nothing_of_what_it_answered(embedding_model: LoadedModel) -> None:
    engine = Engine({"m": Scripted(embedding_model)})
    gc.disable()  # what only the cycle collector frees stays for a long time: arrays do not hurry it
    try:
        request = EmbedRequest(ids(30))
        engine.submit("m", request).result(20)
        held_by = weakref.ref(request)
        del request
        wait_until(lambda: held_by() is None)
    finally:
        gc.enable()
        engine.close()


def test_a_failing_observer_does_not_stop_the_engine(embedding_model: LoadedModel) -> None:
    engine = Engine({"m": Scripted(embedding_model)}, observer=RecordingObserver(fails=True))
    for _ in range(2):
        with pytest.raises(RuntimeError, match="a mistake in the metrics"):
            engine.submit("m", EmbedRequest(ids(30))).result(20)
    engine.close()


def test_an_observer_gets_every_batch(embedding_model: LoadedModel) -> None:
    observer = RecordingObserver()
    engine = Engine({"m": Scripted(embedding_model)}, observer=observer)
    engine.submit("m", EmbedRequest([*ids(30), *ids(40)])).result(20)
    assert observer.batches == [("m", 2, 70)]
    assert engine.tokens_per_second("m") > 0
    engine.close()


def test_lint_findings_are_counted_every_time_and_logged_once(
    embedding_model: LoadedModel, caplog: pytest.LogCaptureFixture
) -> None:
    observer = RecordingObserver()
    engine = Engine({"m": embedding_model}, observer=observer)
    text = "Instruct: Find it\nQuery: where?"
    with caplog.at_level(logging.WARNING, "upsize.engine"):
        for _ in range(3):
            engine.submit("m", EmbedRequest([text, text], "query")).result(20)
    assert sorted(observer.lint_findings) == ["instruction_twice"] * 3 + ["space_after_query"] * 3
    assert len(caplog.records) == 2
    assert "m: a text has 'Query: ' with a space" in caplog.text
    assert "logged once; counted in upsize_suspicious_inputs_total" in caplog.text
    engine.close()
