"""Gate: a circuit breaker and a bulkhead before a store's server, shared by all indexes that use it.

A server that does not answer must cost the others nothing: few threads wait for it, and once it is known to be away
calls fail at once, but for one probe at a time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal
from weakref import WeakValueDictionary

from upsize.errors import StoreUnavailable

Kind = Literal["read", "write", "long"]

MOST: dict[Kind, int] = {"read": 8, "write": 4, "long": 1 << 30}
"""Calls at once: half of the threads that a service has for searches, and for writes."""
FEW = 2
"""And so many while the server is quiet."""
QUIET = 1.0
"""Seconds without an answer, with calls waiting, after which it is."""
STALLED = 2.5
"""And after which no work is begun whose result would be put there."""
WAIT = 10.0
"""Seconds that a call waits for its turn while others are answered."""
PAUSE, LONGEST_PAUSE = 0.25, 5.0
"""Seconds for which calls fail at once after a failure; twice as many after each that follows."""


class CircuitBreaker:
    """One server's gate. Thread-safe."""

    def __init__(self, where: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._where, self._clock = where, clock
        self._changed = threading.Condition()
        self._started: dict[Kind, dict[object, float]] = {"read": {}, "write": {}, "long": {}}
        self._last_answer = clock()
        self._shut_until: float | None = None
        self._pause = PAUSE
        self._probing = False
        self._failures, self._stalled = 0, False

    @contextmanager
    def enter(self, kind: Kind) -> Iterator[None]:
        """One call's turn. StoreUnavailable, at once, where the server is known not to answer."""
        token, probe = self._admit(kind)
        try:
            yield
        finally:
            with self._changed:
                del self._started[kind][token]
                if probe:
                    self._probing = False
                self._changed.notify_all()

    def _admit(self, kind: Kind) -> tuple[object, bool]:
        until = self._clock() + WAIT
        with self._changed:
            while True:
                self._require_open(probe=True)
                started, token = self._started[kind], object()
                if len(started) < (FEW if self._silent() > QUIET else MOST[kind]):
                    started[token] = self._clock()
                    probe = self._shut_until is not None
                    self._probing |= probe
                    return token, probe
                if self._silent() > QUIET or self._clock() > until:
                    raise StoreUnavailable(self._where, f"{len(started)} calls wait for it already")
                self._changed.wait(QUIET / 4)

    def require_answering(self) -> None:
        """StoreUnavailable where the server is known not to answer, or has not for long while calls wait."""
        with self._changed:
            self._require_open(probe=False)
            if self._silent() > STALLED:
                raise StoreUnavailable(self._where, f"it has been silent for {self._silent():.0f} s")

    def _require_open(self, *, probe: bool) -> None:
        if self._shut_until is None or (probe and self._clock() >= self._shut_until and not self._probing):
            return
        raise StoreUnavailable(self._where, "it did not a moment ago, and is asked again in a few seconds")

    def _silent(self) -> float:
        """Seconds for which it has not answered while a call waited. Long work counts for nothing."""
        begun = [begun for kind in ("read", "write") for begun in self._started[kind].values()]
        return self._clock() - max(min(begun), self._last_answer) if begun else 0.0

    @property
    def silent(self) -> float:
        """Seconds since it was last heard of."""
        return self._clock() - self._last_answer

    @property
    def failures(self) -> int:
        """How often it was found away. A call that sees it grow while waiting waits in vain."""
        return self._failures

    def answered(self) -> None:
        """It answered."""
        with self._changed:
            self._last_answer, self._pause, self._shut_until, self._stalled = self._clock(), PAUSE, None, False
            self._changed.notify_all()

    @property
    def stalled(self) -> bool:
        """Whether it took a connection and said nothing, the last time: waiting for it may last."""
        return self._stalled

    def failed(self, *, stalled: bool) -> None:
        """It cannot be reached, or is stalled: others need not try for a while."""
        with self._changed:
            self._failures, self._stalled = self._failures + 1, stalled
            self._shut_until = self._clock() + self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            self._changed.notify_all()


_BREAKERS: WeakValueDictionary[str, CircuitBreaker] = WeakValueDictionary()
_MAKING = threading.Lock()


def breaker_of(server: str, where: str) -> CircuitBreaker:
    """The gate of a server, by its address: one for all indexes of this process. `where` is what messages call it."""
    with _MAKING:
        breaker = _BREAKERS.get(server)
        if breaker is None:
            breaker = _BREAKERS[server] = CircuitBreaker(where)
        return breaker
