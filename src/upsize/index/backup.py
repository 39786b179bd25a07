"""Backups: copy an index while it is in use, and restore an index from a copy.

    DESTINATION/
      backup.json     index, time, number of journal entries, and number of vectors of each generation
      index.json      as the index's own
      journal/        every entry acknowledged before the backup started, and some of those written meanwhile
      vectors/        with vectors: one LanceDB table a generation, whatever the index's store is

The journal is copied last and only grows, so it has the text of every copied vector. When a restored index is opened,
an audit compares vectors and documents by (id, number): matching vectors are used, and the others are made again.
"""

from __future__ import annotations

import secrets
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import quote

import msgspec
import numpy as np

from upsize.errors import InvalidInput, Refused, UnknownIndex
from upsize.index import documents as docs
from upsize.index.creation import VECTORS, check_name
from upsize.index.disk import on_disk
from upsize.index.journal import Journal
from upsize.index.metadata import decode_metadata
from upsize.index.state import FILE, Generation, State, now, read_state, write_state
from upsize.store import Store, VectorRows, open_store
from upsize.store.opening import LANCEDB

JOURNAL = "journal"
MANIFEST = "backup.json"
BATCH = 1000
"""Vectors that are copied together (chosen)."""
TRIES = 3
"""Attempts, when a move changes the generations during the copy."""


@dataclass(frozen=True)
class Backup:
    """Contents of a backup."""

    index: str
    created: str
    entries: int
    """Journal entries."""
    vectors: dict[str, int]
    """Generation → vectors; empty without them."""


def back_up(folder: Path, destination: Path, *, with_vectors: bool = False) -> Backup:
    """Copy the index in `folder` to `destination`, which must not exist; it appears there only when it is complete.

    The index may be open in another process, and be written to. Without vectors the restored index embeds all its
    texts again. Raises UnknownIndex, InvalidInput for a destination that is there, DiskFull, JournalDamaged, Refused
    where a move changes the generations again and again, and what the store raises.
    """
    if not (folder / FILE).is_file():
        raise UnknownIndex(folder.name, sorted(p.parent.name for p in folder.parent.glob(f"*/{FILE}")), folder.parent)
    if destination.exists():
        raise InvalidInput(f"{destination} is there already. Name a folder that is not.", param="destination")
    coming = destination.with_name(f".{destination.name}.coming-{secrets.token_hex(4)}")
    with on_disk(destination):
        try:
            for _ in range(TRIES):
                shutil.rmtree(coming, ignore_errors=True)
                coming.mkdir(parents=True)
                if backup := _copy(folder, coming, with_vectors):
                    coming.rename(destination)
                    return backup
        finally:
            shutil.rmtree(coming, ignore_errors=True)
    raise Refused(f"The generations of {folder.name!r} changed while they were copied. Try again after the move.")


def _copy(folder: Path, to: Path, with_vectors: bool) -> Backup | None:
    """None where the generations changed during the copy."""
    state = read_state(folder)
    vectors = _copy_vectors(folder, state, to) if with_vectors else {}
    entries = _copy_journal(folder / JOURNAL, to / JOURNAL)
    if read_state(folder).generations != state.generations:
        return None
    write_state(to, state.replace(store=LANCEDB) if with_vectors else state)
    backup = Backup(state.name, now(), entries, vectors)
    (to / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(asdict(backup)), indent=2) + b"\n")
    return backup


def _copy_journal(journal: Path, to: Path) -> int:
    """Copy the segments, the last one as far as it is written; the number of entries, after reading each."""
    to.mkdir()
    for segment in sorted(journal.glob("[0-9a-f]*.log")):
        shutil.copyfile(segment, to / segment.name)
    with Journal(to) as copied:
        for torn in to.glob("torn-*"):  # an incomplete write
            torn.unlink()
        return sum(1 for _ in copied.read())


def _copy_vectors(folder: Path, state: State, to: Path) -> dict[str, int]:
    source, target = open_store(state.store, folder / VECTORS), open_store(LANCEDB, to / VECTORS)
    address = f"file:{quote(str(folder / docs.FILE))}?mode=rw"
    try:
        with closing(sqlite3.connect(address, uri=True, timeout=60)) as documents:
            return {g.id: _copy_table(source, target, state, g, documents) for g in state.generations}
    finally:
        source.close()
        target.close()


def _copy_table(source: Store, target: Store, state: State, generation: Generation, c: sqlite3.Connection) -> int:
    table, copied = state.table(generation), 0
    target.create(table)
    for ids in _chunks([id for id, _ in source.committed_ids(table)]):
        rows = source.vectors(table, ids)
        marks = ", ".join("?" * len(ids))
        texts = dict(c.execute(f"SELECT id, metadata FROM documents WHERE id IN ({marks})", ids))
        there = [id for id in ids if id in rows and id in texts]
        if there:
            vectors = np.stack([rows[id][1] for id in there])
            metadata = [decode_metadata(texts[id]) for id in there]
            target.upsert(table, VectorRows(there, [rows[id][0] for id in there], vectors, metadata))
            copied += len(there)
    target.optimize(table)
    target.flush(table)
    return copied


def _chunks(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for first in range(0, len(ids), BATCH):
        yield ids[first : first + BATCH]


def restore(source: Path, home: Path, name: str | None = None, store: str | None = None) -> State:
    """Make an index in `home` from a backup, or from a copy of an index's folder; its state.

    `name`: a new name. `store`: another store, for which all vectors are made again. The tables get new names, so that
    the index may exist beside the one that it is a copy of. Raises Refused where there is an index of the name,
    InvalidInput, UpsizeError for what is not a backup, JournalDamaged, DiskFull.
    """
    state = read_state(source) if (source / FILE).is_file() else None
    if state is None:
        raise InvalidInput(f"{source} is no backup of an index: it has no {FILE}.", param="source")
    name = name or state.name
    check_name(name)
    target = home / name
    if (target / FILE).is_file():
        raise Refused(f"There is an index {name!r} in {home} already. Choose another name, or drop it.")
    restored = state.replace(name=name, key=secrets.token_hex(3), store=store or state.store)
    coming = home / f".{name}.restoring-{secrets.token_hex(4)}"
    with on_disk(home):
        try:
            coming.mkdir(parents=True)
            shutil.copytree(source / JOURNAL, coming / JOURNAL, ignore=shutil.ignore_patterns("lock", "torn-*"))
            with Journal(coming / JOURNAL) as journal:
                sum(1 for _ in journal.read())
            for generation in state.generations if restored.store == LANCEDB else ():
                table = source / VECTORS / f"{state.table_name(generation.id)}.lance"
                if table.is_dir():
                    shutil.copytree(table, coming / VECTORS / f"{restored.table_name(generation.id)}.lance")
            write_state(coming, restored)
            if target.exists():  # left by a crash during a creation or a drop
                target.rename(home / f".{name}.left-{secrets.token_hex(4)}")
            coming.rename(target)
        finally:
            shutil.rmtree(coming, ignore_errors=True)
    return restored
