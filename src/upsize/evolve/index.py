"""Index: texts that can be searched, and moved to another model while they are.

    NAME/
      index.json          what it is set to, and which generation answers
      journal/            what was written and deleted; everything below is made from it
      documents.sqlite    the documents as they stand, and what each generation lacks
      vectors/            the generations' tables, where the store is a folder

A write is embedded, then put into the journal, which acknowledges it, then into the documents and the generation that
answers. Other generations follow by themselves (`Caretaker`).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import msgspec

from upsize.engine import Lane
from upsize.errors import InvalidInput, Refused, UpsizeError
from upsize.evolve.caretaker import Caretaker
from upsize.evolve.documents import Document, open_documents
from upsize.evolve.generations import Generations
from upsize.evolve.journal import Delete, Journal, Upsert
from upsize.evolve.models import Models
from upsize.evolve.search import Answer, Question, Searcher
from upsize.evolve.shadows import Shadows
from upsize.evolve.state import (
    Generation,
    Move,
    State,
    current_schema,
    describe,
    now,
    read_state,
    table_name,
    write_state,
)
from upsize.model import check_dimension
from upsize.store import Store, open_store

log = logging.getLogger("upsize.evolve")

JOURNAL, VECTORS = "journal", "vectors"
LEAST_COARSE = 32


class Incoming(msgspec.Struct, forbid_unknown_fields=True):
    """A document to write."""

    id: str
    text: str
    metadata: dict[str, Any] = {}


@dataclass(frozen=True)
class Written:
    """What became of a write."""

    added: int
    updated: int
    unchanged: int


@dataclass(frozen=True)
class Setup:
    """What a new index is to be."""

    name: str
    model: str
    dtype: str = "auto"
    dimension: int | None = None
    coarse: int | None = None
    max_length: int | None = None
    store: str = "lancedb"
    truncate: bool = False
    instruction: str | None = None


class Index:
    """One index, opened for reading and writing by this process alone. Thread-safe; `with` closes it.

    Raises JournalLocked where another process has it, JournalDamaged, UpsizeError for a state it cannot read.
    """

    def __init__(self, folder: Path, models: Models, *, background: bool = True) -> None:
        self.folder, self.models = folder, models
        self._state = read_state(folder)
        self._writing, self._changing = threading.RLock(), threading.RLock()
        self._closed = False
        self.journal = Journal(folder / JOURNAL)
        try:
            self.documents, self._anew = open_documents(folder)
            self.store = open_store(self._state.store, folder / VECTORS)
            self.generations = Generations(self.name, self.documents, self.store, models, self._state.truncate)
            self.shadows = Shadows(folder)
            self.searcher = Searcher(self)
            self._recover()
            self.caretaker = Caretaker(self)
            if background:
                self.caretaker.start()
        except BaseException:
            self.journal.close()
            raise

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
        """Change the state, on disk first."""
        with self._changing:
            state = self._state.replace(**changes)
            write_state(self.folder, state)
            self._state = state
            return state

    def change_move(self, **changes: Any) -> Move:
        """Change the move that is under way; Refused where there is none."""
        with self._changing:
            move = self._state.move
            if move is None:
                raise Refused(f"{self.name!r} is not on a move. Start one: upsize evolve start {self.name} --to MODEL.")
            changed = msgspec.structs.replace(move, **changes)
            self.change(move=changed)
            return changed

    def paused_writes(self) -> threading.RLock:
        """Held, nobody writes."""
        return self._writing

    def close(self) -> None:
        """Stop what runs beside, and let go of the folder. A second time does nothing."""
        if self._closed:
            return
        self._closed = True
        self.caretaker.stop()
        self.models.release(self.name)
        with self._writing:
            self.documents.mark(closed_well=True)
            self.documents.close()
            self.shadows.close()
            self.store.close()
            self.journal.close()

    def _recover(self) -> None:
        """Bring what is derived in step with the journal and the state."""
        behind = self.documents.catch_up(self.journal)
        if behind:
            log.info("%s: %d entries of the journal were not in the documents yet", self.name, behind)
        known = {g.id for g in self._state.generations}
        for stray in self.documents.generations() - known:  # a crash came between the state and what follows from it
            self.store.drop(replace(self._state.serving.table(self.name), name=table_name(self.name, stray)))
            self.documents.drop_generation(stray)
        for generation in self._state.generations:
            self.documents.add_generation(generation.id)
        if self._anew or not self.documents.closed_well:
            for generation in self._state.generations:
                self.audit(generation)
        self.documents.mark(closed_well=False)

    def audit(self, generation: Generation) -> tuple[int, int]:
        """Hold a generation's rows against the documents; (vectors it lacks, rows too many). Both are put right by and
        by. A table that cannot be read is said, and lacks everything once it is rebuilt."""
        try:
            self.store.create(generation.table(self.name))
            lacking, spare = self.documents.audit(generation.id, self.store.placed(generation.table(self.name)))
        except UpsizeError as error:
            log.error("%s, generation %s: %s", self.name, generation.id, error)
            return 0, 0
        if lacking or spare:
            log.info("%s, generation %s: %d vectors to make, %d to remove", self.name, generation.id, lacking, spare)
        return lacking, spare

    # writing

    def add(self, documents: Sequence[Incoming], lane: Lane = Lane.INTERACTIVE) -> Written:
        """Write documents. On return they are on disk, and searches find them.

        All or none. Raises InvalidInput (`index` is the place of the one that is wrong), TextTooLong, JournalFailed.
        """
        _check(documents)
        known = self.documents.get([d.id for d in documents])
        changed = [d for d in documents if not _same(known.get(d.id), d)]
        if not changed:
            return Written(0, 0, len(documents))
        serving = self._state.serving
        future = self.models.start(
            self.models.of(serving),
            [d.text for d in changed],
            serving.dimension,
            lane=lane,
            truncate=self._state.truncate,
        )
        try:
            vectors = future.result().values
        except InvalidInput as error:
            if error.index is not None:
                error.index = next(i for i, d in enumerate(documents) if d is changed[error.index])
            raise
        with self._writing:
            entries = [Upsert(d.id, d.text, d.metadata) for d in changed]
            first = self.journal.append(entries)
            self.documents.apply(first, entries)
            # The pointer may have moved while the texts were embedded; then the caretaker brings them in.
            still = self._state.active == serving.id
        standing = [Document(d.id, first + i, d.text, d.metadata) for i, d in enumerate(changed)]
        if still:
            self._beside_the_answer(lambda: self.generations.place(serving, standing, vectors))
        self.caretaker.wake()
        updated = sum(d.id in known for d in changed)
        return Written(len(changed) - updated, updated, len(documents) - len(changed))

    def delete(self, ids: Sequence[str]) -> list[str]:
        """Delete documents; those of the ids that were there. On return it is on disk, and no search finds them."""
        with self._writing:
            there = sorted(self.documents.numbers(list(dict.fromkeys(ids))))
            if there:
                entries = [Delete(id) for id in there]
                self.documents.apply(self.journal.append(entries), entries)
        if there:
            self._beside_the_answer(lambda: self.generations.remove(self._state.serving))
            self.caretaker.wake()
        return there

    def _beside_the_answer(self, work: Any) -> None:
        """What follows from an acknowledged write. Where the store fails now, the caretaker does it later, and says
        so: the write itself is safe."""
        try:
            work()
        except UpsizeError as error:
            log.error("%s: %s", self.name, error)
            self.caretaker.trouble = str(error)

    # reading

    def search(self, question: Question) -> Answer:
        """The documents nearest to a query. See Question."""
        return self.searcher.ask(question)

    def get(self, ids: Sequence[str]) -> dict[str, Document]:
        """Documents as they stand."""
        return self.documents.get(ids)

    def status(self) -> dict[str, Any]:
        """What it holds and does."""
        state = self._state
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
            "trouble": self.caretaker.trouble,
        }
        for generation in state.generations:
            table = generation.table(state.name)
            refused, examples = self.documents.refused(generation.id)
            told = dict(describe(generation)) | {
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

    def add_generation(
        self,
        model: str,
        *,
        dtype: str = "auto",
        dimension: int | None = None,
        coarse: int | None = None,
        max_length: int | None = None,
    ) -> Generation:
        """A new generation, with nothing in it; Refused where one of the same vectors is there."""
        generation = self._new(f"g{self._state.next_generation}", model, dtype, dimension, coarse, max_length)
        if twin := next((g for g in self._state.generations if g.fingerprint == generation.fingerprint), None):
            raise Refused(
                f"{model} at {generation.dimension} dimensions is what generation {twin.id} of {self.name!r} holds "
                "already."
            )
        table = generation.table(self.name)
        self.store.drop(table)  # of an attempt that a crash cut short
        self.store.create(table)
        self.change(generations=(*self._state.generations, generation), next_generation=self._state.next_generation + 1)
        self.documents.add_generation(generation.id)
        return generation

    def drop_generation(self, generation: Generation, **changes: Any) -> None:
        """Remove a generation, and make the changes after which nobody uses it."""
        keep = tuple(g for g in self._state.generations if g.id != generation.id)
        self.change(generations=keep, **changes)
        self.store.drop(generation.table(self.name))
        self.documents.drop_generation(generation.id)
        self.models.release(self.name, keep=[*map(self.models.of, keep), *self._reranker()])

    def _reranker(self) -> list[str]:
        return [self.models.reranker(self._state.rerank.model)] if self._state.rerank else []

    def rebuild(self, wanted: str | None = None) -> Generation:
        """Make a generation's vectors again from the texts: the one that answers, unless another is wanted."""
        generation = self._state.generation(wanted or self._state.active)
        table = generation.table(self.name)
        self.store.drop(table)
        self.store.create(table)
        self.documents.remake(generation.id)
        self.caretaker.wake()
        return generation

    def _new(
        self, id: str, model: str, dtype: str, dimension: int | None, coarse: int | None, max_length: int | None
    ) -> Generation:
        return new_generation(self.models, self.store, id, model, dtype, dimension, coarse, max_length, self.name)


