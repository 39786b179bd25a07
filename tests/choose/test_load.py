"""Open-loop load: what stalls, shows."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future

import numpy as np
import pytest
from scipy import stats

from upsize.choose.load import chained, measure_latency, offer, point, quantile, schedule


class Server:
    """Answers one request after the other in a millisecond; stands still for `stall` seconds from `at` on."""

    def __init__(self, at: float = 0.0, stall: float = 0.0, work: float = 0.001) -> None:
        self._free = time.monotonic()
        self._begun, self._at, self._stall, self._work = time.monotonic(), at, stall, work

    def send(self, _: int) -> Future[None]:
        now = time.monotonic() - self._begun
        start = max(now, self._free - self._begun)
        if self._at <= start < self._at + self._stall:
            start = self._at + self._stall
        self._free = self._begun + start + self._work
        answer: Future[None] = Future()
        timer = threading.Timer(
            max(self._free - time.monotonic(), 0), lambda: answer.cancelled() or answer.set_result(None)
        )
        timer.daemon = True
        timer.start()
        return answer


def test_arrivals_are_a_poisson_process_of_the_rate() -> None:
    gaps = np.diff(schedule(50, 4000, 1), prepend=0)
    assert stats.kstest(gaps, "expon", args=(0, 1 / 50)).pvalue > 0.01
    assert np.array_equal(schedule(50, 10, 1), schedule(50, 10, 1))


def test_a_stall_of_a_second_shows_in_p99() -> None:
    """Of three seconds at 100 a second, a third arrives during the stall: p99 is near its whole length, as is p95."""
    stalled = point(offer(Server(at=1.0, stall=1.0).send, schedule(100, 300, 0), 100))
    smooth = point(offer(Server().send, schedule(100, 300, 0), 100))
    assert stalled.p99.estimate > 900
    assert stalled.p95.estimate > 700
    assert smooth.p99.estimate < 300
    assert stalled.errors == smooth.errors == 0


def test_a_closed_loop_hides_the_same_stall() -> None:
    """Why it is not used: it sends nothing while it waits, and sees one slow answer."""
    server, latencies = Server(at=0.2, stall=0.5), []
    while len(latencies) < 200:
        begun = time.monotonic()
        server.send(0).result()
        latencies.append(time.monotonic() - begun)
    assert np.quantile(latencies, 0.99, method="lower") < 0.3
    assert max(latencies) > 0.3


def test_an_error_is_counted_and_keeps_nothing_up() -> None:
    def send(place: int) -> Future[None]:
        answer: Future[None] = Future()
        if place % 10:
            answer.set_result(None)
        else:
            answer.set_exception(ValueError("no"))
        return answer

    found = point(offer(send, schedule(1000, 100, 0), 1000))
    assert found.errors == 10
    assert not found.kept_up


def test_what_is_never_answered_is_given_up_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("upsize.choose.load.PATIENCE", 0.1)
    found = offer(lambda _: Future(), schedule(1000, 30, 0), 1000)
    assert found.errors == found.waiting == 30
    assert (found.latencies > 0).all()


def test_the_sweep_finds_the_knee() -> None:
    """One answer takes 10 ms, so 100 a second are the most."""
    found = measure_latency(Server(work=0.01).send, 20, seconds=2, seed=0)
    assert found.knee is not None
    assert 40 <= found.knee <= 140
    assert [p.rate for p in found.sweep] == sorted(p.rate for p in found.sweep)
    assert not found.sweep[-1].kept_up


def test_quantiles_are_bounded_by_order_statistics() -> None:
    inside = 0
    for seed in range(400):
        q = quantile(np.random.default_rng(seed).exponential(size=300), 0.95)
        assert q.upper is not None
        inside += q.lower <= -np.log(0.05) * 1e3 <= q.upper
    assert 0.92 < inside / 400 < 0.99
    assert quantile(np.arange(50.0), 0.99).upper is None, "50 values say nothing above their 99th percentile"


def test_a_chain_ends_with_its_last_step_or_its_first_error() -> None:
    def done() -> Future[None]:
        future: Future[None] = Future()
        future.set_result(None)
        return future

    def refuse() -> Future[None]:
        raise ValueError("full")

    assert chained(done, [done]).result(1) is None
    with pytest.raises(ValueError, match="full"):
        chained(done, [refuse]).result(1)
    with pytest.raises(ValueError, match="full"):
        chained(refuse, [done]).result(1)
