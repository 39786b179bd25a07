"""The pool of a server's connections: bounds their number, checks their timeouts, and closes some to make room."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from typing import Protocol

from upsize.server.http.limits import ConnectionLimits

log = logging.getLogger("upsize.server")

IDLE = "no request arrived"
MADE_ROOM = "it waited for its client while another connection needed room"
TOO_MANY = "the number of connections is at its limit"
UNREAD = "the client did not read the reply"
CLOSE_DIVISOR = 16
"""When room is needed, the limit divided by this many connections are closed at once, because a search is slow."""
FRESH_PATIENCE = 0.1
"""Part of the patience for other connections that one gets whose client has sent nothing yet."""
RETRY_SECONDS = 0.02
"""Seconds after a search that made no room until the next one."""
LOG_SECONDS = 10.0
"""Seconds between two log lines about closed connections."""


class PooledConnection(Protocol):
    """The part of a connection that the pool uses."""

    loop: asyncio.AbstractEventLoop

    @property
    def transport(self) -> asyncio.Transport:
        """The transport of the connection."""

    @property
    def waits_for(self) -> int:
        """0 if it does not wait for its client. Otherwise a higher value means that closing it loses more."""

    @property
    def fresh(self) -> bool:
        """Whether its client has sent nothing yet."""

    @property
    def waiting_since(self) -> float:
        """The loop's time in seconds since when it waits for its client."""

    def close_for_room(self) -> None:
        """Close to make room for another connection."""

    def check_timeouts(self, now: float) -> None:
        """Close if a time limit has passed at `now`, in seconds of the loop's clock."""


class Pool:
    """All open connections. Checks their timeouts once a tick."""

    def __init__(self, limits: ConnectionLimits | None = None) -> None:
        self.limits = limits or ConnectionLimits()
        self.open: set[PooledConnection] = set()
        self.closed: Counter[str] = Counter()
        """Reason → number of connections that were closed for it."""
        self._logged: Counter[str] = Counter()
        self._log_after = self._retry_after = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def full(self) -> bool:
        """Whether only health checks are served."""
        return len(self.open) > self.limits.connections and self._excess() > 0

    def admit(self, connection: PooledConnection) -> bool:
        """Add a connection. False if there is no room for it."""
        self.open.add(connection)
        if self._timer is None:
            self._timer = connection.loop.call_later(self.limits.tick, self._check_all, connection.loop)
        if not self.full or self._make_room(connection) <= self.limits.spare:
            return True
        self.count(TOO_MANY)
        return False

    def serves(self, connection: PooledConnection) -> bool:
        """Whether to serve a request that arrived on a connection. Waiting connections are closed to make room."""
        if not self.full:
            return True
        now = connection.loop.time()
        waiting = [
            c for c in self.open if c is not connection and c.waits_for and now - c.waiting_since >= RETRY_SECONDS
        ]
        return self._close(waiting, now, self._excess(), 0) <= 0

    def remove(self, connection: PooledConnection) -> None:
        """Remove a closed connection."""
        self.open.discard(connection)

    def count(self, reason: str) -> None:
        """Count a connection that is closed for this reason. The next check logs it."""
        self.closed[reason] += 1

    def _excess(self) -> int:
        """Connections beyond the limit, without those that are closing."""
        return sum(not c.transport.is_closing() for c in self.open) - self.limits.connections

    def _make_room(self, new: PooledConnection) -> int:
        """Close connections that wait for their clients: those that lose least first, of these the longest waiting.

        Returns the number beyond the limit afterwards. The search goes through all connections, so it closes several,
        and a search without success is not repeated for RETRY_SECONDS.
        """
        now, excess, limits = new.loop.time(), self._excess(), self.limits
        if now < self._retry_after:
            return excess
        batch = limits.connections // CLOSE_DIVISOR
        waiting = [c for c in self.open if c is not new and c.waits_for]
        for connection in sorted(waiting, key=lambda c: (c.waits_for, c.waiting_since)):
            if excess > -batch and self._patience_used(connection, now) >= 1:
                connection.close_for_room()
                excess -= 1
        if excess > limits.spare:
            excess = self._close(waiting, now, excess, limits.spare - min(batch, limits.spare // 2))
        if excess > limits.spare:
            self._retry_after = now + RETRY_SECONDS
        return excess

    def _close(self, waiting: list[PooledConnection], now: float, excess: int, down_to: int) -> int:
        """Close waiting connections, those first that have used most of their patience, down to `down_to` in excess.

        Returns the number beyond the limit afterwards. Only connections that wait for their clients are closed, so a
        flood of idle connections does not keep active clients out.
        """
        still = (c for c in waiting if not c.transport.is_closing())
        for connection in sorted(still, key=lambda c: self._patience_used(c, now), reverse=True):
            if excess <= down_to:
                break
            connection.close_for_room()
            excess -= 1
        return excess

    def _patience_used(self, connection: PooledConnection, now: float) -> float:
        """Part of the patience that a connection has used: the time to wait for its client while room is short."""
        patience = (FRESH_PATIENCE if connection.fresh else 1.0) * self.limits.settled_seconds
        waited = now - connection.waiting_since
        return waited / patience if patience else math.inf

    def _check_all(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for connection in list(self.open):
            connection.check_timeouts(now)
        if self.closed != self._logged and now >= self._log_after:
            for reason, number in (self.closed - self._logged).items():
                level = logging.DEBUG if reason == IDLE else logging.WARNING
                log.log(level, "Closed %d connections: %s", number, reason)
            self._logged, self._log_after = self.closed.copy(), now + LOG_SECONDS
        self._timer = loop.call_later(self.limits.tick, self._check_all, loop) if self.open else None
