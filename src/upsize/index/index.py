"""Index: texts that can be searched, and moved to another model while they are.

    NAME/
      index.json          what it is set to, and which generation answers
      journal/            what was written and deleted; everything below is made from it
      documents.sqlite    the documents as they stand, and what each generation lacks
      vectors/            the generations' tables, where the store is a folder
      shadows.sqlite      searches that were compared; lost, they are collected again

A write is embedded, then put into the journal, which acknowledges it, then into the documents and the generation that
answers. Other generations follow by themselves (`Reconciler`).
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import msgspec

from upsize.engine import Priority
from upsize.errors import (
    DiskFull,
    InvalidInput,
    NonFiniteVector,
    Refused,
    RequestTooLarge,
    StoreFull,
    TextTooLong,
    UpsizeError,
)
from upsize.fingerprint import Fingerprint
from upsize.index.bisection import CANNOT
from upsize.index.creation import VECTORS, VectorSpec, new_generation
from upsize.index.disk import has_room, on_disk, require_room, shortage
from upsize.index.documents import Document, open_documents
from upsize.index.follow_ups import FollowUps
from upsize.index.generations import Generations
from upsize.index.journal import Delete, Entry, Journal, Upsert
from upsize.index.models import ModelPool
from upsize.index.reconciler import Reconciler
from upsize.index.search import Searcher
from upsize.index.shadow_reads import Shadows
from upsize.index.state import FILE, Generation, State, describe, read_state, write_state
from upsize.index.types import SearchRequest, SearchResult
from upsize.index.writes import DocumentWrite, WriteResult, check, same
from upsize.store import ANY_STORE, Credentials, open_store

log = logging.getLogger("upsize.index")

JOURNAL = "journal"
COUNTED = 10_000
"""Documents without a vector, up to which every search counts them."""
ROW = 1024
"""Bytes of a document beside its text, for the look whether there is room."""
ENTRY = 384
"""Bytes for each document that a new generation takes in the documents' database and its log, before any vector."""
STOP_SECONDS = 10.0
"""Seconds that the end waits for the threads before it closes the store under them."""
LOOK_AGAIN = 5.0
"""Seconds after which an index that is open for reading only is looked at again."""


