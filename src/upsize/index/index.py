"""Index: texts that can be searched, and moved to another model meanwhile.

    NAME/
      index.json          settings, the move, and which generation answers
      journal/            every write and delete, in order; everything below is derived from it
      documents.sqlite    current documents; backlog and tombstones of each generation
      vectors/            tables of the generations, where the store is a folder
      shadows.sqlite      shadow reads; if lost, new ones are collected

A write is embedded, appended to the journal, which makes it safe, applied to the documents, and then to the generation
that answers. The `Reconciler` brings the other generations up to date.

Lock order. A thread takes locks in this order only, and may leave any out:

    0  the lock of a name in `Indexes`  opening, creating or dropping one index
    1  `Index.exclusive_step`           one step of a move, or one change of the generations, at a time
    2  `Index.paused_writes`            one writer of the journal at a time
    3  `Reconciler.step`                one step of the reconciler at a time
    4  `Reconciler.backfill_paused`     one thread embeds a backlog at a time
    5  `Generations.exclusive_writes`   one writer of a generation's table at a time
    6  `Index.change`                   one change of index.json at a time
    7  locks inside Journal, Database, Shadows and ModelPool, each held for one call, which takes none of the above

A search takes only those of 7.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import msgspec

from upsize.engine import Priority
from upsize.errors import (
    DiskFull,
    Refused,
    StoreFull,
    UpsizeError,
)
from upsize.fingerprint import Fingerprint
from upsize.index.bisection import CANNOT
from upsize.index.coverage import UncommittedWrites
from upsize.index.creation import VECTORS, VectorSpec, new_generation
from upsize.index.disk import has_room, on_disk, require_room, shortage
from upsize.index.documents import Document
from upsize.index.follow_ups import FollowUps
from upsize.index.generations import Generations
from upsize.index.journal import Delete, Entry, Journal, Upsert
from upsize.index.models import ModelPool
from upsize.index.reconciler import Reconciler
from upsize.index.recovery import log_unapplied, open_documents, recover
from upsize.index.renewal import log_renewal, renewed_generations
from upsize.index.search import Searcher
from upsize.index.shadow_reads import Shadows
from upsize.index.state import FILE, Generation, State, read_state, write_state
from upsize.index.status import generation_status
from upsize.index.types import SearchRequest, SearchResult
from upsize.index.writes import DocumentWrite, WriteResult, check, locate_error, same
from upsize.store import ANY_STORE, Credentials, open_store

log = logging.getLogger("upsize.index")

JOURNAL = "journal"
ROW_BYTES = 1024
"""Bytes that a document takes beside its text, for the check that the disk has room (chosen, generous)."""
BACKLOG_ROW_BYTES = 384
"""Bytes that a document of a new generation's backlog takes in the database and its log (chosen, generous)."""
STOP_SECONDS = 10.0
"""Seconds that `stop_background` waits for a thread before it closes the store, on which the thread may wait."""
RECHECK_SECONDS = 5.0
"""Seconds between two checks whether an index that is open for reading only can be opened for writing."""


