"""What clients that stall cost everybody else: the latency of /health, the server's memory, and when they are closed.

usage: python -m benchmarks.slow_clients [--port 30931] [--seconds 45]

Each kind of stalled client in three numbers, each against a server of its own: connections that send nothing, heads and
bodies of one byte every two seconds, bodies of 60 MB that stop one byte before their end. Then 300 idle connections to
a server that may open 128 files, and the end after SIGTERM beside a half-sent body.
"""

from __future__ import annotations

import argparse
import http.client
import resource
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil

from benchmarks.common import RESULTS, write
from upsize.server.http.limits import raise_file_limit

HEAD = b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
LARGE = 60_000_000
KINDS: dict[str, tuple[bytes, bytes, Sequence[int]]] = {
    "idle": (b"", b"", (50, 200, 800)),
    "slow heads": (HEAD + b"X-Slow: ", b"a", (50, 200, 800)),
    "slow bodies": (HEAD + b"Content-Length: 100000\r\n\r\n", b" ", (50, 200, 800)),
    "stalled bodies of 60 MB": (HEAD + b"Content-Length: %d\r\n\r\n" % LARGE + b" " * (LARGE - 1), b"", (4, 12, 24)),
}
"""Kind → what is sent at once, what is sent every two seconds, numbers of clients."""
DROP, PROBE = 2.0, 0.1
"""Seconds between two drops, and between two questions about health."""


def measure(
    port: int = 30931, seconds: float = 45, numbers: Sequence[int] | None = None, folder: Path = RESULTS
) -> Path:
    """Every kind in every number; `numbers` in place of the kinds' own."""
    raise_file_limit()
    rows = [
        stalled(port, kind, first, drop, number, seconds)
        for kind, (first, drop, own) in KINDS.items()
        for number in numbers or own
    ]
    return write("slow-clients", {"rows": rows, "few_files": few_files(port), "drain": drain(port)}, folder)


def stalled(port: int, kind: str, first: bytes, drop: bytes, number: int, seconds: float) -> dict[str, Any]:
    """One kind in one number, until all are closed or the time is up."""
    with serving(port) as server:
        idle = server.memory_info().rss
        quiet = [_health(port) for _ in range(20)]
        with clients(port, number, first) as connections:
            begun = time.perf_counter()
            waiting, closed, health, peak = list(connections), [], [], idle
            drop_at = begun + DROP
            while waiting and time.perf_counter() - begun < seconds:
                health.append(_health(port))
                peak = max(peak, server.memory_info().rss)
                for connection in _readable(waiting):
                    if _ended(connection):
                        waiting.remove(connection)
                        closed.append(time.perf_counter() - begun)
                if drop and time.perf_counter() > drop_at:
                    drop_at += DROP
                    for connection in waiting:
                        _send(connection, drop)
                time.sleep(PROBE)
        times = {"quiet_p50": _ms(quiet, 50), "p50": _ms(health, 50), "p95": _ms(health, 95), "max": _ms(health, 100)}
        return {
            "clients": kind,
            "number": number,
            "health_ms": times,
            "closed": len(closed),
            "closed_after_s": {"first": _s(closed, 0), "median": _s(closed, 50), "last": _s(closed, 100)},
            "memory_mb": {"before": round(idle / 1e6), "peak": round(peak / 1e6), "added": round((peak - idle) / 1e6)},
        }


def few_files(port: int, files: int = 128, number: int = 300) -> dict[str, Any]:
    """Idle connections to a server that may open few files."""
    with serving(port, files), clients(port, number, b""):
        health = [_health(port) for _ in range(20)]
        reply = httpx.post(f"http://127.0.0.1:{port}/v1/embeddings", json={"input": "a text"})
    times = {"p50": _ms(health, 50), "max": _ms(health, 100)}
    return {"files": files, "idle": number, "health_ms": times, "embeddings": reply.status_code}


def drain(port: int) -> dict[str, Any]:
    """Seconds from SIGTERM to the end, beside one body that is half sent."""
    with serving(port) as server, clients(port, 1, HEAD + b"Content-Length: 1000\r\n\r\n{"):
        _health(port)
        begun = time.perf_counter()
        server.send_signal(signal.SIGTERM)
        code = server.wait(120)
        return {"seconds": round(time.perf_counter() - begun, 2), "exit_code": code}


@contextmanager
def serving(port: int, files: int | None = None) -> Iterator[psutil.Popen]:
    """`upsize serve` with a demo model."""
    limit = None if files is None else lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    command = [sys.executable, "-m", "upsize", "serve", "demo-xs", "--port", str(port), "--log-level", "error"]
    server = psutil.Popen(command, preexec_fn=limit, stderr=subprocess.DEVNULL)
    try:
        while True:
            try:
                if httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.05)
            if server.poll() is not None:
                raise SystemExit("the server did not start")
        yield server
    finally:
        if server.poll() is None:
            server.terminate()
            server.wait(120)


@contextmanager
def clients(port: int, number: int, first: bytes) -> Iterator[list[socket.socket]]:
    """So many connections that have sent this, as far as they were let."""
    with ExitStack() as stack:
        connections = []
        for _ in range(number):
            connections.append(stack.enter_context(socket.create_connection(("127.0.0.1", port))))
            _send(connections[-1], first)
        yield connections


def _send(connection: socket.socket, data: bytes) -> None:
    try:
        connection.sendall(data)
    except ConnectionError:
        return  # closed meanwhile, which the next look at it counts


def _readable(connections: list[socket.socket]) -> list[socket.socket]:
    poll = select.poll()
    by_number = {connection.fileno(): connection for connection in connections}
    for number in by_number:
        poll.register(number, select.POLLIN)
    return [by_number[number] for number, _ in poll.poll(0)]


def _ended(connection: socket.socket) -> bool:
    """Whether it was closed; a reply before that is read."""
    try:
        return connection.recv(1 << 16) == b""
    except ConnectionError:
        return True


def _health(port: int) -> float:
    """Seconds of one question over a connection of its own."""
    begun = time.perf_counter()
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request("GET", "/health")
        status = connection.getresponse().status
    if status != 200:
        raise SystemExit(f"/health: {status}")
    return time.perf_counter() - begun


def _ms(seconds: Sequence[float], percentile: float) -> float:
    return round(float(np.percentile(seconds, percentile)) * 1e3, 1)


def _s(seconds: Sequence[float], percentile: float) -> float | None:
    return round(float(np.percentile(seconds, percentile)), 1) if seconds else None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=30931)
    parser.add_argument("--seconds", type=float, default=45)
    given = parser.parse_args()
    measure(given.port, given.seconds)
