"""Documents: the current documents of an index, in SQLite, and the work that is left for each generation.

The file is derived from the journal and made again if it is deleted or damaged. Tables for each generation:

    missing   backlog: documents without a vector, or with one of an older text; the most popular come first
    doomed    tombstones: deleted documents that the generation may still hold
    refused   documents that its model cannot embed, and why

One transaction changes a document together with the backlog and tombstones of every generation, so that a crash loses
neither.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from upsize.errors import UpsizeError
from upsize.index.database import Database
from upsize.index.journal import Entry, Journal, Upsert
from upsize.index.metadata import decode_metadata, encode_metadata
from upsize.store.filters import has_large_number

FILE = "documents.sqlite"
URGENT = 1 << 60
"""Popularity of a document that was just written: it comes before the rest of the backlog."""
BATCH = 5000
"""Journal entries applied in one transaction during recovery."""
IDS_PER_STATEMENT = 500
"""Ids in one SQL statement; SQLite's oldest limit is 999 parameters."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS documents (
    id TEXT PRIMARY KEY, number INTEGER NOT NULL, text TEXT NOT NULL, metadata TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS generations (id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS missing (
    generation TEXT, id TEXT, popularity INTEGER NOT NULL, PRIMARY KEY (generation, id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS missing_order ON missing (generation, popularity DESC);
CREATE TABLE IF NOT EXISTS doomed (generation TEXT, id TEXT, PRIMARY KEY (generation, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS refused (
    generation TEXT, id TEXT, reason TEXT NOT NULL, PRIMARY KEY (generation, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS popularity (id TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Document:
    """A current document."""

    id: str
    number: int
    """Number of the journal entry that wrote it."""
    text: str
    metadata: Mapping[str, Any]


class Documents:
    """The documents of one index. Thread-safe: each thread reads through a connection of its own."""

    def __init__(self, folder: Path, *, read_only: bool = False) -> None:
        self.path = folder / FILE
        self._counted = (0, -1)
        """Number of documents, and of applied journal entries when they were counted."""
        self._database = Database(self.path, _SCHEMA, read_only=read_only)
        self._transaction = self._database.transaction

    @property
    def _reader(self) -> sqlite3.Connection:
        return self._database.reader

    def close(self) -> None:
        """Close the connections."""
        self._database.close()

    # the journal

    @property
    def applied(self) -> int:
        """Number of the first journal entry that is not applied yet."""
        return self._fact("applied")

    def catch_up(self, journal: Journal) -> int:
        """Apply the entries that the journal has beyond `applied`; their number. UpsizeError where it has fewer."""
        start = self.applied
        if start > journal.end:
            raise UpsizeError(
                f"{self.path} has applied {start:,} entries, and the journal in {journal.folder} has {journal.end:,}: "
                "they do not belong together. Restore both from one backup, or delete the former."
            )
        batch: list[Entry] = []
        first = start
        for number, entry in journal.read(start):
            batch.append(entry)
            if len(batch) == BATCH:
                self.apply(first, batch)
                batch, first = [], number + 1
        if batch:
            self.apply(first, batch)
        return journal.end - start

    def apply(self, first: int, entries: Sequence[Entry]) -> None:
        """Apply entries `first`, first + 1, … of the journal, which follow those applied before, in one transaction."""
        with self._transaction() as c:
            applied = c.execute("SELECT value FROM facts WHERE name = 'applied'").fetchone()
            assert first == (applied[0] if applied else 0), f"{first} does not follow {applied}"
            self._apply(c, first, entries)

    def _apply(self, c: sqlite3.Connection, first: int, entries: Sequence[Entry]) -> None:
        generations = [row[0] for row in c.execute("SELECT id FROM generations")]
        for number, entry in enumerate(entries, first):
            for generation in generations:
                pair = (generation, entry.id)
                c.execute("DELETE FROM refused WHERE generation = ? AND id = ?", pair)
                if isinstance(entry, Upsert):
                    c.execute("INSERT OR REPLACE INTO missing VALUES (?, ?, ?)", (*pair, URGENT))
                    c.execute("DELETE FROM doomed WHERE generation = ? AND id = ?", pair)
                else:
                    c.execute("DELETE FROM missing WHERE generation = ? AND id = ?", pair)
                    c.execute("INSERT OR REPLACE INTO doomed VALUES (?, ?)", pair)
            if isinstance(entry, Upsert):
                row = (entry.id, number, entry.text, encode_metadata(entry.metadata))
                c.execute("INSERT OR REPLACE INTO documents VALUES (?, ?, ?, ?)", row)
            else:
                c.execute("DELETE FROM documents WHERE id = ?", (entry.id,))
        _set(c, "applied", first + len(entries))

    # reading

    def get(self, ids: Sequence[str]) -> dict[str, Document]:
        """Id → document, of the ids that exist."""
        found = {}
        for part in _chunks(ids):
            query = f"SELECT id, number, text, metadata FROM documents WHERE id IN ({_placeholders(part)})"
            for id, number, text, metadata in self._reader.execute(query, part):
                found[id] = Document(id, number, text, decode_metadata(metadata))
        return found

    def numbers(self, ids: Sequence[str]) -> dict[str, int]:
        """Id → number, of the ids that exist."""
        found: dict[str, int] = {}
        for part in _chunks(ids):
            found |= self._reader.execute(f"SELECT id, number FROM documents WHERE id IN ({_placeholders(part)})", part)
        return found

    def all_numbers(self) -> Iterator[tuple[str, int]]:
        """(id, number) of every document."""
        yield from self._reader.execute("SELECT id, number FROM documents")

    def ids_of_texts(self, texts: Sequence[str]) -> dict[str, str]:
        """Text → id of a document with exactly that text. Reads all documents; for judgements that name texts."""
        wanted = set(texts)
        rows = self._reader.execute("SELECT id, text FROM documents ORDER BY number DESC")
        return {text: id for id, text in rows if text in wanted}

    def sample(self, number: int) -> list[Document]:
        """So many documents at most, spread evenly over all of them."""
        total = max(self.count(), 1)
        step = max(total // number, 1)
        query = (
            "SELECT id, number, text, metadata FROM "
            "(SELECT *, row_number() OVER (ORDER BY rowid) AS place FROM documents) WHERE place % ? = 0 LIMIT ?"
        )
        return [Document(i, n, t, decode_metadata(m)) for i, n, t, m in self._reader.execute(query, (step, number))]

    def count(self) -> int:
        """Number of documents."""
        return int(self._reader.execute("SELECT count(*) FROM documents").fetchone()[0])

    def approximate_count(self) -> int:
        """Number of documents to within 1 %: counted again once that many entries have been applied."""
        applied = self.applied
        count, then = self._counted
        if abs(applied - then) * 100 > count:
            self._counted = count, _ = self.count(), applied
        return count

    # generations

    def add_generation(self, generation: str) -> None:
        """Put all documents into the backlog of a new generation. Later changes reach it too."""
        with self._transaction() as c:
            if c.execute("SELECT 1 FROM generations WHERE id = ?", (generation,)).fetchone():
                return
            c.execute("INSERT INTO generations VALUES (?)", (generation,))
            self._enqueue_all(c, generation)

    def _enqueue_all(self, c: sqlite3.Connection, generation: str) -> None:
        c.execute(
            "INSERT OR REPLACE INTO missing SELECT ?, d.id, coalesce(p.count, 0) FROM documents d "
            "LEFT JOIN popularity p ON p.id = d.id",
            (generation,),
        )

    def requeue_all(self, generation: str) -> None:
        """Put all documents into its backlog again, after its vectors were lost."""
        with self._transaction() as c:
            for table in ("doomed", "refused", "missing"):
                c.execute(f"DELETE FROM {table} WHERE generation = ?", (generation,))
            self._enqueue_all(c, generation)

    def order_by_popularity(self, generation: str) -> None:
        """Order its backlog by how often searches have found each document."""
        with self._transaction() as c:
            c.execute(
                "UPDATE missing SET popularity = coalesce((SELECT count FROM popularity p WHERE p.id = missing.id), 0) "
                "WHERE generation = ?",
                (generation,),
            )

    def drop_generation(self, generation: str) -> None:
        """Forget its backlog, tombstones and refused documents."""
        with self._transaction() as c:
            c.execute("DELETE FROM generations WHERE id = ?", (generation,))
            for table in ("missing", "doomed", "refused"):
                c.execute(f"DELETE FROM {table} WHERE generation = ?", (generation,))

    def generations(self) -> set[str]:
        """Ids of the generations that are known here."""
        return {row[0] for row in self._reader.execute("SELECT id FROM generations")}

    def backlog(self, generation: str, number: int) -> list[Document]:
        """The next documents of its backlog, most popular first, `number` at most."""
        query = (
            "SELECT d.id, d.number, d.text, d.metadata FROM "
            "(SELECT id, popularity FROM missing WHERE generation = ? ORDER BY popularity DESC LIMIT ?) m "
            "JOIN documents d ON d.id = m.id ORDER BY m.popularity DESC"
        )
        return [
            Document(i, n, t, decode_metadata(m)) for i, n, t, m in self._reader.execute(query, (generation, number))
        ]

    def is_incomplete(self, generation: str) -> bool:
        """Whether it has a backlog, or refused documents."""
        return self.lacks_more_than(generation, 0)

    def lacks_more_than(self, generation: str, number: int) -> bool:
        """Whether its backlog and its refused documents are more than `number`. Reads no more rows than that."""
        left = number + 1
        for table in ("missing", "refused"):
            query = f"SELECT count(*) FROM (SELECT 1 FROM {table} WHERE generation = ? LIMIT ?)"
            left -= int(self._reader.execute(query, (generation, left)).fetchone()[0])
            if left <= 0:
                return True
        return False

    def backfill_longer_than(self, generation: str, number: int) -> bool:
        """Whether more than `number` documents of its backlog are older than the writes of a moment ago."""
        query = "SELECT count(*) FROM (SELECT 1 FROM missing WHERE generation = ? AND popularity < ? LIMIT ?)"
        return int(self._reader.execute(query, (generation, URGENT, number + 1)).fetchone()[0]) > number

    def absent(self, generation: str, ids: Sequence[str]) -> set[str]:
        """The ids that are in its backlog or were refused."""
        found: set[str] = set()
        for part in _chunks(ids):
            for table in ("missing", "refused"):
                query = f"SELECT id FROM {table} WHERE generation = ? AND id IN ({_placeholders(part)})"
                found |= {row[0] for row in self._reader.execute(query, (generation, *part))}
        return found

    def backlog_size(self, generation: str, most: int = -1) -> int:
        """Size of its backlog, counted up to `most`."""
        query = "SELECT count(*) FROM (SELECT 1 FROM missing WHERE generation = ? LIMIT ?)"
        return int(self._reader.execute(query, (generation, most)).fetchone()[0])

    def mark_committed(self, generation: str, numbers: Mapping[str, int]) -> None:
        """Remove documents (id → number) from its backlog; one that has changed since stays."""
        with self._transaction() as c:
            c.executemany(
                "DELETE FROM missing WHERE generation = ? AND id = ? "
                "AND (SELECT number FROM documents d WHERE d.id = missing.id) = ?",
                [(generation, id, number) for id, number in numbers.items()],
            )

    def refuse(self, generation: str, document: Document, reason: str) -> None:
        """Record that its model cannot embed this document, unless the document has changed since."""
        with self._transaction() as c:
            if self.numbers([document.id]).get(document.id) == document.number:
                c.execute("INSERT OR REPLACE INTO refused VALUES (?, ?, ?)", (generation, document.id, reason))
                c.execute("DELETE FROM missing WHERE generation = ? AND id = ?", (generation, document.id))

    def refused(self, generation: str, number: int = 10) -> tuple[int, list[dict[str, str]]]:
        """Number of refused documents, and the first `number` with id and reason."""
        query = "SELECT id, reason FROM refused WHERE generation = ? LIMIT ?"
        few = [{"id": id, "reason": reason} for id, reason in self._reader.execute(query, (generation, number))]
        count = self._reader.execute("SELECT count(*) FROM refused WHERE generation = ?", (generation,)).fetchone()[0]
        return int(count), few

    def tombstones(self, generation: str, number: int) -> list[str]:
        """Ids of deleted documents that it may still hold, `number` at most."""
        query = "SELECT id FROM doomed WHERE generation = ? LIMIT ?"
        return [row[0] for row in self._reader.execute(query, (generation, number))]

    def clear_tombstones(self, generation: str, ids: Sequence[str]) -> None:
        """Remove tombstones that were applied to its table."""
        with self._transaction() as c:
            c.executemany("DELETE FROM doomed WHERE generation = ? AND id = ?", [(generation, id) for id in ids])

    def audit(self, generation: str, there: Iterable[tuple[str, int]]) -> tuple[int, int]:
        """Compare with the rows that its table has (id, number), and update backlog and tombstones.

        Returns how many documents joined the backlog, and how many rows got a tombstone.
        """
        with self._transaction() as c:
            c.execute("CREATE TEMP TABLE there (id TEXT PRIMARY KEY, number INTEGER) WITHOUT ROWID")
            try:
                c.executemany("INSERT OR REPLACE INTO there VALUES (?, ?)", there)
                known = (generation,)
                c.execute(
                    "DELETE FROM missing WHERE generation = ? AND id IN (SELECT t.id FROM there t JOIN documents d "
                    "ON d.id = t.id AND d.number = t.number)",
                    known,
                )
                lacking = c.execute(
                    "INSERT OR IGNORE INTO missing SELECT ?, d.id, 0 FROM documents d LEFT JOIN there t ON t.id = d.id "
                    "WHERE (t.id IS NULL OR t.number <> d.number) "
                    "AND d.id NOT IN (SELECT id FROM refused WHERE generation = ?)",
                    known * 2,
                ).rowcount
                spare = c.execute(
                    "INSERT OR IGNORE INTO doomed SELECT ?, t.id FROM there t LEFT JOIN documents d ON d.id = t.id "
                    "WHERE d.id IS NULL",
                    known,
                ).rowcount
            finally:
                c.execute("DROP TABLE there")
        return lacking, spare

    # popularity and facts

    def add_popularity(self, counts: Mapping[str, int]) -> None:
        """Add to how often searches have found each document."""
        with self._transaction() as c:
            c.executemany(
                "INSERT INTO popularity VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET count = count + excluded.count",
                list(counts.items()),
            )

    def with_large_numbers(self) -> list[str]:
        """Ids of documents whose metadata has an integer of more than 53 bits."""
        query = "SELECT id, metadata FROM documents WHERE metadata GLOB ? OR metadata GLOB '*[0-9]e+*'"
        rows = self._reader.execute(query, ("*" + "[0-9]" * 16 + "*",))
        return [id for id, metadata in rows if has_large_number(decode_metadata(metadata))]

    @property
    def exact_numbers(self) -> bool:
        """Whether all tables hold such integers exactly. An earlier version rounded them."""
        return self._fact("exact_numbers") == 1

    def mark_exact_numbers(self) -> None:
        """Record that all tables hold such integers exactly."""
        with self._transaction() as c:
            _set(c, "exact_numbers", 1)

    @property
    def closed_cleanly(self) -> bool:
        """Whether the last process that wrote closed the index in order."""
        return self._fact("closed_well", 1) == 1

    def mark(self, *, closed_cleanly: bool) -> None:
        """Record it, synced to disk."""
        with self._database.lock:
            self._database.sync(full=True)
            try:
                with self._transaction() as c:
                    _set(c, "closed_well", int(closed_cleanly))
            finally:
                self._database.sync(full=False)

    def _fact(self, name: str, default: int = 0) -> int:
        row = self._reader.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return int(row[0]) if row else default


def _set(c: sqlite3.Connection, name: str, value: int) -> None:
    c.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))


def _chunks(ids: Sequence[str]) -> Iterator[list[str]]:
    for first in range(0, len(ids), IDS_PER_STATEMENT):
        yield list(ids[first : first + IDS_PER_STATEMENT])


def _placeholders(ids: Sequence[str]) -> str:
    return ", ".join("?" * len(ids))
