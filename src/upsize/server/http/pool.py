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
        self._quiet_until = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def full(self) -> bool:
        """Whether only requests about health are served on one more connection."""
        return len(self.open) > self.limits.connections

    def admit(self, connection: Connection) -> bool:
        """Let it in. False where there is no room, and none could be made."""
        self.open.add(connection)
        if self._timer is None:
            self._timer = connection.loop.call_later(self.limits.tick, self._look, connection.loop)
        if not self.full or self._make_room(connection):
            return True
        if len(self.open) <= self.limits.connections + self.limits.spare:
            return True
        self.count(TOO_MANY)
        return False

    def forget(self, connection: Connection) -> None:
        """It is gone."""
        self.open.discard(connection)

    def count(self, reason: str) -> None:
        """Count a connection that is closed for a reason; the log tells it."""
        self.closed[reason] += 1

    def _make_room(self, new: Connection) -> bool:
        """Close the one that waits for its client, with the least that would be lost, and of these the longest."""
        settled = new.loop.time() - self.limits.settled_seconds
        waiting = [(c.waits, c.heard, c) for c in self.open if c is not new and c.waits and c.heard <= settled]
        if not waiting:
            return False
        _, _, longest = min(waiting, key=lambda w: w[:2])
        longest.give_way()
        return True

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
