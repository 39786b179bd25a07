"""Admission: whether a request may wait, or when to come back. Pure: the clock and the queue are given.

What waits is bounded in seconds, for that is what a client feels. A client that is sent away is promised a place: its
time to come back (`Retry-After`) is when the queue, with all that was promised before, has drained; a request of the
same content that comes then is let in. Not everybody comes back, so promises count by the share that was kept lately.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count

DRAINED = 0.7
"""Part of the bound down to which the queue has drained when a promised request comes."""
ROOM = 2.0
"""Times the bound up to which a promised request is let in: predictions err."""
LOW = 0.25
"""Part of the bound below which anybody is let in, whatever was promised: the machine is never idle for it."""
GRACE = 5.0
"""Seconds after its time that a promise holds."""
EARLY = 0.5
"""Seconds before its time that it holds already: `Retry-After` is whole seconds, and clients round."""
MEMORY = 0.98
"""Weight of the past in the share of promises that are kept."""
MOST_PROMISES = 10_000
LONGEST = 600.0
"""Seconds: a longer time is not promised. Clients give up earlier."""


@dataclass(frozen=True, order=True)
class _Promise:
    due: float
    order: int
    key: Hashable = field(compare=False)
    seconds: float = field(compare=False)


class Admission:
    """Of one priority of an engine, for requests whose wait is at most `bound` seconds. Not thread-safe."""

    def __init__(self, bound: float) -> None:
        self.bound = bound
        self.kept = 0.5
        """Share of promised requests that came."""
        self._promises: dict[Hashable, list[_Promise]] = {}
        """Of equal content several: nobody knows one client from another."""
        self._by_due: list[_Promise] = []
        self._order = count()
        self._seconds, self._open = 0.0, 0

    @property
    def promised(self) -> float:
        """Seconds of work that promised requests are expected to bring."""
        return self.kept * self._seconds

    def wait(self, key: Hashable, seconds: float, waiting: float, now: float) -> float | None:
        """None if a request may come in; otherwise the seconds after which one of this `key` may.

        It takes `seconds` itself, and starts in about `waiting` seconds.
        """
        self._forget(now)
        promise = min(self._promises.get(key, ()), default=None)
        if promise is not None and promise.due - EARLY <= now:
            self._resolve(promise, kept=True)
            if waiting <= ROOM * self.bound:
                return None
        elif waiting <= LOW * self.bound or waiting + self.promised <= self.bound:
            return None
        after = max(waiting + self.promised - DRAINED * self.bound, 1.0)
        if after <= LONGEST and self._open < MOST_PROMISES:
            made = _Promise(now + after, next(self._order), key, min(seconds, self.bound))
            self._promises.setdefault(key, []).append(made)
            heappush(self._by_due, made)
            self._seconds, self._open = self._seconds + made.seconds, self._open + 1
        return min(after, LONGEST)

    def _forget(self, now: float) -> None:
        """Drop promises whose time is over."""
        while self._by_due and self._by_due[0].due + GRACE < now:
            promise = heappop(self._by_due)
            if promise in self._promises.get(promise.key, ()):
                self._resolve(promise, kept=False)

    def _resolve(self, promise: _Promise, *, kept: bool) -> None:
        there = self._promises[promise.key]
        there.remove(promise)
        if not there:
            del self._promises[promise.key]
        self._open -= 1
        self._seconds = self._seconds - promise.seconds if self._open else 0.0
        self.kept = MEMORY * self.kept + (1 - MEMORY) * kept
