"""Generations at work: vectors of the documents as they stand, put where they belong and taken out again.

Whatever happens at the same time, a vector of an older text never replaces that of a newer one, and what was deleted
does not come back: of one generation, one thread at a time looks which texts still stand and writes their vectors.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from upsize.engine import Priority, Result
from upsize.errors import RowsRefused, UpsizeError
from upsize.index.bisection import CANNOT, each
from upsize.index.documents import Document, Documents
from upsize.index.models import ModelPool
from upsize.index.state import Generation, State
from upsize.store import Store, Table, VectorRows

log = logging.getLogger("upsize.index")

SHARD, SHARD_CHARACTERS = 256, 1 << 18
"""Documents, and characters, that are embedded together."""
AHEAD = 8
"""Shards that are read, and at most put in place, together."""
CANCEL_CHECK = 0.05
"""Seconds between checks whether work under way is cancelled."""
HELD = 5.0
"""Seconds of work that a kill takes back at most, of a model that is slow."""
DELETES = 2000
STORE_CHECK = 0.2
"""Seconds between checks whether the store answers, while another thread writes to it."""
TEND_AFTER, ROWS_A_WRITE = 64, 4000
"""Writes after which a table is compacted; of a large one, which takes longer, one for so many rows."""
TEND_AFTER_SECONDS = 60.0
"""And after so long, where there were any."""


class Generations:
    """The generations of one index."""

    def __init__(self, state: Callable[[], State], documents: Documents, store: Store, models: ModelPool) -> None:
        self._state, self._documents, self._store, self._models = state, documents, store, models
        self._writing: dict[str, threading.RLock] = defaultdict(threading.RLock)
        self.written: dict[str, int] = defaultdict(int)
        """Generation → writes since it was last tended."""
        self._tend_after: dict[str, int] = defaultdict(lambda: TEND_AFTER)
        self._tended: dict[str, float] = defaultdict(time.monotonic)

    @contextmanager
    def alone(self, generation: Generation) -> Iterator[bool]:
        """While this holds, nobody else writes to the generation's table. Whether the generation is (still) there.
        StoreUnavailable, instead of a turn behind one who waits for a store that does not answer."""
        turn = self._writing[generation.id]
        while not turn.acquire(timeout=STORE_CHECK):
            self._store.require_answering()
        try:
            yield generation in self._state().generations
        finally:
            turn.release()

    def _table(self, generation: Generation) -> Table:
        return self._state().table(generation)

    def place(self, generation: Generation, documents: Sequence[Document], vectors: NDArray[np.float32]) -> int:
        """Put the vectors (documents, dimension) in, of those texts that still stand; how many that were."""
        with self.alone(generation) as there:
            if not there:
                return 0
            standing = self._documents.numbers([d.id for d in documents])
            keep = [i for i, d in enumerate(documents) if standing.get(d.id) == d.number]
            if keep:
                chosen = [documents[i] for i in keep]
                ids, numbers = [d.id for d in chosen], [d.number for d in chosen]
                rows = VectorRows(ids, numbers, vectors[keep], [d.metadata for d in chosen])
                refused = self._upsert(generation, chosen, rows)
                placed = {id: number for id, number in zip(ids, numbers, strict=True) if id not in refused}
                self._documents.placed(generation.id, placed)
                self.written[generation.id] += 1
            return len(keep)

    def _upsert(self, generation: Generation, documents: Sequence[Document], rows: VectorRows) -> Collection[str]:
        """Put them in; ids of those that the store will never take, which is noted."""
        try:
            self._store.upsert(self._table(generation), rows)
        except RowsRefused as error:
            log.warning("generation %s: %s", generation.id, error)
            for document in documents:
                if document.id in error.ids:
                    self._documents.refuse(generation.id, document, error.why)
            return error.ids
        return ()

    def renew_numbers(self) -> None:
        """Write again the metadata that an earlier version put into the tables with numbers rounded to 53 bits.
        Vectors are read and put back; none is made."""
        if self._documents.exact_numbers:
            return
        ids = self._documents.with_large_numbers()
        for generation in self._state().generations:
            for first in range(0, len(ids), SHARD):
                with self.alone(generation) as there:
                    if there:
                        self._renew(generation, ids[first : first + SHARD])
        self._documents.mark_exact_numbers()

    def _renew(self, generation: Generation, ids: Sequence[str]) -> None:
        table, documents = self._table(generation), self._documents.get(ids)
        kept = self._store.vectors(table, ids)
        same = [id for id in ids if id in documents and kept.get(id, (None,))[0] == documents[id].number]
        if same:
            numbers, vectors = [documents[id].number for id in same], np.stack([kept[id][1] for id in same])
            rows = VectorRows(same, numbers, vectors, [documents[id].metadata for id in same])
            self._upsert(generation, [documents[id] for id in same], rows)
            self.written[generation.id] += 1

    def remove(self, generation: Generation, wanted: Callable[[], bool] = lambda: True) -> int:
        """Take out what was deleted, while `wanted`; how many that were."""
        removed = 0
        while wanted():
            with self.alone(generation) as there:
                ids = self._documents.tombstones(generation.id, DELETES) if there else []
                if not ids:
                    return removed
                self._store.delete(self._table(generation), ids)
                self._documents.removed(generation.id, ids)
                self.written[generation.id] += 1
                removed += len(ids)
        return removed

    def fill(
        self,
        generation: Generation,
        priority: Priority,
        wanted: Callable[[], bool] = lambda: True,
        *,
        most: int = AHEAD * SHARD,
        shard: int = SHARD,
    ) -> int:
        """Embed and place the next documents that are missing, while `wanted`; how many were placed or refused.

        The next shard is embedded while the last is put in place. Several are put in place together, so that a table
        is not made of many small pieces, but none is kept from its place for longer than HELD. A shard that is under
        way when it is wanted no more is cancelled. `most` documents are read, `shard` are embedded together.
        """
        waiting = self._documents.missing(generation.id, most)
        if not waiting:
            return 0
        name = self._models.of(generation, self._state().name)
        shards = deque(_shards(waiting, shard))
        made: list[tuple[Document, NDArray[np.float32] | None]] = []
        done, since = 0, time.monotonic()
        current = shards.popleft()
        started: Future[Result] | None = self._start(name, generation, current, priority)
        while started is not None:
            following = shards.popleft() if shards and wanted() else None
            upcoming = self._start(name, generation, following, priority) if following else None
            try:
                made += zip(current, self._values(name, generation, current, started, priority, wanted), strict=True)
                done += len(current)
                if upcoming is None or time.monotonic() - since > HELD:
                    self._place_made(generation, made)
                    made, since = [], time.monotonic()
            except BaseException as error:
                started.cancel()
                if upcoming:
                    upcoming.cancel()
                if isinstance(error, _NotWanted):
                    self._place_made(generation, made)
                    return done
                raise
            started, current = upcoming, following or []
        return done

    def put(self, generation: Generation, documents: Sequence[Document], priority: Priority) -> None:
        """Embed these documents and place them; those that the model cannot take are noted."""
        name = self._models.of(generation, self._state().name)
        started = self._start(name, generation, documents, priority)
        vectors = self._values(name, generation, documents, started, priority, lambda: True)
        self._place_made(generation, list(zip(documents, vectors, strict=True)))

    def _values(
        self,
        name: str,
        generation: Generation,
        shard: Sequence[Document],
        started: Future[Result],
        priority: Priority,
        wanted: Callable[[], bool],
    ) -> list[NDArray[np.float32] | None]:
        """The vector of each; None of a text that the model cannot embed, which is noted. _NotWanted as soon as it is
        not."""
        try:
            return list(_result(started, wanted).values)
        except CANNOT as error:
            log.warning("generation %s: %s", generation.id, error)
        vectors: list[NDArray[np.float32] | None] = []
        made = each(lambda part: list(_result(self._start(name, generation, part, priority), wanted).values), shard)
        for document, vector in zip(shard, made, strict=True):
            if isinstance(vector, UpsizeError):
                self._documents.refuse(generation.id, document, str(vector))
            vectors.append(None if isinstance(vector, UpsizeError) else vector)
        return vectors

    def _place_made(self, generation: Generation, made: Sequence[tuple[Document, NDArray[np.float32] | None]]) -> None:
        kept = [(document, vector) for document, vector in made if vector is not None]
        if kept:
            self.place(generation, [d for d, _ in kept], np.stack([v for _, v in kept]))

    def _start(
        self, name: str, generation: Generation, shard: Sequence[Document], priority: Priority
    ) -> Future[Result]:
        return self._models.start(
            name, [d.text for d in shard], generation.dimension, priority=priority, truncate=self._state().truncate
        )

    def tend(self, generation: Generation) -> None:
        """Compact the table and build its index, if it has grown for one."""
        self.written[generation.id] = 0
        if generation in self._state().generations:
            table = self._table(generation)
            self._store.optimize(table)
            self._tend_after[generation.id] = max(TEND_AFTER, self._store.count(table) // ROWS_A_WRITE)
            self._tended[generation.id] = time.monotonic()

    def untidy(self, generation: Generation) -> bool:
        """Whether it is time to tend it: after so many writes, or so long after a few."""
        written = self.written[generation.id]
        if written >= self._tend_after[generation.id]:
            return True
        return written > 0 and time.monotonic() - self._tended[generation.id] > TEND_AFTER_SECONDS


class _NotWanted(Exception):
    """Work that nobody wants any more."""


def _result(future: Future[Result], wanted: Callable[[], bool]) -> Result:
    """The result, waited for while `wanted`; then the work is cancelled."""
    while True:
        try:
            return future.result(timeout=CANCEL_CHECK)
        except TimeoutError:
            if future.done():
                continue
            if not wanted():
                future.cancel()
                raise _NotWanted from None


def _shards(documents: Sequence[Document], most: int) -> list[list[Document]]:
    shards: list[list[Document]] = [[]]
    characters = 0
    for document in documents:
        if shards[-1] and (
            len(shards[-1]) == most or characters + len(document.text) > most * SHARD_CHARACTERS // SHARD
        ):
            shards.append([])
            characters = 0
        shards[-1].append(document)
        characters += len(document.text)
    return shards
