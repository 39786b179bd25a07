"""Indexes: those of one folder, each opened when it is first wanted and kept open."""

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
"""Names another folder for indexes."""
WAITING = 6
"""Threads that may wait for one index to be opened."""


def home() -> Path:
    """Where indexes lie: `UPSIZE_INDEXES`, or `upsize/indexes` in the user's data folder."""
    own = os.environ.get(VARIABLE)
    return Path(own) if own else data_folder() / "indexes"


class Indexes:
    """The indexes of a folder. Thread-safe; opening one keeps nobody from another."""

    def __init__(
        self, folder: Path, models: ModelPool, *, background: bool = True, credentials: Credentials = ANY_STORE
    ) -> None:
        """`background`: whether generations are filled beside the answers. `credentials`: what stores may be sent."""
        self.folder, self.models, self._background, self._credentials = folder, models, background, credentials
        self._said: dict[str, str] = {}
        self._open: dict[str, Index] = {}
        self._turns: dict[str, threading.RLock] = defaultdict(threading.RLock)
        self._places: dict[str, threading.Semaphore] = defaultdict(lambda: threading.Semaphore(WAITING))

    def names(self) -> list[str]:
        """Of those that are there."""
        return sorted(p.parent.name for p in self.folder.glob(f"[A-Za-z]*/{FILE}"))

    def opened(self) -> list[Index]:
        """Those that are open now."""
        return list(self._open.values())

    def get(self, name: str) -> Index:
        """The index; UnknownIndex, or what opening it raises."""
        index = self._open.get(name)
        if index is not None and not index.journal.failed and not index.can_reopen_for_writing():
            return index
        again = index
        if not self._there(name):
            raise UnknownIndex(name, self.names(), self.folder)
        with self._turn(name):
            index = self._open.get(name)
            if index is not None and index is again:
                log.warning("%s: %s; the index is opened again", name, index.read_only or "the journal failed")
                self._open.pop(name).close()
            if name not in self._open:
                if not self._there(name):  # dropped meanwhile
                    raise UnknownIndex(name, self.names(), self.folder)
                self._open[name] = Index(
                    self.folder / name, self.models, background=self._background, credentials=self._credentials
                )
            return self._open[name]

    @contextmanager
    def _turn(self, name: str) -> Iterator[None]:
        """Alone with an index that is being opened, made or dropped. Unavailable where several wait already: one whose
        store does not answer must not hold all threads."""
        places = self._places[name]
        if not places.acquire(blocking=False):
            raise Unavailable(f"The index {name!r} is being opened, and several requests wait for it. Try again.")
        try:
            with self._turns[name]:
                yield
        finally:
            places.release()

    def create(self, setup: Setup) -> Index:
        """A new index; Refused where there is one of that name, InvalidInput for a name that cannot be one."""
        name = setup.name
        check_name(name)
        with self._turns[name]:
            if self._there(name):
                raise Refused(
                    f"There is an index {name!r} in {self.folder} already. Choose another name, or drop it: "
                    f"upsize index drop {name}."
                )
            create_index(self.folder / name, self.models, setup, self._credentials)
            return self.get(name)

    def drop(self, name: str, *, force: bool = False) -> None:
        """Remove an index, its texts included; one that cannot be opened too, unless another process has it.

        Refused, with nothing removed, where its store does not answer, or others' objects depend on its tables; with
        `force` these are left where they are.
        """
        if not self._there(name):
            raise UnknownIndex(name, self.names(), self.folder)
        with self._turns[name]:
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
        """Close the index and remove what its store holds of it."""
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
            except UpsizeError as reason:  # not even its state can be read
                log.warning("%s: its tables, if there are any, were left where they are: %s", name, reason)
            return
        index.stop_background()
        try:
            _remove(index.store, index.state)
        finally:  # one that is not dropped is opened again when it is wanted
            index.close()
            self._open.pop(name, None)

    def open_all(self) -> list[str]:
        """Open every index, so that what was left undone in them goes on. What cannot be opened is said, once, and
        given."""
        failed = []
        for name in self.names():
            try:
                if self.get(name).read_only:
                    failed.append(name)
            except Exception as error:
                failed.append(name)
                if self._said.get(name) != str(error):
                    log.error("%s: %s", name, error, exc_info=not isinstance(error, UpsizeError))
                    self._said[name] = str(error)
        return failed

    def close(self) -> None:
        """Close those that are open."""
        for name in list(self._open):
            with self._turns[name]:
                try:
                    self._open.pop(name).close()
                except Exception:  # the others are to be closed all the same
                    log.exception("%s was not closed in order", name)

    def _there(self, name: str) -> bool:
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
