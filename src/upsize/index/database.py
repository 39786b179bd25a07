"""Database: an SQLite file of an index, with one connection for each reading thread and one for writing."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from upsize.index.disk import on_disk

LOG_BYTES = 1 << 20
"""Bytes of the write-ahead log that remain after a checkpoint (chosen)."""


class Database:
    """One SQLite file. Thread-safe.

    `read_only` needs no space on the disk: one connection for all threads, without the shared-memory file that SQLite
    keeps beside a write-ahead log. Raises DiskFull where the disk is full, otherwise what SQLite raises.
    """

    def __init__(self, path: Path, schema: str, *, read_only: bool = False) -> None:
        self.path, self._read_only = path, read_only
        self._local = threading.local()
        self._open: list[sqlite3.Connection] = []
        self.lock = threading.RLock()
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
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")  # keeps the index of the log in memory
            connection.execute("PRAGMA query_only = ON")
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            return connection
        connection.execute("PRAGMA journal_mode = WAL")
        # A crash of the machine may undo the last transactions as a whole; recovery repeats them from the journal.
        connection.execute("PRAGMA synchronous = NORMAL")
        # A large transaction leaves a long log; truncating it keeps room on the disk for deletes.
        connection.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
        return connection

    @property
    def reader(self) -> sqlite3.Connection:
        """The connection of this thread."""
        if self._read_only:
            return self._writer
        found: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if found is None:
            with self.lock, on_disk(self.path):
                found = self._local.connection = self._connect()
        return found

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """One transaction, committed at the end and rolled back on any error. Raises DiskFull on a full disk."""
        with self.lock, on_disk(self.path):
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:  # on a full disk SQLite has rolled back already
                    self._writer.execute("ROLLBACK")
                raise

    def sync(self, *, full: bool) -> None:
        """Choose whether later transactions are synced to disk when they end."""
        self._writer.execute(f"PRAGMA synchronous = {'FULL' if full else 'NORMAL'}")

    def close(self) -> None:
        """Close all connections."""
        with self.lock:
            for connection in self._open:
                connection.close()
            self._open.clear()
