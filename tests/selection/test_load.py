"""Open-loop load: what stalls, shows."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import asdict, replace

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from scipy import stats

from tests.selection.simulated_time import QuietMachine, SimulatedServer, SimulatedTime
from upsize.selection import load_generator
from upsize.selection.latency_checks import broken_limit, disturbed_latency_notes, query_cost
from upsize.selection.load_generator import chain_futures, measure_latency, run_open_loop, schedule
from upsize.selection.load_point import LoadObservation, load_point_of, quantile
from upsize.selection.verdict import Latency, from_plain


@pytest.fixture
def simulated_time(monkeypatch: pytest.MonkeyPatch) -> SimulatedTime:
    """The load generator's clock, on a machine without other processes."""
    simulated = SimulatedTime()
    monkeypatch.setattr(load_generator, "time", simulated)
    monkeypatch.setattr(load_generator, "threading", simulated)
    monkeypatch.setattr(load_generator, "Contention", QuietMachine)
    return simulated


def test_arrivals_are_a_poisson_process_of_the_rate() -> None:
    gaps = np.diff(schedule(50, 4000, 1), prepend=0)
    assert stats.kstest(gaps, "expon", args=(0, 1 / 50)).pvalue > 0.01
    assert np.array_equal(schedule(50, 10, 1), schedule(50, 10, 1))


def test_a_stall_shows_in_p99(simulated_time: SimulatedTime) -> None:
    """A third of the arrivals come during the stall: p99 is near its whole length, and p95 not far below."""
    server = SimulatedServer(simulated_time, stall_at=0.4, stall=0.4)
    stalled = load_point_of(run_open_loop(server.send, schedule(200, 240, 0), 200))
    smooth = load_point_of(run_open_loop(SimulatedServer(simulated_time).send, schedule(200, 240, 0), 200))
    assert 380 < stalled.p99.estimate < 420
    assert 320 < stalled.p95.estimate < stalled.p99.estimate
    assert smooth.p50.estimate == pytest.approx(1)
    assert smooth.p99.estimate < 10
    assert stalled.errors == smooth.errors == 0


def test_a_closed_loop_hides_the_same_stall(simulated_time: SimulatedTime) -> None:
    """A closed loop sends nothing while it waits, so it sees one slow answer: the reason not to use one."""
    server, latencies = SimulatedServer(simulated_time, stall_at=0.1, stall=0.5), []
    while len(latencies) < 200:
        begun = simulated_time.monotonic()
        answer = server.send(0)
        assert simulated_time.wait(answer.done, timeout=1.0)
        latencies.append(simulated_time.monotonic() - begun)
    assert np.quantile(latencies, 0.99, method="lower") == pytest.approx(0.001)
    assert max(latencies) == pytest.approx(0.501, abs=0.002)


def test_an_error_is_counted_and_keeps_nothing_up(simulated_time: SimulatedTime) -> None:
    def send(place: int) -> Future[None]:
        answer: Future[None] = Future()
        if place % 10:
            answer.set_result(None)
        else:
            answer.set_exception(ValueError("no"))
        return answer

    found = load_point_of(run_open_loop(send, schedule(1000, 100, 0), 1000))
    assert found.errors == 10
    assert not found.kept_up


