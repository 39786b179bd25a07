"""A PostgreSQL whose processes are stopped: it accepts connections and answers nothing. Nobody may wait for it long."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psycopg
import pytest

from tests.postgres import database
from upsize.errors import StoreUnavailable
from upsize.store import Table, VectorRows, parse_filter
from upsize.store import circuit_breaker as gate
from upsize.store import pg_connections as pgconnections
from upsize.store.pgvector import PgvectorStore

TABLE = Table("upsize_stalled_g1", 4)
QUERY = np.array([1, 0, 0, 0], np.float32)
PATIENT = 12.0
"""Seconds after which a call counts as hanging, on a machine that is busy."""


def processes(server: int) -> list[int]:
    """The server and its children."""
    children = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rsplit(")", 1)[1].split()
        except OSError:  # it has ended meanwhile
            continue
        if int(fields[1]) == server:
            children.append(int(entry.parent.name))
    return [server, *children]


class Server:
    """One that can be stopped."""

    def __init__(self, dsn: str, pid: int) -> None:
        self.dsn, self.pid = dsn, pid

    def stop(self) -> None:
        self._send(signal.SIGSTOP)

    def go_on(self) -> None:
        self._send(signal.SIGCONT)

    def _send(self, what: signal.Signals) -> None:
        for pid in processes(self.pid):
            with contextlib.suppress(ProcessLookupError):  # one of a connection that has ended meanwhile
                os.kill(pid, what)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with database(tmp_path_factory.mktemp("stalled")) as running:
        one = Server(running.get_uri(), running.get_pid())
        try:
            yield one
        finally:
            one.go_on()


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pgconnections, "SLOW", 0.3)
    monkeypatch.setattr(pgconnections, "CANCEL", 0.3)
    monkeypatch.setitem(pgconnections.DEFAULTS, "connect_timeout", 2)
    monkeypatch.setattr(gate, "PAUSE", 2.0)
    monkeypatch.setattr(gate, "LONGEST_PAUSE", 2.0)


@pytest.fixture
def store(server: Server) -> Iterator[PgvectorStore]:
    opened = PgvectorStore(server.dsn)
    opened.drop(TABLE)
    opened.create(TABLE)
    opened.upsert(TABLE, VectorRows(["a"], [1], QUERY[None], [{"n": 1}]))
    yield opened
    server.go_on()
    opened.close()


def outcome(work: Callable[[], object]) -> Callable[[], tuple[object, float]]:
    """Begin it in a thread; what it gave or raised, and after how many seconds."""
    result: list[tuple[object, float]] = []
    begun = time.monotonic()

    def run() -> None:
        try:
            value = work()
        except Exception as error:
            value = error
        result.append((value, time.monotonic() - begun))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def wait() -> tuple[object, float]:
        thread.join(60)
        assert result, "it hangs"
        return result[0]

    return wait


def test_a_stopped_server_holds_few_threads_and_for_seconds(store: PgvectorStore, server: Server) -> None:
    works: list[Callable[[], object]] = [
        lambda: store.search(TABLE, QUERY, 1),
        lambda: store.search(TABLE, QUERY, 1, where=parse_filter({"n": 1}), exact=True),
        lambda: store.count(TABLE),
        lambda: store.upsert(TABLE, VectorRows(["b"], [2], QUERY[None], [{}])),
        lambda: store.delete(TABLE, ["a"]),
        lambda: store.vectors(TABLE, ["a"]),
        lambda: list(store.committed_ids(TABLE)),
        lambda: store.optimize(TABLE),
        lambda: store.publish_alias("stalled", TABLE, "upsize_stalled_"),
        lambda: PgvectorStore(server.dsn),
    ]
    server.stop()
    first = [outcome(work) for work in works]
    for work, wait in zip(works, first, strict=True):
        value, seconds = wait()
        assert isinstance(value, StoreUnavailable), (work, value)
        assert seconds < PATIENT
    begun = time.monotonic()  # now it is known: most do not try at all
    for work in works:
        with pytest.raises(StoreUnavailable):
            work()
    assert time.monotonic() - begun < PATIENT
    with pytest.raises(StoreUnavailable):
        store.require_answering()
    server.go_on()
    end = time.monotonic() + PATIENT
    while True:
        try:
            assert [hit.id for hit in store.search(TABLE, QUERY, 1)] == ["a"]
            break
        except StoreUnavailable:
            assert time.monotonic() < end
            time.sleep(0.05)
    store.upsert(TABLE, VectorRows(["c"], [3], QUERY[None], [{}]))
    store.require_answering()
    assert "c" in dict(store.committed_ids(TABLE))


def test_a_slow_statement_is_not_taken_for_a_stopped_server(store: PgvectorStore) -> None:
    """One that takes longer than a server may be silent, while nothing else is asked."""
    value, seconds = outcome(lambda: store._read(lambda c: c.execute("SELECT pg_sleep(0.8)").fetchall()))()
    assert not isinstance(value, Exception)
    assert seconds > 0.7


def test_connections_that_the_server_has_closed_cost_no_call(store: PgvectorStore, server: Server) -> None:
    together = threading.Barrier(4)
    waits = [outcome(lambda: store._read(lambda c: (c.execute("SELECT 1"), together.wait(30)))) for _ in range(4)]
    for wait in waits:
        assert not isinstance(wait()[0], Exception)
    with psycopg.connect(server.dsn, autocommit=True) as other:
        ended = other.execute(
            "SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        ).fetchone()
    assert ended is not None
    assert ended[0] >= 4
    for _ in range(6):
        assert [hit.id for hit in store.search(TABLE, QUERY, 1)] == ["a"]
    store.upsert(TABLE, VectorRows(["b"], [2], QUERY[None], [{}]))


def test_closing_does_not_wait_for_a_stopped_server(server: Server) -> None:
    store = PgvectorStore(server.dsn)
    server.stop()
    waiting = outcome(lambda: store._long(lambda c: c.execute("SELECT pg_sleep(60)")))
    begun = time.monotonic()
    store.close()
    value, _ = waiting()
    server.go_on()
    assert time.monotonic() - begun < PATIENT
    assert isinstance(value, StoreUnavailable)
