"""The gate before a store's server, on a clock of its own."""

from __future__ import annotations

import threading
from contextlib import ExitStack

import pytest

from upsize.errors import StoreUnavailable
from upsize.store.circuit_breaker import FEW, MOST, PAUSE, QUIET, STALLED, CircuitBreaker


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def one(clock: Clock) -> CircuitBreaker:
    return CircuitBreaker("the store", clock)


def test_after_a_failure_calls_fail_at_once_and_one_probe_at_a_time_is_let_through(
    one: CircuitBreaker, clock: Clock
) -> None:
    one.failed(stalled=True)
    with pytest.raises(StoreUnavailable, match="the store does not answer"), one.enter("read"):
        raise AssertionError
    with pytest.raises(StoreUnavailable):
        one.require_answering()
    clock.now += PAUSE
    with one.enter("read"):
        with pytest.raises(StoreUnavailable), one.enter("read"):
            raise AssertionError
        one.failed(stalled=True)
    clock.now += PAUSE  # the pause is longer now
    with pytest.raises(StoreUnavailable), one.enter("write"):
        raise AssertionError
    clock.now += PAUSE
    with one.enter("write"):
        one.answered()
        with one.enter("read"):
            one.require_answering()


def test_while_a_server_is_silent_few_calls_wait_for_it(one: CircuitBreaker, clock: Clock) -> None:
    with ExitStack() as calls:
        for _ in range(FEW):
            calls.enter_context(one.enter("read"))
        one.require_answering()
        clock.now += QUIET + 0.1
        with pytest.raises(StoreUnavailable, match=f"{FEW} calls already wait for it"), one.enter("read"):
            raise AssertionError
        one.answered()
        with one.enter("read"):
            pass
        clock.now += STALLED + 0.1
        with pytest.raises(StoreUnavailable, match="it has been silent for"):
            one.require_answering()


def test_a_server_that_was_not_asked_is_not_silent(one: CircuitBreaker, clock: Clock) -> None:
    clock.now += 1000
    one.require_answering()
    with ExitStack() as calls:
        for _ in range(MOST["read"]):
            calls.enter_context(one.enter("read"))


def test_long_work_keeps_nobody_out(one: CircuitBreaker, clock: Clock) -> None:
    with ExitStack() as calls:
        for _ in range(3 * MOST["read"]):
            calls.enter_context(one.enter("long"))
        clock.now += 1000
        one.require_answering()
        with one.enter("read"), one.enter("write"):
            pass


def test_a_call_waits_for_its_turn_while_others_are_answered(one: CircuitBreaker) -> None:
    entered, leave = threading.Event(), threading.Event()
    with ExitStack() as calls:
        for _ in range(MOST["write"] - 1):
            calls.enter_context(one.enter("write"))
        last = calls.enter_context(ExitStack())
        last.enter_context(one.enter("write"))

        def another() -> None:
            with one.enter("write"):
                entered.set()
                leave.wait(10)

        thread = threading.Thread(target=another)
        thread.start()
        assert not entered.wait(0.05)
        last.close()
        assert entered.wait(10)
        leave.set()
        thread.join()
