"""A circuit breaker and a bulkhead before a store's server, shared by all indexes that use the server.

A server that does not answer must not slow down the others. Few threads wait for it at a time. Once it failed, calls
fail at once, except one probe at a time.
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
"""Calls in flight: half of the threads that a service has for searches, and for writes."""
FEW = 2
"""Calls in flight while the server is silent."""
QUIET = 1.0
"""Seconds without an answer, while calls wait, after which the server counts as silent."""
STALLED = 2.5
"""Seconds of silence after which no work starts whose result goes to this server."""
WAIT = 10.0
"""Seconds that a call waits for a free place while the server answers others."""
PAUSE, LONGEST_PAUSE = 0.25, 5.0
"""Seconds for which calls fail at once after a failure. Each further failure doubles them, up to LONGEST_PAUSE."""


class CircuitBreaker:
    """The circuit breaker of one server. Thread-safe."""

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
        """Hold one place for a call. Raises StoreUnavailable at once if the server is known not to answer."""
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
                    raise StoreUnavailable(self._where, f"{len(started)} calls already wait for it")
                self._changed.wait(QUIET / 4)

    def require_answering(self) -> None:
        """Raise StoreUnavailable if the server failed lately, or was silent for STALLED seconds while calls waited."""
        with self._changed:
            self._require_open(probe=False)
            if self._silent() > STALLED:
                raise StoreUnavailable(self._where, f"it has been silent for {self._silent():.0f} s")

    def _require_open(self, *, probe: bool) -> None:
        if self._shut_until is None or (probe and self._clock() >= self._shut_until and not self._probing):
            return
        raise StoreUnavailable(self._where, "it did not answer a moment ago; upsize asks again in a few seconds")

    def _silent(self) -> float:
        """Seconds without an answer while a call waited. Calls of kind `long` do not count."""
        begun = [begun for kind in ("read", "write") for begun in self._started[kind].values()]
        return self._clock() - max(min(begun), self._last_answer) if begun else 0.0

    @property
    def silent(self) -> float:
        """Seconds since the last answer."""
        return self._clock() - self._last_answer

    @property
    def failures(self) -> int:
        """Failures so far. A waiting call that sees this number grow can give up."""
        return self._failures

    def answered(self) -> None:
        """Record an answer: calls may pass again."""
        with self._changed:
            self._last_answer, self._pause, self._shut_until, self._stalled = self._clock(), PAUSE, None, False
            self._changed.notify_all()

    @property
    def stalled(self) -> bool:
        """Whether the last failure was a connection without a reply, so that each further wait may be long."""
        return self._stalled

    def failed(self, *, stalled: bool) -> None:
        """Record a failure: calls fail at once for a while. `stalled`: the server accepts connections but is silent."""
        with self._changed:
            self._failures, self._stalled = self._failures + 1, stalled
            self._shut_until = self._clock() + self._pause
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            self._changed.notify_all()


_BREAKERS: WeakValueDictionary[str, CircuitBreaker] = WeakValueDictionary()
_MAKING = threading.Lock()


def breaker_of(server: str, where: str) -> CircuitBreaker:
    """Return the circuit breaker of the server at an address: one for all indexes of this process.

    `where` names the server in messages.
    """
    with _MAKING:
        breaker = _BREAKERS.get(server)
        if breaker is None:
            breaker = _BREAKERS[server] = CircuitBreaker(where)
        return breaker
