"""Limits of connections: time, size, number."""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass, replace

import psutil

if sys.platform != "win32":  # which has no such limit
    import resource

log = logging.getLogger("upsize.server")

MAX_FILES = 65_536
"""Open files that are asked for, where the system lets a process choose."""


@dataclass(frozen=True)
class ConnectionLimits:
    """What one connection may take, and how many there may be. Times in seconds, sizes in bytes."""

    connections: int = 4096
    """Beyond them the one that has waited longest for its client is closed; without such a one, requests get 503."""
    spare: int = 16
    """Connections beyond that, for requests about health."""
    head_seconds: float = 20.0
    """From a connection's, or a head's, first byte to the end of the head."""
    body_seconds: float = 20.0
    """In which a body has to bring `body_rate` times as many bytes, or its end."""
    body_rate: int = 16 << 10
    """Bytes a second."""
    write_seconds: float = 30.0
    """In which a client has to take `write_rate` times as many bytes of its reply, or what there is."""
    write_rate: int = 1 << 10
    idle_seconds: float = 75.0
    """Between requests."""
    settled_seconds: float = 1.0
    """A client that was waited for no longer keeps its connection, unless the spare ones are taken too."""
    head_bytes: int = 64 << 10
    """Of a request's line and headers together."""
    headers: int = 200
    pipelined: int = 32
    """Requests that may wait on one connection for the reply of an earlier one."""
    discard_bytes: int = 64 << 20
    """Of a body that nobody wants any more: it is read to its end, so that the client sees the reply."""

    @property
    def tick(self) -> float:
        """Seconds between two looks at every connection."""
        shortest = min(self.head_seconds, self.body_seconds, self.write_seconds, self.idle_seconds)
        return min(1.0, max(0.02, shortest / 4))


def raise_file_limit() -> int | None:
    """Let this process open as many files as it may. The limit; None where there is none."""
    if sys.platform == "win32":
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return None
    wanted = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
    if wanted > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return soft


def within_files(limits: ConnectionLimits) -> ConnectionLimits:
    """As many connections as there are files for, beside those that models and indexes need."""
    files = raise_file_limit()
    if files is None:
        return limits
    reserve = max(40, files // 8)
    possible = max(8, files - psutil.Process().num_fds() - reserve - limits.spare)
    if possible >= limits.connections:
        return limits
    log.warning(
        "This process may open %d files, so it serves %d connections at once instead of %d. More: raise the hard limit "
        "(ulimit -Hn, LimitNOFILE of systemd).",
        files,
        possible,
        limits.connections,
    )
    return replace(limits, connections=possible)
