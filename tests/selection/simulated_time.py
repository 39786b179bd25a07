"""A clock that moves only where the code under test sleeps or waits: load tests take no time and never vary."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from concurrent.futures import Future
from itertools import count


class SimulatedTime:
    """Stands in for the modules `time` and `threading` of the load generator."""

    def __init__(self) -> None:
        self._now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def monotonic(self) -> float:
        return self._now

    def call_at(self, instant: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (instant, next(self._order), action))

    def sleep(self, seconds: float) -> None:
        """Run every event that is due until then."""
        end = self._now + seconds
        while self._events and self._events[0][0] <= end:
            self._run_next_event()
        self._now = max(self._now, end)

    def wait(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Run events until the condition holds; False once `timeout` seconds have passed."""
        deadline = self._now + timeout
        while not condition():
            if not self._events or self._events[0][0] > deadline:
                self._now = deadline
                return False
            self._run_next_event()
        return True

    def _run_next_event(self) -> None:
        instant, _, action = heapq.heappop(self._events)
        self._now = max(self._now, instant)
        action()

    def Semaphore(self, value: int) -> SimulatedSemaphore:  # noqa: N802 (the name that `threading` has)
        return SimulatedSemaphore(self, value)


class SimulatedSemaphore:
    """A semaphore whose `acquire` lets the simulated time pass."""

    def __init__(self, simulated: SimulatedTime, value: int) -> None:
        self._simulated, self._value = simulated, value

    def release(self) -> None:
        self._value += 1

    def acquire(self, timeout: float) -> bool:
        acquired = self._simulated.wait(lambda: self._value > 0, timeout)
        self._value -= acquired
        return acquired


class QuietMachine:
    """A `Contention` that never sees another process."""

    def share(self) -> float:
        return 0.0


class SimulatedServer:
    """Answers one request after the other in `work` seconds; stands still for `stall` seconds from `stall_at` on."""

    def __init__(self, time: SimulatedTime, *, stall_at: float = 0.0, stall: float = 0.0, work: float = 0.001) -> None:
        self._time, self._stall_at, self._stall, self._work = time, stall_at, stall, work
        self._begun = self._free_at = time.monotonic()

    def send(self, _: int) -> Future[None]:
        start = max(self._time.monotonic(), self._free_at)
        if self._stall_at <= start - self._begun < self._stall_at + self._stall:
            start = self._begun + self._stall_at + self._stall
        self._free_at = start + self._work
        answer: Future[None] = Future()
        self._time.call_at(self._free_at, lambda: answer.cancelled() or answer.set_result(None))  # type: ignore[func-returns-value]
        return answer
