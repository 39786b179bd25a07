"""Indexes: all indexes of one folder. Each is opened at its first use and stays open."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from upsize.errors import (
    JournalLocked,
    Refused,
    StoreDamaged,
    StoreUnavailable,
    Unavailable,
    UnknownIndex,
    UpsizeError,
)
from upsize.folders import data_folder
from upsize.index.creation import NAME, VECTORS, Setup, check_name, create_index
from upsize.index.disk import on_disk
from upsize.index.index import Index
from upsize.index.models import ModelPool
from upsize.index.state import FILE, State, read_state
from upsize.store import ANY_STORE, Credentials, Store, open_store

log = logging.getLogger("upsize.index")

VARIABLE = "UPSIZE_INDEXES"
"""Environment variable that names another folder for indexes."""
WAITING = 6
"""Threads that may wait while one index is opened; further ones get Unavailable (chosen)."""


def home() -> Path:
    """Folder of the indexes: `UPSIZE_INDEXES`, or `upsize/indexes` in the user's data folder."""
    own = os.environ.get(VARIABLE)
    return Path(own) if own else data_folder() / "indexes"


class Indexes:
    """The indexes of a folder. Thread-safe; opening one does not delay the others."""

    def __init__(
        self, folder: Path, models: ModelPool, *, background: bool = True, credentials: Credentials = ANY_STORE
    ) -> None:
        """`background`: run the reconciler of each index. `credentials`: what stores may be sent."""
        self.folder, self.models, self._background, self._credentials = folder, models, background, credentials
        self._logged: dict[str, str] = {}
        self._open: dict[str, Index] = {}
        self._locks: dict[str, threading.RLock] = defaultdict(threading.RLock)
        self._waiting_slots: dict[str, threading.Semaphore] = defaultdict(lambda: threading.Semaphore(WAITING))

    def names(self) -> list[str]:
        """Names of the indexes in the folder, sorted."""
        return sorted(p.parent.name for p in self.folder.glob(f"[A-Za-z]*/{FILE}"))

    def opened(self) -> list[Index]:
        """The indexes that are open."""
        return list(self._open.values())

    def get(self, name: str) -> Index:
        """The index, opened if necessary. Raises UnknownIndex, and what opening it raises."""
        index = self._open.get(name)
        if index is not None and not index.journal.failed and not index.can_reopen_for_writing():
            return index
        again = index
        if not self._exists(name):
            raise UnknownIndex(name, self.names(), self.folder)
        with self._exclusive(name):
            index = self._open.get(name)
            if index is not None and index is again:
                log.warning("%s: %s; the index is opened again", name, index.read_only or "the journal failed")
                self._open.pop(name).close()
            if name not in self._open:
                if not self._exists(name):  # dropped meanwhile
                    raise UnknownIndex(name, self.names(), self.folder)
                self._open[name] = Index(
                    self.folder / name, self.models, background=self._background, credentials=self._credentials
                )
            return self._open[name]

    @contextmanager
    def _exclusive(self, name: str) -> Iterator[None]:
        """While the context is open, no other thread opens, creates or drops this index. Raises Unavailable where
        WAITING threads wait already: an index whose store does not answer must not occupy all threads."""
        slots = self._waiting_slots[name]
        if not slots.acquire(blocking=False):
            raise Unavailable(f"The index {name!r} is being opened, and several requests wait for it. Try again.")
        try:
            with self._locks[name]:
                yield
        finally:
            slots.release()

    def create(self, setup: Setup) -> Index:
        """Create an index. Raises Refused where its name is taken, InvalidInput for a name that is not allowed."""
        name = setup.name
        check_name(name)
        with self._locks[name]:
            if self._exists(name):
                raise Refused(
                    f"There is an index {name!r} in {self.folder} already. Choose another name, or drop it: "
                    f"upsize index drop {name}."
                )
            create_index(self.folder / name, self.models, setup, self._credentials)
            return self.get(name)

    def drop(self, name: str, *, force: bool = False) -> None:
        """Remove an index with its texts, even one that cannot be opened, unless another process has it open.

        Raises Refused, with nothing removed, where its store does not answer or objects of others depend on its
        tables; `force` leaves those tables where they are.
        """
        if not self._exists(name):
            raise UnknownIndex(name, self.names(), self.folder)
        with self._locks[name]:
            try:
                self._drop_tables(name)
            except JournalLocked:
                raise
            except UpsizeError as error:
                if not force and isinstance(error, StoreUnavailable | StoreDamaged):
                    raise Refused(
                        f"{error} The index {name!r} was not dropped. To drop it and leave its tables there: upsize "
                        f"index drop {name} --force."
                    ) from None
                if not force:
                    raise
                log.warning("%s: its tables were left where they are: %s", name, error)
            with on_disk(self.folder):
                gone = (self.folder / name).rename(self.folder / f".{name}.dropped-{secrets.token_hex(4)}")
        shutil.rmtree(gone)

    def _drop_tables(self, name: str) -> None:
        """Close the index and remove its tables from the store."""
        try:
            index = self.get(name)
        except (JournalLocked, StoreUnavailable):
            raise
        except UpsizeError as error:
            log.warning("%s is dropped without being opened: %s", name, error)
            try:
                _remove_unopened(self.folder / name, self._credentials)
            except (Refused, StoreUnavailable, StoreDamaged):
                raise
            except UpsizeError as reason:  # not even its state is readable
                log.warning("%s: its tables, if there are any, were left where they are: %s", name, reason)
            return
        index.stop_background()
        try:
            _remove(index.store, index.state)
        finally:  # one that is not dropped is opened again at its next use
            index.close()
            self._open.pop(name, None)

    def open_all(self) -> list[str]:
        """Open every index, so that their reconcilers continue. Returns the names of those that cannot be opened, and
        logs each error once."""
        failed = []
        for name in self.names():
            try:
                if self.get(name).read_only:
                    failed.append(name)
            except Exception as error:
                failed.append(name)
                if self._logged.get(name) != str(error):
                    log.error("%s: %s", name, error, exc_info=not isinstance(error, UpsizeError))
                    self._logged[name] = str(error)
        return failed

    def close(self) -> None:
        """Close the open indexes."""
        for name in list(self._open):
            with self._locks[name]:
                try:
                    self._open.pop(name).close()
                except Exception:  # the others must be closed too
                    log.exception("%s was not closed in order", name)

    def _exists(self, name: str) -> bool:
        return bool(NAME.fullmatch(name)) and (self.folder / name / FILE).is_file()


def _remove(store: Store, state: State) -> None:
    store.remove(state.name, [state.table(generation) for generation in state.generations], state.tables)


def _remove_unopened(folder: Path, credentials: Credentials) -> None:
    state = read_state(folder)
    store = open_store(state.store, folder / VECTORS, credentials)
    try:
        _remove(store, state)
    finally:
        store.close()
