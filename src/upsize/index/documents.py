"""Documents: what the journal amounts to today, in SQLite, and what each generation still lacks of it.

Derived: deleted or damaged, it is made again from the journal. Of each generation it knows

    missing   documents whose vector is not there, or is of an older text; those asked for most come first
    doomed    documents that were deleted and may still be there
    refused   documents that its model cannot embed, and why

A document's change and what follows from it for every generation are one transaction, so a crash forgets neither.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from upsize.errors import DiskFull, UpsizeError
from upsize.index.database import Database
from upsize.index.journal import Entry, Journal, Upsert
from upsize.index.metadata import decode_metadata, encode_metadata
from upsize.store.filters import has_large_number

log = logging.getLogger("upsize.index")

FILE = "documents.sqlite"
URGENT = 1 << 60
"""Popularity of what was just written: it comes before everything that waits."""
BATCH = 5000
"""Journal entries of one transaction, when they are read again."""
FEW = 500
"""Ids in one statement."""

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
    """A text as it stands."""

    id: str
    number: int
    """Of the journal's entry that wrote it."""
    text: str
    metadata: Mapping[str, Any]


class Documents:
    """One index's documents. Thread-safe: readers have connections of their own, writers take turns."""

    def __init__(self, folder: Path, *, read_only: bool = False) -> None:
        self.path = folder / FILE
        self._counted = (0, -1)
        """Documents, and how many entries had been applied when they were counted."""
        self._database = Database(self.path, _SCHEMA, read_only=read_only)
        self._transaction = self._database.transaction

    @property
    def _reader(self) -> sqlite3.Connection:
        return self._database.reader

    def close(self) -> None:
        """Let go."""
        self._database.close()

    # the journal

    @property
    def applied(self) -> int:
        """Number of the journal's first entry that is not in here yet."""
        return self._fact("applied")

    def catch_up(self, journal: Journal) -> int:
        """Apply what the journal has beyond `applied`; how many entries that was."""
        start = self.applied
        if start > journal.end:
            raise UpsizeError(
                f"{self.path} knows {start:,} entries and the journal in {journal.folder} ends after {journal.end:,}: "
                "they are not of one index. Restore both from one backup, or delete the former."
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
        """Entries `first`, first + 1, … of the journal: those that follow what was applied."""
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
        """Those of them that are there."""
        found = {}
        for part in _parts(ids):
            ask = f"SELECT id, number, text, metadata FROM documents WHERE id IN ({_marks(part)})"
            for id, number, text, metadata in self._reader.execute(ask, part):
                found[id] = Document(id, number, text, decode_metadata(metadata))
        return found

    def numbers(self, ids: Sequence[str]) -> dict[str, int]:
        """Id → number, of those that are there."""
        found: dict[str, int] = {}
        for part in _parts(ids):
            found |= self._reader.execute(f"SELECT id, number FROM documents WHERE id IN ({_marks(part)})", part)
        return found

    def all_numbers(self) -> Iterator[tuple[str, int]]:
        """(id, number) of every document."""
        yield from self._reader.execute("SELECT id, number FROM documents")

    def with_texts(self, texts: Sequence[str]) -> dict[str, str]:
        """Text → id of a document with just that text. Reads them all: it is for judgements that name texts."""
        wanted = set(texts)
        rows = self._reader.execute("SELECT id, text FROM documents ORDER BY number DESC")
        return {text: id for id, text in rows if text in wanted}

    def some(self, number: int) -> list[Document]:
        """So many documents, spread over all of them."""
        total = max(self.count(), 1)
        step = max(total // number, 1)
        ask = (
            "SELECT id, number, text, metadata FROM "
            "(SELECT *, row_number() OVER (ORDER BY rowid) AS place FROM documents) WHERE place % ? = 0 LIMIT ?"
        )
        return [Document(i, n, t, decode_metadata(m)) for i, n, t, m in self._reader.execute(ask, (step, number))]

    def count(self) -> int:
        """Documents."""
        return int(self._reader.execute("SELECT count(*) FROM documents").fetchone()[0])

    def rough_count(self) -> int:
        """Documents, to within a hundredth: counted again once so many entries have been applied."""
        applied = self.applied
        count, then = self._counted
        if abs(applied - then) * 100 > count:
            self._counted = count, _ = self.count(), applied
        return count

    # generations

    def add_generation(self, generation: str) -> None:
        """All documents are missing in it. With it known, changes are noted for it."""
        with self._transaction() as c:
            if c.execute("SELECT 1 FROM generations WHERE id = ?", (generation,)).fetchone():
                return
            c.execute("INSERT INTO generations VALUES (?)", (generation,))
            self._all_missing(c, generation)

    def _all_missing(self, c: sqlite3.Connection, generation: str) -> None:
        c.execute(
            "INSERT OR REPLACE INTO missing SELECT ?, d.id, coalesce(p.count, 0) FROM documents d "
            "LEFT JOIN popularity p ON p.id = d.id",
            (generation,),
        )

    def remake(self, generation: str) -> None:
        """Its vectors are gone: all documents are missing in it again."""
        with self._transaction() as c:
            for table in ("doomed", "refused", "missing"):
                c.execute(f"DELETE FROM {table} WHERE generation = ?", (generation,))
            self._all_missing(c, generation)

    def order_by_popularity(self, generation: str) -> None:
        """What is missing in it comes by how often its documents were found until now."""
        with self._transaction() as c:
            c.execute(
                "UPDATE missing SET popularity = coalesce((SELECT count FROM popularity p WHERE p.id = missing.id), 0) "
                "WHERE generation = ?",
                (generation,),
            )

    def drop_generation(self, generation: str) -> None:
        """Forget it."""
        with self._transaction() as c:
            c.execute("DELETE FROM generations WHERE id = ?", (generation,))
            for table in ("missing", "doomed", "refused"):
                c.execute(f"DELETE FROM {table} WHERE generation = ?", (generation,))

    def generations(self) -> set[str]:
        """Those that it knows."""
        return {row[0] for row in self._reader.execute("SELECT id FROM generations")}

    def missing(self, generation: str, number: int) -> list[Document]:
        """The next so many to embed."""
        ask = (
            "SELECT d.id, d.number, d.text, d.metadata FROM "
            "(SELECT id, popularity FROM missing WHERE generation = ? ORDER BY popularity DESC LIMIT ?) m "
            "JOIN documents d ON d.id = m.id ORDER BY m.popularity DESC"
        )
        return [Document(i, n, t, decode_metadata(m)) for i, n, t, m in self._reader.execute(ask, (generation, number))]

    def lacks(self, generation: str) -> bool:
        """Whether any is missing in it, or was refused."""
        return self.lacks_more_than(generation, 0)

    def lacks_more_than(self, generation: str, number: int) -> bool:
        """Whether more than so many are missing in it or were refused. Reads no more rows than that."""
        left = number + 1
        for table in ("missing", "refused"):
            ask = f"SELECT count(*) FROM (SELECT 1 FROM {table} WHERE generation = ? LIMIT ?)"
            left -= int(self._reader.execute(ask, (generation, left)).fetchone()[0])
            if left <= 0:
                return True
        return False

    def backfill_left(self, generation: str, number: int) -> bool:
        """Whether more than so many are missing in it that were not written a moment ago."""
        ask = "SELECT count(*) FROM (SELECT 1 FROM missing WHERE generation = ? AND popularity < ? LIMIT ?)"
        return int(self._reader.execute(ask, (generation, URGENT, number + 1)).fetchone()[0]) > number

    def lacking(self, generation: str, ids: Sequence[str]) -> set[str]:
        """Those of the ids that are missing in it, or were refused."""
        found: set[str] = set()
        for part in _parts(ids):
            for table in ("missing", "refused"):
                ask = f"SELECT id FROM {table} WHERE generation = ? AND id IN ({_marks(part)})"
                found |= {row[0] for row in self._reader.execute(ask, (generation, *part))}
        return found

    def missing_count(self, generation: str, most: int = -1) -> int:
        """How many it lacks, counted up to `most`."""
        ask = "SELECT count(*) FROM (SELECT 1 FROM missing WHERE generation = ? LIMIT ?)"
        return int(self._reader.execute(ask, (generation, most)).fetchone()[0])

    def placed(self, generation: str, numbers: Mapping[str, int]) -> None:
        """The vectors of these texts (id → number) are in it now. A document that has changed since stays missing."""
        with self._transaction() as c:
            c.executemany(
                "DELETE FROM missing WHERE generation = ? AND id = ? "
                "AND (SELECT number FROM documents d WHERE d.id = missing.id) = ?",
                [(generation, id, number) for id, number in numbers.items()],
            )

    def refuse(self, generation: str, document: Document, reason: str) -> None:
        """Its model cannot embed this text."""
        with self._transaction() as c:
            if self.numbers([document.id]).get(document.id) == document.number:
                c.execute("INSERT OR REPLACE INTO refused VALUES (?, ?, ?)", (generation, document.id, reason))
                c.execute("DELETE FROM missing WHERE generation = ? AND id = ?", (generation, document.id))

    def refused(self, generation: str, number: int = 10) -> tuple[int, list[dict[str, str]]]:
        """How many, and the first few with their reasons."""
        ask = "SELECT id, reason FROM refused WHERE generation = ? LIMIT ?"
        few = [{"id": id, "reason": reason} for id, reason in self._reader.execute(ask, (generation, number))]
        count = self._reader.execute("SELECT count(*) FROM refused WHERE generation = ?", (generation,)).fetchone()[0]
        return int(count), few

    def tombstones(self, generation: str, number: int) -> list[str]:
        """Deleted documents that may still be in it."""
        ask = "SELECT id FROM doomed WHERE generation = ? LIMIT ?"
        return [row[0] for row in self._reader.execute(ask, (generation, number))]

    def removed(self, generation: str, ids: Sequence[str]) -> None:
        """They are not in it any more."""
        with self._transaction() as c:
            c.executemany("DELETE FROM doomed WHERE generation = ? AND id = ?", [(generation, id) for id in ids])

    def audit(self, generation: str, there: Iterable[tuple[str, int]]) -> tuple[int, int]:
        """Hold against the rows that a store has (id, number); (documents found missing, rows found too many)."""
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

    # what else is known

    def found(self, counts: Mapping[str, int]) -> None:
        """These documents were found so many times more."""
        with self._transaction() as c:
            c.executemany(
                "INSERT INTO popularity VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET count = count + excluded.count",
                list(counts.items()),
            )

    def with_large_numbers(self) -> list[str]:
        """Ids of documents whose metadata has a number of more than 53 bits."""
        ask = "SELECT id, metadata FROM documents WHERE metadata GLOB ? OR metadata GLOB '*[0-9]e+*'"
        rows = self._reader.execute(ask, ("*" + "[0-9]" * 16 + "*",))
        return [id for id, metadata in rows if has_large_number(decode_metadata(metadata))]

    @property
    def exact_numbers(self) -> bool:
        """Whether every generation's table holds such numbers exactly. An earlier version rounded them."""
        return self._fact("exact_numbers") == 1

    def mark_exact_numbers(self) -> None:
        """They do from now on."""
        with self._transaction() as c:
            _set(c, "exact_numbers", 1)

    @property
    def closed_well(self) -> bool:
        """Whether the last process that wrote let go in order."""
        return self._fact("closed_well", 1) == 1

    def mark(self, *, closed_well: bool) -> None:
        """Say so, on disk."""
        with self._database.turn:
            self._database.sync(full=True)
            try:
                with self._transaction() as c:
                    _set(c, "closed_well", int(closed_well))
            finally:
                self._database.sync(full=False)

    def _fact(self, name: str, default: int = 0) -> int:
        row = self._reader.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return int(row[0]) if row else default


def open_documents(folder: Path, *, read_only: bool = False) -> tuple[Documents, bool]:
    """The index's documents, and whether they are begun anew: there were none, or none that can be read. What cannot
    be read is moved aside. DiskFull where there is no room for them; `read_only` needs none, and begins none anew."""
    path = folder / FILE
    anew = not path.exists()
    if anew and read_only:
        raise DiskFull(str(path), "it is not there, and there is no room to make it again from the journal")
    try:
        return _opened(folder, read_only), anew
    except sqlite3.OperationalError:  # busy, not allowed: not the file's fault
        raise
    except sqlite3.DatabaseError as error:
        if read_only:
            raise DiskFull(str(path), f"it cannot be read ({error}), and there is no room to make it again") from error
        log.warning("%s cannot be read (%s); it is moved aside and made again from the journal", path, error)
        for suffix in ("", "-wal", "-shm"):
            part = folder / f"{FILE}{suffix}"
            if part.exists():
                part.replace(folder / f"unreadable-{part.name}")
        return _opened(folder, read_only), True


def _opened(folder: Path, read_only: bool) -> Documents:
    documents = Documents(folder, read_only=read_only)
    try:
        documents.count()
        _ = documents.applied
    except BaseException:
        documents.close()
        raise
    return documents


def _set(c: sqlite3.Connection, name: str, value: int) -> None:
    c.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))


def _parts(ids: Sequence[str]) -> Iterator[list[str]]:
    for first in range(0, len(ids), FEW):
        yield list(ids[first : first + FEW])


def _marks(ids: Sequence[str]) -> str:
    return ", ".join("?" * len(ids))
