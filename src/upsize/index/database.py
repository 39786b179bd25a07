"""A SQLite file of an index: readers have connections of their own, writers take turns."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from upsize.index.disk import on_disk

LOG_BYTES = 1 << 20
"""Of the write-ahead log that stay once its pages are in the database."""


class Database:
    """One file. Thread-safe.

    `read_only` needs no space on its disk: one connection for all threads, without the shared memory file that SQLite
    keeps beside a write-ahead log. Raises DiskFull where the disk takes no more, what SQLite raises otherwise.
    """

    def __init__(self, path: Path, schema: str, *, read_only: bool = False) -> None:
        self.path, self._read_only = path, read_only
        self._local = threading.local()
        self._open: list[sqlite3.Connection] = []
        self.turn = threading.RLock()
        with on_disk(path):
            try:
                self._writer = self._connect()
                if not read_only:
                    self._writer.executescript(schema)
            except BaseException:
                self.close()
                raise

    def _connect(self) -> sqlite3.Connection:
        address = f"file:{quote(str(self.path))}?mode={'rw' if self._read_only else 'rwc'}"
        connection = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False, timeout=60)
        self._open.append(connection)
        if self._read_only:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")  # the log's index in memory, not in a file
            connection.execute("PRAGMA query_only = ON")
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            return connection
        connection.execute("PRAGMA journal_mode = WAL")
        # A crash of the machine may take back the last transactions, whole; the journal brings them again.
        connection.execute("PRAGMA synchronous = NORMAL")
        # A large transaction makes a long log, whose pages are then in the database: it is cut, for deletes need room.
        connection.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
        return connection

    @property
    def reader(self) -> sqlite3.Connection:
        """This thread's connection."""
        if self._read_only:
            return self._writer
        found: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if found is None:
            with self.turn, on_disk(self.path):
                found = self._local.connection = self._connect()
        return found

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing of what is done within. DiskFull where the disk does not take it."""
        with self.turn, on_disk(self.path):
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:  # of a full disk SQLite rolls back by itself
                    self._writer.execute("ROLLBACK")
                raise

    def sync(self, *, full: bool) -> None:
        """Whether every transaction from now on is on disk when it ends."""
        self._writer.execute(f"PRAGMA synchronous = {'FULL' if full else 'NORMAL'}")

    def close(self) -> None:
        """Let go."""
        with self.turn:
            for connection in self._open:
                connection.close()
            self._open.clear()
