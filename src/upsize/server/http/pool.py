"""The connections of a server: how many there are, which has waited too long, which makes room."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import TYPE_CHECKING

from upsize.server.http.limits import ConnectionLimits

if TYPE_CHECKING:
    from upsize.server.http.connection import Connection

log = logging.getLogger("upsize.server")

IDLE = "no request came"
GAVE_WAY = "the client was waited for, and another one came"
TOO_MANY = "there are too many"
UNREAD = "the reply was not read"
BATCH = 16
"""One of so many connections is closed at once to make room."""
FRESH = 0.1
"""Of the time after which another connection may be closed, one that has sent nothing yet has so much; and none where
even the spare connections are taken, so that health is answered in a flood of connections."""
IN_VAIN = 0.02
"""Seconds after a look that made no room."""
QUIET = 10.0
"""Seconds between two lines about connections that were closed."""


class Pool:
    """Every open connection, looked at once a tick."""

    def __init__(self, limits: ConnectionLimits | None = None) -> None:
        self.limits = limits or ConnectionLimits()
        self.open: set[Connection] = set()
        self.closed: Counter[str] = Counter()
        """Reason → connections that were closed for it."""
        self._told: Counter[str] = Counter()
        self._quiet_until = self._in_vain_until = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def full(self) -> bool:
        """Whether only requests about health are served."""
        return len(self.open) > self.limits.connections and self._excess() > 0

    def admit(self, connection: Connection) -> bool:
        """Let it in. False where there is no room, and none could be made."""
        self.open.add(connection)
        if self._timer is None:
            self._timer = connection.loop.call_later(self.limits.tick, self._look, connection.loop)
        if not self.full or self._make_room(connection) <= self.limits.spare:
            return True
        self.count(TOO_MANY)
        return False

    def serves(self, connection: Connection) -> bool:
        """Whether a request that has arrived on it is answered. Those that have sent nothing make room for it."""
        if not self.full:
            return True
        now, excess = connection.loop.time(), self._excess()
        fresh = (c for c in self.open if c.fresh and c.waits and now - c.heard >= IN_VAIN)
        for other in sorted(fresh, key=lambda c: c.heard)[:excess]:
            other.give_way()
            excess -= 1
        return excess <= 0

    def forget(self, connection: Connection) -> None:
        """It is gone."""
        self.open.discard(connection)

    def count(self, reason: str) -> None:
        """Count a connection that is closed for a reason; the log tells it."""
        self.closed[reason] += 1

    def _excess(self) -> int:
        """Connections beyond the limit, without those that are about to be closed."""
        return sum(not c.transport.is_closing() for c in self.open) - self.limits.connections

    def _make_room(self, new: Connection) -> int:
        """Close some that wait for their clients, with the least that would be lost, and of these the longest. What
        is beyond the limit then.

        To look at all of them takes a while, so more are closed than one, and after a look in vain none is taken soon.
        """
        now, excess, limits = new.loop.time(), self._excess(), self.limits
        if now < self._in_vain_until:
            return excess
        batch = limits.connections // BATCH
        waiting = [c for c in self.open if c is not new and c.waits]
        for connection in sorted(waiting, key=lambda c: (c.waits, c.heard)):
            patience = FRESH if connection.fresh else 1.0
            settled = now - connection.heard >= patience * limits.settled_seconds
            needed = excess > -batch if settled else excess > limits.spare - min(batch, limits.spare // 2)
            if needed and (settled or connection.fresh):
                connection.give_way()
                excess -= 1
        if excess > limits.spare:
            self._in_vain_until = now + IN_VAIN
        return excess

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
