"""Opening an index: bring everything that is derived in line with its journal and its state.

After an orderly close only the numbers of rows are compared. After a crash, or where the documents had to be made
again, every row of every generation is compared with the documents (an audit): what is absent joins the backlog, and
what is superfluous becomes a tombstone. The reconciler then does that work.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from upsize.errors import DiskFull, Refused, UpsizeError
from upsize.index.documents import FILE, Documents
from upsize.index.journal import Journal
from upsize.index.state import Generation, State
from upsize.store import Store

log = logging.getLogger("upsize.index")


def open_documents(folder: Path, *, read_only: bool = False) -> tuple[Documents, bool]:
    """The documents of an index, and whether they are empty because there were none, or none that could be read.

    An unreadable file is moved aside. Raises DiskFull where the disk has no room for the documents; with `read_only`
    also where they would have to be made again.
    """
    path = folder / FILE
    recreated = not path.exists()
    if recreated and read_only:
        raise DiskFull(str(path), "it is not there, and there is no room to make it again from the journal")
    try:
        return _readable(folder, read_only), recreated
    except sqlite3.OperationalError:  # busy or not permitted: the file itself may be intact
        raise
    except sqlite3.DatabaseError as error:
        if read_only:
            raise DiskFull(str(path), f"it cannot be read ({error}), and there is no room to make it again") from error
        log.warning("%s cannot be read (%s); it is moved aside and made again from the journal", path, error)
        for suffix in ("", "-wal", "-shm"):
            part = folder / f"{FILE}{suffix}"
            if part.exists():
                part.replace(folder / f"unreadable-{part.name}")
        return _readable(folder, read_only), True


def _readable(folder: Path, read_only: bool) -> Documents:
    documents = Documents(folder, read_only=read_only)
    try:
        documents.count()
        _ = documents.applied
    except BaseException:
        documents.close()
        raise
    return documents


def recover(
    state: State,
    drop_unused: Callable[[tuple[Generation, ...]], State],
    documents: Documents,
    journal: Journal,
    store: Store,
    *,
    recreated: bool,
) -> bool:
    """Apply what the journal has beyond the documents, drop unused generations, and audit where that is necessary.

    `drop_unused` replaces the generations of the state on disk. `recreated`: the documents were made again. False
    where a generation could not be audited, so that the next opening has to do it.
    """
    if behind := documents.catch_up(journal):
        log.info("%s: %d entries of the journal were not in the documents yet", state.name, behind)
    if unused := [g for g in state.generations if g.id not in state.used]:
        # A crash came after a generation was made and before it was used.
        state = drop_unused(tuple(g for g in state.generations if g.id in state.used))
        log.info("%s: unused generations are dropped: %s", state.name, ", ".join(g.id for g in unused))
    for stray in documents.generations() - {g.id for g in state.generations}:
        try:
            store.drop(replace(state.table(state.serving), name=state.table_name(stray)))
        except Refused as error:  # objects of others depend on it; the next opening tries again
            log.warning("%s, generation %s: %s", state.name, stray, error)
            continue
        documents.drop_generation(stray)
    for generation in state.generations:
        documents.add_generation(generation.id)
    full_audit = recreated or not documents.closed_cleanly
    suspicious = [g for g in state.generations if full_audit or _count_differs(state, documents, store, g)]
    unaudited = [g for g in suspicious if not audit(state, documents, store, g)]
    documents.mark(closed_cleanly=False)
    return not unaudited


def log_unapplied(name: str, documents: Documents, journal: Journal) -> None:
    """Say how many entries an index that is open for reading only cannot apply."""
    if behind := journal.end - documents.applied:
        log.error("%s: the last %d entries of the journal are not applied yet", name, behind)


def _count_differs(state: State, documents: Documents, store: Store, generation: Generation) -> bool:
    """Whether a generation without backlog and tombstones holds another number of rows than there are documents."""
    if documents.is_incomplete(generation.id) or documents.tombstones(generation.id, 1):
        return False
    try:
        return store.count(state.table(generation)) != documents.count()
    except UpsizeError:
        return True


def audit(state: State, documents: Documents, store: Store, generation: Generation) -> bool:
    """Compare a generation's rows with the documents, and put differences into its backlog and tombstones.

    False, with an error in the log, where the table cannot be read.
    """
    table = state.table(generation)
    try:
        store.create(table)
        absent, superfluous = documents.audit(generation.id, store.committed_ids(table))
    except UpsizeError as error:
        log.error("%s, generation %s: %s", state.name, generation.id, error)
        return False
    if absent or superfluous:
        serving = absent and generation.id == state.active
        log.log(
            logging.WARNING if serving else logging.INFO,
            "%s, generation %s: %d vectors to make%s, %d to remove",
            state.name,
            generation.id,
            absent,
            ", whose documents no search finds until then" if serving else "",
            superfluous,
        )
    return True