def new_generation(
    models: Models,
    store: Store,
    id: str,
    model: str,
    dtype: str,
    dimension: int | None,
    coarse: int | None,
    max_length: int | None,
    user: str,
) -> Generation:
    """What vectors a model would make, checked against what the store takes."""
    name = models.embedder(model, dtype, max_length)
    models.hold(user, name)
    loaded = models.loaded(name)
    size = check_dimension(dimension, loaded.checkpoint.config.hidden_size)
    if store.largest_dimension is not None and size > store.largest_dimension:
        raise InvalidInput(
            f"{model} gives {size:,} dimensions and {store.kind} indexes {store.largest_dimension:,} at most: use "
            f"--dim {store.largest_dimension} (these models may be cut).",
            param="dimensions",
        )
    if coarse is not None and not LEAST_COARSE <= coarse < size:
        raise InvalidInput(f"coarse is {coarse}; give {LEAST_COARSE} or more, and less than {size}.", param="coarse")
    fingerprint = loaded.fingerprint.at(size)
    precision, longest = loaded.plan.precision, loaded.plan.max_length
    return Generation(id, models.path(model), precision, longest, fingerprint, coarse, now())


def create_index(folder: Path, models: Models, setup: Setup) -> None:
    """Make an index's folder. It is there as a whole, once its state is."""
    folder.mkdir(parents=True, exist_ok=True)
    store = open_store(setup.store, folder / VECTORS)
    try:
        first = new_generation(
            models, store, "g1", setup.model, setup.dtype, setup.dimension, setup.coarse, setup.max_length, setup.name
        )
        table = first.table(setup.name)
        store.drop(table)
        store.create(table)
        store.point(setup.name, table)
    finally:
        store.close()
    state = State(
        schema=current_schema(),
        name=setup.name,
        created=now(),
        store=setup.store,
        generations=(first,),
        active=first.id,
        truncate=setup.truncate,
        instruction=setup.instruction,
    )
    write_state(folder, state)


def _check(documents: Sequence[Incoming]) -> None:
    seen: dict[str, int] = {}
    for place, document in enumerate(documents):
        where = f"documents[{place}]"
        if not document.id:
            raise InvalidInput(f"{where}.id is an empty string.", param="documents", index=place)
        if not document.text.strip():
            raise InvalidInput(f"{where}.text is empty.", param="documents", index=place)
        if document.id in seen:
            raise InvalidInput(
                f"{where}: the id {document.id!r} is that of documents[{seen[document.id]}] too. Send one of them.",
                param="documents",
                index=place,
            )
        seen[document.id] = place


def _same(known: Document | None, coming: Incoming) -> bool:
    return known is not None and known.text == coming.text and known.metadata == coming.metadata


__all__ = ["Incoming", "Index", "Setup", "Written", "create_index"]
