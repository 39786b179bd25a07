"""The connections of a server: how many there are, which has waited too long, which makes room."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from typing import Protocol

from upsize.server.http.limits import ConnectionLimits

log = logging.getLogger("upsize.server")

IDLE = "no request came"
GAVE_WAY = "the client was waited for, and another one came"
TOO_MANY = "there are too many"
UNREAD = "the reply was not read"
BATCH = 16
"""One of so many connections is closed at once to make room."""
FRESH = 0.1
"""Of the time after which another connection may be closed, one that has sent nothing yet has so much."""
IN_VAIN = 0.02
"""Seconds after a look that made no room."""
QUIET = 10.0
"""Seconds between two lines about connections that were closed."""


class PooledConnection(Protocol):
    """What the pool needs to know of a connection."""

    loop: asyncio.AbstractEventLoop

    @property
    def transport(self) -> asyncio.Transport:
        """Its socket."""

    @property
    def waits(self) -> int:
        """0 if it does not wait for its client; otherwise the more, the more would be lost by closing it."""

    @property
    def fresh(self) -> bool:
        """Whether its client has sent nothing yet."""

    @property
    def quiet_since(self) -> float:
        """The loop's time in seconds since which its client is waited for."""

    def give_way(self) -> None:
        """Close to make room for another connection."""

    def look(self, now: float) -> None:
        """Close if a time limit has passed at `now`, in seconds of the loop's clock."""


class Pool:
    """Every open connection, looked at once a tick."""

    def __init__(self, limits: ConnectionLimits | None = None) -> None:
        self.limits = limits or ConnectionLimits()
        self.open: set[PooledConnection] = set()
        self.closed: Counter[str] = Counter()
        """Reason → connections that were closed for it."""
        self._told: Counter[str] = Counter()
        self._quiet_until = self._in_vain_until = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def full(self) -> bool:
        """Whether only requests about health are served."""
        return len(self.open) > self.limits.connections and self._excess() > 0

    def admit(self, connection: PooledConnection) -> bool:
        """Let it in. False where there is no room, and none could be made."""
        self.open.add(connection)
        if self._timer is None:
            self._timer = connection.loop.call_later(self.limits.tick, self._look, connection.loop)
        if not self.full or self._make_room(connection) <= self.limits.spare:
            return True
        self.count(TOO_MANY)
        return False

    def serves(self, connection: PooledConnection) -> bool:
        """Whether a request that has arrived on it is answered. Those that wait for their clients make room for it."""
        if not self.full:
            return True
        now = connection.loop.time()
        waiting = [c for c in self.open if c is not connection and c.waits and now - c.quiet_since >= IN_VAIN]
        return self._close(waiting, now, self._excess(), 0) <= 0

    def forget(self, connection: PooledConnection) -> None:
        """It is gone."""
        self.open.discard(connection)

    def count(self, reason: str) -> None:
        """Count a connection that is closed for a reason; the log tells it."""
        self.closed[reason] += 1

    def _excess(self) -> int:
        """Connections beyond the limit, without those that are about to be closed."""
        return sum(not c.transport.is_closing() for c in self.open) - self.limits.connections

    def _make_room(self, new: PooledConnection) -> int:
        """Close some that wait for their clients, with the least that would be lost, and of these the longest. What
        is beyond the limit then.

        To look at all of them takes a while, so more are closed than one, and after a look in vain none is taken soon.
        """
        now, excess, limits = new.loop.time(), self._excess(), self.limits
        if now < self._in_vain_until:
            return excess
        batch = limits.connections // BATCH
        waiting = [c for c in self.open if c is not new and c.waits]
        for connection in sorted(waiting, key=lambda c: (c.waits, c.quiet_since)):
            if excess > -batch and self._patience_used(connection, now) >= 1:
                connection.give_way()
                excess -= 1
        if excess > limits.spare:
            excess = self._close(waiting, now, excess, limits.spare - min(batch, limits.spare // 2))
        if excess > limits.spare:
            self._in_vain_until = now + IN_VAIN
        return excess

    def _close(self, waiting: list[PooledConnection], now: float, excess: int, down_to: int) -> int:
        """Close, however young they are, those that have used up most of their patience. What is beyond the limit then.

        Only clients are waited for here, so a flood of connections keeps nobody out who sends what he has to say.
        """
        still = (c for c in waiting if not c.transport.is_closing())
        for connection in sorted(still, key=lambda c: self._patience_used(c, now), reverse=True):
            if excess <= down_to:
                break
            connection.give_way()
            excess -= 1
        return excess

    def _patience_used(self, connection: PooledConnection, now: float) -> float:
        """Of the time for which it is waited while there are too many; 1 is all of it."""
        patience = (FRESH if connection.fresh else 1.0) * self.limits.settled_seconds
        quiet = now - connection.quiet_since
        return quiet / patience if patience else math.inf

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for connection in list(self.open):
            connection.look(now)
        if self.closed != self._told and now >= self._quiet_until:
            for reason, number in (self.closed - self._told).items():
                level = logging.DEBUG if reason == IDLE else logging.WARNING
                log.log(level, "Closed %d connections: %s", number, reason)
            self._told, self._quiet_until = self.closed.copy(), now + QUIET
        self._timer = loop.call_later(self.limits.tick, self._look, loop) if self.open else None