def test_what_is_never_answered_is_given_up_and_counted(
    simulated_time: SimulatedTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("upsize.selection.load_generator.DRAIN_FACTOR", 0.1)
    found = run_open_loop(lambda _: Future(), schedule(1000, 30, 0), 1000)
    assert found.errors == found.waiting == 30
    assert (found.latencies > 0).all()


def test_the_sweep_finds_the_knee(simulated_time: SimulatedTime) -> None:
    """One answer takes 10 ms, so 100 a second are the most."""
    found = measure_latency(SimulatedServer(simulated_time, work=0.01).send, 40, seconds=8, seed=0)
    assert found.knee == 80, "80 is kept up; 80·√2 and 160 are not"
    assert [p.rate for p in found.sweep] == pytest.approx([40, 80, 80 * 2**0.5, 160])
    assert not found.sweep[-1].kept_up


class SlowSender:
    """Answers at once, but takes 2 ms to be called: fewer than 500 can be sent a second."""

    def __init__(self, time: SimulatedTime) -> None:
        self._time = time

    def send(self, _: int) -> Future[None]:
        self._time.sleep(0.002)
        answer: Future[None] = Future()
        answer.set_result(None)
        return answer


def test_a_late_sender_keeps_nothing_up(simulated_time: SimulatedTime) -> None:
    found = load_point_of(run_open_loop(SlowSender(simulated_time).send, schedule(20_000, 500, 0), 20_000))
    assert not found.kept_up
    assert found.sender_late
    assert found.offered == pytest.approx(500, rel=0.01)
    assert found.late_ms == pytest.approx(0.95 * 500 * (2 - 0.05), rel=0.02), "95 % of 500 arrivals, 1.95 ms late each"


def test_the_knee_and_the_cost_are_of_what_was_answered(simulated_time: SimulatedTime) -> None:
    """An earlier version's sweep went on to 204,800 a second."""
    found = measure_latency(SlowSender(simulated_time).send, 200, seconds=0.6, seed=0)
    assert found.knee is not None
    assert 250 <= found.knee <= 500
    assert found.knee_at_least, "it was the sender that could not do more"
    assert max(p.rate for p in found.sweep) <= 1000
    assert all(p.answered >= 0.9 * p.rate for p in found.sweep if p.kept_up)
    cost = query_cost(3.6, found, 1.0)
    assert cost is not None
    assert cost.per_million_queries == pytest.approx(1000 / found.knee)
    assert cost.at_most


def test_a_run_that_cannot_end_in_time_is_given_up(
    simulated_time: SimulatedTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("upsize.selection.load_generator.DRAIN_FACTOR", 0.1)
    found = run_open_loop(SlowSender(simulated_time).send, schedule(100_000, 2000, 0), 100_000)
    assert simulated_time.monotonic() == pytest.approx(0.02 + 0.1, abs=0.005), "not the 4 s that sending all takes"
    assert found.errors == pytest.approx(1940, abs=5)
    assert not load_point_of(found).kept_up


def simulated(
    rate: float, work: float, count: int, servers: int = 1, pause: float = 0.0, seed: int = 0
) -> LoadObservation:
    """What a service would be seen to do that takes `work` seconds for an arrival on each of its servers; the sender
    pauses for so long in the middle."""
    instants = schedule(rate, count, seed)
    middle = instants[count // 2]
    sent = np.where((instants >= middle) & (instants < middle + pause), middle + pause, instants)
    free, ends = np.zeros(servers), np.empty(count)
    for i, at in enumerate(sent):
        which = int(np.argmin(free))
        ends[i] = free[which] = max(float(at), free[which]) + work
    return LoadObservation(rate, instants, sent, ends, np.zeros(count, bool), float(ends.max()))


@hypothesis.given(
    st.floats(0.1, 1e5), st.integers(10, 2000), st.integers(1, 4), st.floats(1.4, 50.0), st.integers(0, 99)
)
def test_beyond_what_it_can_do_nothing_is_kept_up(
    rate: float, count: int, servers: int, over: float, seed: int
) -> None:
    hypothesis.assume(count >= 20 * servers)
    assert not load_point_of(simulated(rate, servers * over / rate, count, servers, seed=seed)).kept_up


@hypothesis.given(st.floats(0.1, 1e5), st.integers(10, 2000), st.floats(1e-4, 0.4), st.integers(0, 99))
def test_well_within_it_all_is_kept_up(rate: float, count: int, use: float, seed: int) -> None:
    found = load_point_of(simulated(rate, use / rate, count, seed=seed))
    assert found.kept_up
    assert not found.sender_late


def test_a_service_that_answers_many_at_once_keeps_up_though_each_waits() -> None:
    found = load_point_of(simulated(100, 0.15, 400, servers=64))
    assert found.kept_up
    assert found.p50.estimate == pytest.approx(150, abs=1)


def test_a_sender_that_paused_says_so() -> None:
    """A fifth of the arrivals are sent late: their latency is the sender's own."""
    found = load_point_of(simulated(100, 0.001, 400, pause=0.8))
    assert found.sender_late
    assert found.late_ms > 500
    assert not load_point_of(simulated(100, 0.001, 400)).sender_late


def never_called(_: int) -> Future[None]:
    raise AssertionError("the run is simulated")


def test_a_disturbed_no_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first run finds the machine taken by others; the second does not, and counts."""
    runs = iter([simulated(50, 0.03, 100), simulated(50, 0.001, 100)])
    shares = iter([0.6, 0.0])
    monkeypatch.setattr(
        "upsize.selection.load_generator.run_open_loop",
        lambda *_: LoadObservation(**{**next(runs).__dict__, "busy": next(shares)}),
    )
    found = measure_latency(never_called, 50, seconds=2, seed=0, sweep=False)
    assert found.at_rate.kept_up
    assert found.at_rate.busy == 0
    runs, shares = iter([simulated(50, 0.01, 100)] * 2), iter([0.6, 0.0])
    found = measure_latency(never_called, 50, seconds=2, seed=0, sweep=False, limits={"p95": 1.0})
    assert found.at_rate.busy == 0.6, "no better the second time: the first stands"
    assert next(shares, None) is None


def test_a_broken_limit_and_a_low_knee_say_what_disturbed_them() -> None:
    quiet = load_point_of(simulated(50, 0.01, 100))
    disturbed = replace(quiet, busy=0.4)
    slow = Latency(disturbed, (disturbed,), 50.0, knee_at_least=True)
    assert "other processes took 40% of the processor" in str(broken_limit(slow, {"p95": 1.0}))
    assert "other" not in str(broken_limit(Latency(quiet), {"p95": 1.0}))
    assert broken_limit(slow, {"p95": 1e4}) is None
    late = replace(quiet, rate=100.0, kept_up=False, sender_late=True, late_ms=80.0)
    notes = disturbed_latency_notes(
        [
            ("a", slow),
            ("b", Latency(quiet, (quiet, late), 50.0, knee_at_least=True)),
            ("c", Latency(quiet, (quiet,), 50.0, knee_at_least=True)),
            ("d", Latency(quiet, (quiet,), 50.0)),
            ("e", None),
        ]
    )
    assert [n[0] for n in notes] == ["a", "b", "c"]
    assert "40%" in notes[0]
    assert "the sender was 80 ms late" in notes[1]
    assert "no higher rate was tried" in notes[2]


def test_a_latency_of_an_earlier_version_is_read() -> None:
    """Files without what was added since."""
    told = asdict(Latency(load_point_of(simulated(5, 0.01, 20)), knee=5.0))
    for name in ("offered", "late_ms", "sender_late", "busy"):
        del told["at_rate"][name]
    del told["knee_at_least"]
    read = from_plain(Latency, told)
    assert read.knee == 5
    assert read.at_rate.kept_up
    assert read.at_rate.offered is None


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

    assert chain_futures([done, done]).result(1) is None
    with pytest.raises(ValueError, match="full"):
        chain_futures([done, refuse]).result(1)
    with pytest.raises(ValueError, match="full"):
        chain_futures([refuse, done]).result(1)


def test_a_cancelled_chain_cancels_the_step_under_way() -> None:
    """Or what was given up would still be worked on when the next rate is tried."""
    first: Future[None] = Future()
    second: Future[None] = Future()
    begun = chain_futures([lambda: first, lambda: second])
    begun.cancel()
    assert first.cancelled()
    first = Future()
    begun = chain_futures([lambda: first, lambda: second])
    first.set_result(None)
    begun.cancel()
    assert second.cancelled()