class Index:
    """One index, opened for reading and writing by this process alone. Thread-safe; `with` closes it.

    Raises JournalLocked where another process has it open, JournalDamaged, and UpsizeError for an unreadable state.
    """

    def __init__(
        self, folder: Path, models: ModelPool, *, background: bool = True, credentials: Credentials = ANY_STORE
    ) -> None:
        self.folder, self.models = folder, models
        self._state = read_state(folder)
        self._stepping, self._writing, self._changing = threading.RLock(), threading.RLock(), threading.RLock()
        self._closed = False
        self.read_only: str | None = None
        """Why nothing can be written, where the disk is full; searches work."""
        try:
            self._open(credentials)
        except (DiskFull, StoreFull) as error:
            self.read_only = str(error)
            log.error("%s is opened for reading only: %s", self.name, error)
            self._open(credentials)
        if background and not self.read_only:
            self.reconciler.thread.start()
            self.follow_ups.thread.start()

    def _open(self, credentials: Credentials) -> None:
        read_only = self.read_only is not None
        self._checked = time.monotonic()
        with contextlib.ExitStack() as opened:
            self.journal = opened.enter_context(Journal(self.folder / JOURNAL, read_only=read_only))
            self.documents, recreated = open_documents(self.folder, read_only=read_only)
            opened.callback(self.documents.close)
            self._uncommitted = UncommittedWrites(self.documents)
            with on_disk(self.folder / VECTORS):
                self.store = open_store(self._state.store, self.folder / VECTORS, credentials)
            opened.callback(self.store.close)
            self.shadows = Shadows(None if read_only else self.folder)
            opened.callback(self.shadows.close)
            self.generations = Generations(lambda: self._state, self.documents, self.store, self.models)
            self.searcher = Searcher(
                lambda: self._state, self.documents, self.store, self.models, self._uncommitted.unsearchable
            )
            self.models.on_renewal(self._state.name, self._renew_fingerprint)
            opened.callback(self.models.on_renewal, self._state.name, None)
            if read_only:
                log_unapplied(self.name, self.documents, self.journal)
            else:
                self._consistent = recover(
                    self._state,
                    lambda generations: self.change(generations=generations),
                    self.documents,
                    self.journal,
                    self.store,
                    recreated=recreated,
                )
            self.reconciler = Reconciler(lambda: self._state, self.store, self.generations)
            self.follow_ups = FollowUps(
                lambda: self._state, self.documents, self.store, self.generations, self.shadows, self.searcher.search
            )
            self._opened = opened.pop_all()

    def can_reopen_for_writing(self) -> bool:
        """Whether it is open for reading only and the disk has room again, checked every RECHECK_SECONDS."""
        if self.read_only is None or time.monotonic() < self._checked + RECHECK_SECONDS:
            return False
        self._checked = time.monotonic()
        return has_room(self.folder)

    def require_writable(self) -> None:
        """Raise DiskFull where it is open for reading only."""
        if self.read_only:
            raise DiskFull(str(self.folder), f"the index {self.name!r} is open for reading only ({self.read_only})")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def name(self) -> str:
        """Name of the index."""
        return self._state.name

    @property
    def state(self) -> State:
        """The current settings, immutable."""
        return self._state

    def change(self, **changes: Any) -> State:
        """Change the state, on disk first. Raises DiskFull, with nothing changed, where the disk does not take it."""
        self.require_writable()
        with self._changing:
            state = self._state.replace(**changes)
            write_state(self.folder, state)
            self._state = state
            return state

    @contextlib.contextmanager
    def exclusive_step(self) -> Iterator[None]:
        """While the context is open, no other thread takes a step of a move, or adds or drops a generation."""
        with self._stepping:
            yield

    def _renew_fingerprint(self, generation: Generation, fingerprint: Fingerprint) -> None:
        with self._changing:
            if generation not in self._state.generations:  # renewed already, or dropped
                return
            generations = renewed_generations(self._state, generation, fingerprint)
            try:
                self.change(generations=generations)
            except (OSError, DiskFull) as error:
                log.warning("%s: %s cannot be written, so the next start renews again: %s", self.name, FILE, error)
                self._state = self._state.replace(generations=generations)
        log_renewal(self.name, generation, fingerprint)

    @contextlib.contextmanager
    def paused_writes(self) -> Iterator[None]:
        """While the context is open, no other thread writes to the journal."""
        with self._writing:
            yield

    def stop_background(self) -> None:
        """Stop the threads after their current work. Closes the store if a thread does not stop within STOP_SECONDS."""
        self.reconciler.request_stop()
        self.follow_ups.request_stop()
        for thread in (self.reconciler.thread, self.follow_ups.thread):
            if thread.is_alive():
                thread.join(STOP_SECONDS)
                if thread.is_alive():
                    self.store.close()
                    thread.join()
        self.follow_ups.flush()

    def close(self) -> None:
        """Stop the threads and release the folder. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        with self._opened:
            self.stop_background()
            self.models.release(self.name)
            if self.read_only:
                return
            try:
                with self._writing, on_disk(self.folder):
                    for generation in self._state.generations:
                        self.store.flush(self._state.table(generation))
                    self.documents.mark(closed_cleanly=self._consistent)
            except DiskFull as error:  # the next opening audits the generations
                log.warning("%s: %s", self.name, error)

    # writing

    def add(
        self,
        documents: Sequence[DocumentWrite],
        priority: Priority = Priority.INTERACTIVE,
        *,
        keep_vectors: bool = False,
    ) -> WriteResult:
        """Write documents. On return they are on disk, and searches find them.

        All or none. Raises InvalidInput (`index` is the place of the one that is wrong), TextTooLong, JournalFailed,
        DiskFull.
        `keep_vectors`: metadata may hold vectors, which are plain metadata then.
        """
        check(documents, keep_vectors=keep_vectors)
        known = self.documents.get([d.id for d in documents])
        changed = [d for d in documents if not same(known.get(d.id), d)]
        if not changed:
            return WriteResult(0, 0, len(documents))
        self.require_writable()
        # Three copies: in the journal, in the documents and in SQLite's log.
        require_room(self.folder, 3 * sum(len(d.text.encode()) + ROW_BYTES for d in changed))
        serving = self._state.serving
        name = self.models.of(serving, self.name)
        texts = [d.text for d in changed]
        future = self.models.start(name, texts, serving.dimension, priority=priority, truncate=self._state.truncate)
        try:
            vectors = future.result().values
        except CANNOT as error:
            raise locate_error(error, documents, changed) from None
        with self._uncommitted.count(len(changed)):
            with self._writing:
                first = self._append([Upsert(d.id, d.text, d.metadata) for d in changed])
            standing = [Document(d.id, first + i, d.text, d.metadata) for i, d in enumerate(changed)]
            committed = self.try_or_retry_later(lambda: self.generations.write_vectors(serving, standing, vectors))
            if (now := self._state.serving).id != serving.id:  # a switch happened while the texts were embedded
                committed &= self.try_or_retry_later(lambda: self.generations.embed_and_write(now, standing, priority))
        self.reconciler.wake()
        updated = sum(d.id in known for d in changed)
        pending = 0 if committed else len(changed)
        return WriteResult(len(changed) - updated, updated, len(documents) - len(changed), pending)

    def _append(self, entries: Sequence[Entry]) -> int:
        """Append to the journal and apply to the documents, or neither. The caller holds `paused_writes`."""
        if self.documents.applied != self.journal.end:  # an earlier call could not withdraw its entries
            self.documents.catch_up(self.journal)
        first = self.journal.append(entries)
        try:
            self.documents.apply(first, entries)
        except BaseException:
            self.journal.withdraw(first)
            raise
        return first

    def delete(self, ids: Sequence[str]) -> list[str]:
        """Delete documents; the ids that were found. On return the deletion is on disk, and no search finds them."""
        self.require_writable()
        with self._writing:
            there = sorted(self.documents.numbers(list(dict.fromkeys(ids))))
            if there:
                self._append([Delete(id) for id in there])
        if there:
            self.try_or_retry_later(lambda: self.generations.apply_tombstones(self._state.serving))
            self.reconciler.wake()
        return there

    def try_or_retry_later(self, work: Callable[[], object]) -> bool:
        """Do what follows from an acknowledged write or a switch; whether it succeeded. Where the store fails, the
        error is logged, and the reconciler does the work later."""
        try:
            work()
        except UpsizeError as error:
            if str(error) != self.reconciler.trouble:
                log.error("%s: %s", self.name, error)
            self.reconciler.trouble = str(error)
            return False
        return True

    # reading

    def search(self, request: SearchRequest) -> SearchResult:
        """The documents nearest to a query: see `SearchRequest`."""
        result = self.searcher.search(request)
        if not self.read_only:
            self.follow_ups.record(request, result)
        return result

    def get(self, ids: Sequence[str]) -> dict[str, Document]:
        """Current documents by their ids; unknown ids are left out."""
        return self.documents.get(ids)

    def status(self) -> dict[str, Any]:
        """Its settings, its generations with their backlogs, and what is wrong, as plain values."""
        state = self._state
        read_only = self.read_only or shortage(self.folder)
        return {
            "name": state.name,
            "documents": self.documents.count(),
            "written": self.journal.end,
            "store": self.store.kind,
            "active": state.active,
            "generations": [generation_status(state, self.documents, self.store, g) for g in state.generations],
            "rerank": msgspec.to_builtins(state.rerank),
            "rescore": msgspec.to_builtins(state.rescore),
            "funnel": state.funnel,
            "trouble": self.reconciler.trouble or read_only,
            "read_only": read_only,
        }

    # settings

    def require_room_for_backlog(self) -> None:
        """Raise DiskFull unless the disk has room for a backlog of every document, and for the reserve for deletes."""
        with on_disk(self.folder):
            require_room(self.folder, BACKLOG_ROW_BYTES * self.documents.approximate_count())

    def add_generation(self, wanted: VectorSpec) -> Generation:
        """Add an empty generation, which the caller puts to use. Raises Refused where one has the same fingerprint."""
        with self.exclusive_step():
            state = self._state
            generation = new_generation(self.models, self.store, f"g{state.next_generation}", wanted, self.name)
            if twin := next((g for g in state.generations if g.fingerprint == generation.fingerprint), None):
                raise Refused(
                    f"{wanted.model} at {generation.dimension} dimensions is what generation {twin.id} of "
                    f"{self.name!r} holds already."
                )
            self.require_writable()
            self.require_room_for_backlog()
            table = state.table(generation)
            self.store.drop(table)  # left by an attempt that a crash interrupted
            self.store.create(table)
            # Documents first: a generation of the state that they do not know would look complete.
            self.documents.add_generation(generation.id)
            self.change(generations=(*state.generations, generation), next_generation=state.next_generation + 1)
            return generation

    def drop_generation(self, generation: Generation, **changes: Any) -> None:
        """Remove a generation, together with the changes of the state after which nothing uses it."""
        with self.generations.exclusive_writes(generation):
            table = self._state.table(generation)
            self.change(generations=tuple(g for g in self._state.generations if g.id != generation.id), **changes)
        # It is gone from here on. The next opening removes what cannot be removed now.
        self.release_models()

        def drop() -> None:
            self.reconciler.publish_alias()
            self.store.drop(table)
            self.documents.drop_generation(generation.id)

        self.try_or_retry_later(drop)

    def release_models(self) -> None:
        """Release models that neither a generation nor the reranker of the state needs."""
        state = self._state
        self.models.release(self.name, state.generations, [state.rerank.model] if state.rerank else [])

    def rebuild(self, wanted: str | None = None) -> Generation:
        """Embed all texts of a generation again. Default: the one that answers."""
        generation = self._state.generation(wanted or self._state.active)
        table = self._state.table(generation)
        self.require_writable()
        self.require_room_for_backlog()
        with self.generations.exclusive_writes(generation):
            self.documents.requeue_all(generation.id)  # first: vectors lost without a backlog would never be made
            self.store.drop(table)
            self.store.create(table)
            self._consistent = True
        self.reconciler.wake()
        return generation