class Index:
    """One index, opened for reading and writing by this process alone. Thread-safe; `with` closes it.

    Raises JournalLocked where another process has it, JournalDamaged, UpsizeError for a state it cannot read.
    """

    def __init__(
        self, folder: Path, models: ModelPool, *, background: bool = True, credentials: Credentials = ANY_STORE
    ) -> None:
        self.folder, self.models = folder, models
        self._state = read_state(folder)
        self._stepping, self._writing, self._changing = threading.RLock(), threading.RLock(), threading.RLock()
        self._closed = False
        self._counting, self._placing = threading.Lock(), 0
        self.read_only: str | None = None
        """Why nothing can be written, where the disk has no room for it; searches work all the same."""
        self._look_again = 0.0
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
        self._look_again = time.monotonic() + LOOK_AGAIN
        with contextlib.ExitStack() as opened:
            self.journal = opened.enter_context(Journal(self.folder / JOURNAL, read_only=read_only))
            self.documents, self._anew = open_documents(self.folder, read_only=read_only)
            opened.callback(self.documents.close)
            with on_disk(self.folder / VECTORS):
                self.store = open_store(self._state.store, self.folder / VECTORS, credentials)
            opened.callback(self.store.close)
            self.shadows = Shadows(None if read_only else self.folder)
            opened.callback(self.shadows.close)
            self.generations = Generations(lambda: self._state, self.documents, self.store, self.models)
            self.searcher = Searcher(lambda: self._state, self.documents, self.store, self.models, self.lacks)
            self.models.on_renewal(self._state.name, self._renew)
            opened.callback(self.models.on_renewal, self._state.name, None)
            if read_only:
                self._tell_behind()
            else:
                self._recover()
            self.reconciler = Reconciler(lambda: self._state, self.store, self.generations)
            self.follow_ups = FollowUps(
                lambda: self._state,
                self.documents,
                self.store,
                self.generations,
                self.shadows,
                self.searcher.search,
            )
            self._opened = opened.pop_all()

    def _tell_behind(self) -> None:
        if behind := self.journal.end - self.documents.applied:
            log.error("%s: the last %d entries of the journal cannot be read in yet", self.name, behind)

    def may_write_again(self) -> bool:
        """Whether it is open for reading only and there is room again: open it anew. Looked at every LOOK_AGAIN
        seconds."""
        if self.read_only is None or time.monotonic() < self._look_again:
            return False
        self._look_again = time.monotonic() + LOOK_AGAIN
        return has_room(self.folder)

    def require_writable(self) -> None:
        """DiskFull where it is open for reading only."""
        if self.read_only:
            raise DiskFull(str(self.folder), f"the index {self.name!r} is open for reading only ({self.read_only})")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def name(self) -> str:
        """What it is called."""
        return self._state.name

    @property
    def state(self) -> State:
        """What it is set to now."""
        return self._state

    def change(self, **changes: Any) -> State:
        """Change the state, on disk first. DiskFull where it does not take it, and nothing is changed."""
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

    def _renew(self, generation: Generation, fingerprint: Fingerprint) -> None:
        """Replace a fingerprint that a version before made of samples of the weights by the one of all bytes."""
        with self._changing:
            if generation not in self._state.generations:  # done already, or dropped
                return
            renewed = msgspec.structs.replace(
                generation, fingerprint=fingerprint, former_fingerprint=generation.fingerprint.id
            )
            generations = tuple(renewed if g == generation else g for g in self._state.generations)
            try:
                self.change(generations=generations)
            except (OSError, DiskFull) as error:
                log.warning(
                    "%s: %s cannot be written, so this is done at the next start again: %s", self.name, FILE, error
                )
                self._state = self._state.replace(generations=generations)
        log.warning(
            "%s, generation %s: its fingerprint %s was of samples of the weights of %s, which are those at hand; it is "
            "%s now, of all bytes. If the model's files have changed since the vectors were made, make them again: "
            "upsize index rebuild %s",
            self.name,
            generation.id,
            generation.fingerprint.id,
            generation.model,
            fingerprint.id,
            self.name,
        )

    @contextlib.contextmanager
    def paused_writes(self) -> Iterator[None]:
        """While the context is open, no other thread writes to the journal."""
        with self._writing:
            yield

    def stop_background(self) -> None:
        """Stop the threads after the work that they are at; a store that keeps one for STOP_SECONDS is closed."""
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
        """Stop what runs beside, and let go of the folder. A second time does nothing."""
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
                    self.documents.mark(closed_well=self._sound)
            except DiskFull as error:  # what is derived is looked through when it is opened again
                log.warning("%s: %s", self.name, error)

    def _recover(self) -> None:
        """Bring what is derived in step with the journal and the state."""
        behind = self.documents.catch_up(self.journal)
        if behind:
            log.info("%s: %d entries of the journal were not in the documents yet", self.name, behind)
        state = self._state
        if spare := [g for g in state.generations if g.id not in state.used]:
            # A crash came between the making of a generation and its use.
            state = self.change(generations=tuple(g for g in state.generations if g.id in state.used))
            log.info("%s: generations that nothing uses are dropped: %s", self.name, ", ".join(g.id for g in spare))
        for stray in self.documents.generations() - {g.id for g in state.generations}:
            try:
                self.store.drop(replace(state.table(state.serving), name=state.table_name(stray)))
            except Refused as error:  # others' objects depend on it; tried again when the index is next opened
                log.warning("%s, generation %s: %s", self.name, stray, error)
                continue
            self.documents.drop_generation(stray)
        for generation in state.generations:
            self.documents.add_generation(generation.id)
        unsure = self._anew or not self.documents.closed_well
        self._sound = not [g for g in state.generations if (unsure or self._differs(g)) and not self.audit(g)]
        self.documents.mark(closed_well=False)

    def _differs(self, generation: Generation) -> bool:
        """Whether the store does not hold as many rows as it should: the cheap look after an orderly close."""
        if self.documents.lacks(generation.id) or self.documents.tombstones(generation.id, 1):
            return False  # what is to be done there is known
        try:
            return self.store.count(self._state.table(generation)) != self.documents.count()
        except UpsizeError:
            return True

    def audit(self, generation: Generation) -> bool:
        """Hold a generation's rows against the documents; what differs is put right by and by. False where the table
        cannot be read, which is said: it is looked at again when the index is opened again."""
        table = self._state.table(generation)
        try:
            self.store.create(table)
            lacking, spare = self.documents.audit(generation.id, self.store.committed_ids(table))
        except UpsizeError as error:
            log.error("%s, generation %s: %s", self.name, generation.id, error)
            return False
        if lacking or spare:
            unfound = lacking and generation.id == self._state.active
            log.log(
                logging.WARNING if unfound else logging.INFO,
                "%s, generation %s: %d vectors to make%s, %d to remove",
                self.name,
                generation.id,
                lacking,
                ", whose documents no search finds until then" if unfound else "",
                spare,
            )
        return True

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
        # In the journal, in the documents and in SQLite's log.
        require_room(self.folder, 3 * sum(len(d.text.encode()) + ROW for d in changed))
        serving = self._state.serving
        name = self.models.of(serving, self.name)
        texts = [d.text for d in changed]
        future = self.models.start(name, texts, serving.dimension, priority=priority, truncate=self._state.truncate)
        try:
            vectors = future.result().values
        except CANNOT as error:
            raise _named(error, documents, changed) from None
        with self._under_way(len(changed)):
            with self._writing:
                first = self._append([Upsert(d.id, d.text, d.metadata) for d in changed])
            standing = [Document(d.id, first + i, d.text, d.metadata) for i, d in enumerate(changed)]
            placed = self.beside_the_answer(lambda: self.generations.place(serving, standing, vectors))
            if (now := self._state.serving).id != serving.id:  # the pointer has moved while the texts were embedded
                placed &= self.beside_the_answer(lambda: self.generations.put(now, standing, priority))
        self.reconciler.wake()
        updated = sum(d.id in known for d in changed)
        pending = 0 if placed else len(changed)
        return WriteResult(len(changed) - updated, updated, len(documents) - len(changed), pending)

    @contextlib.contextmanager
    def _under_way(self, number: int) -> Iterator[None]:
        with self._counting:
            self._placing += number
        try:
            yield
        finally:
            with self._counting:
                self._placing -= number

    def lacks(self, generation: Generation) -> tuple[int, int]:
        """Documents that searches of a generation do not find: still to be embedded (COUNTED at most; without those of
        writes that have not been acknowledged yet), and refused by its model."""
        before = self._placing
        missing = self.documents.missing_count(generation.id, COUNTED + before)
        placing = max(before, self._placing)  # a write may begin or end meanwhile
        return max(missing - placing, 0), self.documents.refused(generation.id, 0)[0]

    def _append(self, entries: Sequence[Entry]) -> int:
        """To the journal and to the documents, or to neither. Needs the writing."""
        if self.documents.applied != self.journal.end:  # of a journal that could not be brought back
            self.documents.catch_up(self.journal)
        first = self.journal.append(entries)
        try:
            self.documents.apply(first, entries)
        except BaseException:
            self.journal.withdraw(first)
            raise
        return first

    def delete(self, ids: Sequence[str]) -> list[str]:
        """Delete documents; those of the ids that were there. On return it is on disk, and no search finds them."""
        self.require_writable()
        with self._writing:
            there = sorted(self.documents.numbers(list(dict.fromkeys(ids))))
            if there:
                self._append([Delete(id) for id in there])
        if there:
            self.beside_the_answer(lambda: self.generations.remove(self._state.serving))
            self.reconciler.wake()
        return there

    def beside_the_answer(self, work: Callable[[], object]) -> bool:
        """What follows from an acknowledged write, or from a switch; whether it was done. Where the store fails now,
        the caretaker does it later, and says so: what was acknowledged is safe."""
        try:
            work()
        except UpsizeError as error:
            if str(error) != self.reconciler.trouble:
                log.error("%s: %s", self.name, error)
            self.reconciler.trouble = str(error)
            return False
        return True

    # reading

    def search(self, question: SearchRequest) -> SearchResult:
        """The documents nearest to a query. See Question."""
        result = self.searcher.search(question)
        if not self.read_only:
            self.follow_ups.record(question, result)
        return result

    def get(self, ids: Sequence[str]) -> dict[str, Document]:
        """Documents as they stand."""
        return self.documents.get(ids)

    def status(self) -> dict[str, Any]:
        """What it holds and does."""
        state = self._state
        read_only = self.read_only or shortage(self.folder)
        result: dict[str, Any] = {
            "name": state.name,
            "documents": self.documents.count(),
            "written": self.journal.end,
            "store": self.store.kind,
            "active": state.active,
            "generations": [],
            "rerank": msgspec.to_builtins(state.rerank),
            "rescore": msgspec.to_builtins(state.rescore),
            "funnel": state.funnel,
            "trouble": self.reconciler.trouble or read_only,
            "read_only": read_only,
        }
        for generation in state.generations:
            table = state.table(generation)
            refused, examples = self.documents.refused(generation.id)
            told = dict(describe(generation)) | {
                "filled": generation in state.filled,
                "missing": self.documents.missing_count(generation.id),
                "refused": refused,
                "refused_examples": examples,
            }
            try:
                told |= {"vectors": self.store.count(table), "bytes": self.store.bytes(table)}
                told |= {"approximate": self.store.indexed(table)}
            except UpsizeError as error:
                told["error"] = str(error)
            result["generations"].append(told)
        return result

    # settings

    def require_room_for_entries(self) -> None:
        """DiskFull unless every document can be marked as missing in a generation and the reserve is left, which
        deletes need."""
        with on_disk(self.folder):
            require_room(self.folder, ENTRY * self.documents.rough_count())

    def add_generation(self, wanted: VectorSpec) -> Generation:
        """A new generation with nothing in it, which the caller puts to use; Refused where one of the same vectors is
        there."""
        with self.exclusive_step():
            state = self._state
            generation = new_generation(self.models, self.store, f"g{state.next_generation}", wanted, self.name)
            if twin := next((g for g in state.generations if g.fingerprint == generation.fingerprint), None):
                raise Refused(
                    f"{wanted.model} at {generation.dimension} dimensions is what generation {twin.id} of "
                    f"{self.name!r} holds already."
                )
            self.require_writable()
            self.require_room_for_entries()
            table = state.table(generation)
            self.store.drop(table)  # of an attempt that a crash cut short
            self.store.create(table)
            # The documents know of it first: a generation of the state that they do not know would seem complete.
            self.documents.add_generation(generation.id)
            self.change(generations=(*state.generations, generation), next_generation=state.next_generation + 1)
            return generation

    def drop_generation(self, generation: Generation, **changes: Any) -> None:
        """Remove a generation, and make the changes after which nobody uses it."""
        with self.generations.alone(generation):
            table = self._state.table(generation)
            self.change(generations=tuple(g for g in self._state.generations if g.id != generation.id), **changes)
        # From here on it is gone; what is left of it and cannot be removed now is removed when the index is opened.
        self.release_models()

        def drop() -> None:
            self.reconciler.publish_alias()
            self.store.drop(table)
            self.documents.drop_generation(generation.id)

        self.beside_the_answer(drop)

    def release_models(self) -> None:
        """Let go of models that were looked at only."""
        state = self._state
        self.models.release(self.name, state.generations, [state.rerank.model] if state.rerank else [])

    def rebuild(self, wanted: str | None = None) -> Generation:
        """Make a generation's vectors again from the texts: the one that answers, unless another is wanted."""
        generation = self._state.generation(wanted or self._state.active)
        table = self._state.table(generation)
        self.require_writable()
        self.require_room_for_entries()
        with self.generations.alone(generation):
            self.documents.remake(generation.id)  # first, for vectors that are gone and not missing would be forgotten
            self.store.drop(table)
            self.store.create(table)
            self._sound = True
        self.reconciler.wake()
        return generation


def _named(error: UpsizeError, documents: Sequence[DocumentWrite], changed: Sequence[DocumentWrite]) -> UpsizeError:
    """What embedding `changed` raised, with the place among `documents` and the id of the one whose fault it is."""
    index = getattr(error, "index", None)
    if isinstance(error, RequestTooLarge):
        return RequestTooLarge(str(error).replace("input", "documents", 1), param="documents")
    if index is None:
        return error
    document = changed[index]
    place = next(i for i, d in enumerate(documents) if d is document)
    if isinstance(error, TextTooLong):
        hint = f"Its id is {document.id!r}. Shorten it, or make the index with --truncate (truncate)."
        least = error.at_least
        return TextTooLong(error.tokens, error.limit, param="documents", index=place, hint=hint, at_least=least)
    if isinstance(error, NonFiniteVector):
        told = f"the index's model gives {error.found} for it in {error.precision}. Leave it out."
        return InvalidInput(f"documents[{place}] (id {document.id!r}): {told}", param="documents", index=place)
    return InvalidInput(f"documents[{place}] (id {document.id!r}): {error}", param="documents", index=place)
