"""Limits of connections: their times, sizes and number."""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass, replace

import psutil

if sys.platform != "win32":  # Windows has no such limit
    import resource

log = logging.getLogger("upsize.server")

MAX_FILES = 65_536
"""Open files that the process requests where the system sets no limit."""


@dataclass(frozen=True)
class ConnectionLimits:
    """Limits of each connection, and of their number. Times are in seconds, sizes in bytes."""

    connections: int = 4096
    """Beyond this number, the connection that has waited longest for its client is closed. If none waits, requests get
    503."""
    spare: int = 16
    """Further connections, for health checks."""
    head_seconds: float = 20.0
    """Time from the start of a connection, or the first byte of a head, to the end of the head."""
    body_seconds: float = 20.0
    """Time in which at least `body_seconds * body_rate` bytes of a body must arrive, or its end."""
    body_rate: int = 16 << 10
    """Bytes a second."""
    write_seconds: float = 30.0
    """Time in which a client must read at least `write_seconds * write_rate` bytes of its reply, or all of it."""
    write_rate: int = 1 << 10
    idle_seconds: float = 75.0
    """Time between two requests on a connection."""
    settled_seconds: float = 1.0
    """A connection that has waited for a shorter time is not closed to make room, unless the spare ones are used up."""
    head_bytes: int = 64 << 10
    """Request line and headers together."""
    headers: int = 200
    pipelined: int = 32
    """Requests on one connection that may wait for the reply to an earlier one."""
    discard_bytes: int = 64 << 20
    """Bytes of a body that are read and dropped after the reply, so that the client can read the reply."""

    @property
    def tick(self) -> float:
        """Seconds between two checks of all connections."""
        shortest = min(self.head_seconds, self.body_seconds, self.write_seconds, self.idle_seconds)
        return min(1.0, max(0.02, shortest / 4))


def raise_file_limit() -> int | None:
    """Raise the limit of open files as far as permitted; returns it, or None where there is none."""
    if sys.platform == "win32":
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return None
    target = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
    if target > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
        soft = target
    return soft


def within_files(limits: ConnectionLimits) -> ConnectionLimits:
    """Reduce the number of connections to what the limit of open files permits; models and indexes need some too."""
    files = raise_file_limit()
    if files is None:
        return limits
    reserve = max(40, files // 8)
    possible = max(8, files - psutil.Process().num_fds() - reserve - limits.spare)
    if possible >= limits.connections:
        return limits
    log.warning(
        "This process may open %d files, so it serves %d connections at once instead of %d. To serve more, raise the "
        "hard limit (ulimit -Hn, LimitNOFILE in systemd).",
        files,
        possible,
        limits.connections,
    )
    return replace(limits, connections=possible)
