"""Admission: whether a request may wait, or when its client should try again.

Pure: the caller passes the clock and the length of the queue. The queue is bounded in seconds, because a client feels
seconds. A rejected request gets a promise: `Retry-After` is the time at which the queue, together with all earlier
promises, has drained to `DRAINED` of the bound, and a request of the same content is admitted then. Some clients do not
come back, so a promise counts with the share of promises that were kept recently.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count

DRAINED = 0.7
"""Part of the bound to which the queue should have drained when a promised request comes back."""
PROMISED_LIMIT = 2.0
"""A promised request is admitted while the queue is shorter than this many times the bound, because predictions err."""
LOW = 0.25
"""Below this part of the bound every request is admitted, whatever was promised, so that the machine is never idle."""
GRACE = 5.0
"""Seconds that a promise holds after its time."""
EARLY = 0.5
"""Seconds that a promise holds before its time: `Retry-After` has whole seconds, and clients round."""
EMA_DECAY = 0.98
"""Weight of the past in the moving average of kept promises: about the last 50 promises count."""
MAX_PROMISES = 10_000
"""Open promises; bounds memory."""
LONGEST = 600.0
"""Seconds. No promise is made for later, because clients give up earlier."""

# The values above were chosen; `tests/engine/test_admission.py` simulates loads of 0.9 to 5 times the capacity, clients
# that honour 10 % to 100 % of the promises, and predictions that are off by 40 %.


@dataclass(frozen=True, order=True)
class _Promise:
    due: float
    order: int
    key: Hashable = field(compare=False)
    seconds: float = field(compare=False)


class Admission:
    """Admission to one queue class whose requests may wait `bound` seconds. Not thread-safe."""

    def __init__(self, bound: float) -> None:
        self.bound = bound
        self.kept = 0.5
        """Moving average of the share of promised requests that came back."""
        self._promises: dict[Hashable, list[_Promise]] = {}
        """By content. Several clients may send the same content, and nothing tells them apart."""
        self._by_due: list[_Promise] = []
        self._order = count()
        self._seconds, self._open = 0.0, 0

    @property
    def promised(self) -> float:
        """Seconds of work that the open promises are expected to bring."""
        return self.kept * self._seconds

    def wait(self, key: Hashable, seconds: float, waiting: float, now: float) -> float | None:
        """None if the request is admitted, else the seconds after which a request with this `key` will be.

        `seconds` is the compute time of the request, `waiting` the seconds until it would start.
        """
        self._expire(now)
        promise = min(self._promises.get(key, ()), default=None)
        if promise is not None and promise.due - EARLY <= now:
            self._close(promise, kept=True)
            if waiting <= PROMISED_LIMIT * self.bound:
                return None
        elif waiting <= LOW * self.bound or waiting + self.promised <= self.bound:
            return None
        after = max(waiting + self.promised - DRAINED * self.bound, 1.0)
        if after <= LONGEST and self._open < MAX_PROMISES:
            made = _Promise(now + after, next(self._order), key, min(seconds, self.bound))
            self._promises.setdefault(key, []).append(made)
            heappush(self._by_due, made)
            self._seconds, self._open = self._seconds + made.seconds, self._open + 1
        return min(after, LONGEST)

    def _expire(self, now: float) -> None:
        while self._by_due and self._by_due[0].due + GRACE < now:
            promise = heappop(self._by_due)
            if promise in self._promises.get(promise.key, ()):
                self._close(promise, kept=False)

    def _close(self, promise: _Promise, *, kept: bool) -> None:
        same_key = self._promises[promise.key]
        same_key.remove(promise)
        if not same_key:
            del self._promises[promise.key]
        self._open -= 1
        self._seconds = self._seconds - promise.seconds if self._open else 0.0
        self.kept = EMA_DECAY * self.kept + (1 - EMA_DECAY) * kept
