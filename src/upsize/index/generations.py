"""Generations: embed documents, and write vectors to the tables of the generations or delete them there.

A vector of an older text never replaces that of a newer one, and a deleted document never comes back: one thread at a
time checks which texts of a generation are still current and writes their vectors.
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
"""Documents and characters of a shard, which is embedded together."""
SHARDS_AHEAD = 8
"""Shards that are read together, and at most written together."""
CANCEL_POLL_SECONDS = 0.05
"""Seconds between two checks whether the work is cancelled."""
LONGEST_WAIT_SECONDS = 5.0
"""Seconds that an embedded shard waits to be written, and so the work that a kill can lose."""
DELETES = 2000
"""Tombstones that are applied to a table together."""
STORE_POLL_SECONDS = 0.2
"""Seconds between two checks whether the store answers, while another thread writes to it."""
COMPACT_AFTER_WRITES, ROWS_PER_WRITE = 64, 4000
"""Writes after which a table is compacted; a large table, which takes longer, waits for one write per so many rows."""
COMPACT_AFTER_SECONDS = 60.0
"""Seconds after which a table with any write is compacted."""


class Generations:
    """Writes to the generations of one index. Thread-safe."""

    def __init__(self, state: Callable[[], State], documents: Documents, store: Store, models: ModelPool) -> None:
        self._state, self._documents, self._store, self._models = state, documents, store, models
        self._writing: dict[str, threading.RLock] = defaultdict(threading.RLock)
        self.writes_since_compaction: dict[str, int] = defaultdict(int)
        """Generation → writes since its table was last compacted."""
        self._compact_after: dict[str, int] = defaultdict(lambda: COMPACT_AFTER_WRITES)
        self._compacted: dict[str, float] = defaultdict(time.monotonic)

    @contextmanager
    def exclusive_writes(self, generation: Generation) -> Iterator[bool]:
        """While the context is open, no other thread writes to the generation's table. False if it was dropped.

        Raises StoreUnavailable, instead of waiting, while another thread waits for a store that does not answer.
        """
        lock = self._writing[generation.id]
        while not lock.acquire(timeout=STORE_POLL_SECONDS):
            self._store.require_answering()
        try:
            yield generation in self._state().generations
        finally:
            lock.release()

    def _table(self, generation: Generation) -> Table:
        return self._state().table(generation)

    def write_vectors(self, generation: Generation, documents: Sequence[Document], vectors: NDArray[np.float32]) -> int:
        """Write the vectors (documents, dimension) of the texts that are still current; their number."""
        with self.exclusive_writes(generation) as there:
            if not there:
                return 0
            current_numbers = self._documents.numbers([d.id for d in documents])
            keep = [i for i, d in enumerate(documents) if current_numbers.get(d.id) == d.number]
            if keep:
                chosen = [documents[i] for i in keep]
                ids, numbers = [d.id for d in chosen], [d.number for d in chosen]
                rows = VectorRows(ids, numbers, vectors[keep], [d.metadata for d in chosen])
                refused = self._upsert(generation, chosen, rows)
                committed = {id: number for id, number in zip(ids, numbers, strict=True) if id not in refused}
                self._documents.mark_committed(generation.id, committed)
                self.writes_since_compaction[generation.id] += 1
            return len(keep)

    def _upsert(self, generation: Generation, documents: Sequence[Document], rows: VectorRows) -> Collection[str]:
        """Write rows; the ids of those that the store will never take, which become refused documents."""
        try:
            self._store.upsert(self._table(generation), rows)
        except RowsRefused as error:
            log.warning("generation %s: %s", generation.id, error)
            for document in documents:
                if document.id in error.ids:
                    self._documents.refuse(generation.id, document, error.why)
            return error.ids
        return ()

    def rewrite_rounded_numbers(self) -> None:
        """Rewrite metadata whose integers an earlier version rounded to 53 bits. Reuses the vectors."""
        if self._documents.exact_numbers:
            return
        ids = self._documents.with_large_numbers()
        for generation in self._state().generations:
            for first in range(0, len(ids), SHARD):
                with self.exclusive_writes(generation) as there:
                    if there:
                        self._rewrite_rows(generation, ids[first : first + SHARD])
        self._documents.mark_exact_numbers()

    def _rewrite_rows(self, generation: Generation, ids: Sequence[str]) -> None:
        table, documents = self._table(generation), self._documents.get(ids)
        kept = self._store.vectors(table, ids)
        same = [id for id in ids if id in documents and kept.get(id, (None,))[0] == documents[id].number]
        if same:
            numbers, vectors = [documents[id].number for id in same], np.stack([kept[id][1] for id in same])
            rows = VectorRows(same, numbers, vectors, [documents[id].metadata for id in same])
            self._upsert(generation, [documents[id] for id in same], rows)
            self.writes_since_compaction[generation.id] += 1

    def apply_tombstones(self, generation: Generation, wanted: Callable[[], bool] = lambda: True) -> int:
        """Delete the rows of its tombstones, while `wanted`; their number."""
        removed = 0
        while wanted():
            with self.exclusive_writes(generation) as there:
                ids = self._documents.tombstones(generation.id, DELETES) if there else []
                if not ids:
                    return removed
                self._store.delete(self._table(generation), ids)
                self._documents.clear_tombstones(generation.id, ids)
                self.writes_since_compaction[generation.id] += 1
                removed += len(ids)
        return removed

    def embed_backlog(
        self,
        generation: Generation,
        priority: Priority,
        wanted: Callable[[], bool] = lambda: True,
        *,
        most: int = SHARDS_AHEAD * SHARD,
        shard: int = SHARD,
    ) -> int:
        """Embed the next documents of its backlog and write their vectors, while `wanted`; how many were written or
        refused.

        The next shard is embedded while the last is written. Several shards are written together, so that a table does
        not consist of many small fragments, but none waits longer than LONGEST_WAIT_SECONDS. A running shard is
        cancelled as soon as `wanted` is false. `most` documents are read, `shard` are embedded together.
        """
        waiting = self._documents.backlog(generation.id, most)
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
                if upcoming is None or time.monotonic() - since > LONGEST_WAIT_SECONDS:
                    self._write_embedded(generation, made)
                    made, since = [], time.monotonic()
            except BaseException as error:
                started.cancel()
                if upcoming:
                    upcoming.cancel()
                if isinstance(error, _Cancelled):
                    self._write_embedded(generation, made)
                    return done
                raise
            started, current = upcoming, following or []
        return done

    def embed_and_write(self, generation: Generation, documents: Sequence[Document], priority: Priority) -> None:
        """Embed documents and write their vectors; those that the model cannot embed become refused documents."""
        name = self._models.of(generation, self._state().name)
        started = self._start(name, generation, documents, priority)
        vectors = self._values(name, generation, documents, started, priority, lambda: True)
        self._write_embedded(generation, list(zip(documents, vectors, strict=True)))

    def _values(
        self,
        name: str,
        generation: Generation,
        shard: Sequence[Document],
        started: Future[Result],
        priority: Priority,
        wanted: Callable[[], bool],
    ) -> list[NDArray[np.float32] | None]:
        """The vector of each document; None for one that the model cannot embed, which becomes a refused document.
        Raises _Cancelled as soon as `wanted` is false."""
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

    def _write_embedded(
        self, generation: Generation, made: Sequence[tuple[Document, NDArray[np.float32] | None]]
    ) -> None:
        kept = [(document, vector) for document, vector in made if vector is not None]
        if kept:
            self.write_vectors(generation, [d for d, _ in kept], np.stack([v for _, v in kept]))

    def _start(
        self, name: str, generation: Generation, shard: Sequence[Document], priority: Priority
    ) -> Future[Result]:
        return self._models.start(
            name, [d.text for d in shard], generation.dimension, priority=priority, truncate=self._state().truncate
        )

    def compact(self, generation: Generation) -> None:
        """Compact the table, and build its approximate index if it has grown large enough for one."""
        self.writes_since_compaction[generation.id] = 0
        if generation in self._state().generations:
            table = self._table(generation)
            self._store.optimize(table)
            self._compact_after[generation.id] = max(COMPACT_AFTER_WRITES, self._store.count(table) // ROWS_PER_WRITE)
            self._compacted[generation.id] = time.monotonic()

    def needs_compaction(self, generation: Generation) -> bool:
        """Whether the table is due: after many writes, or COMPACT_AFTER_SECONDS after a few."""
        written = self.writes_since_compaction[generation.id]
        if written >= self._compact_after[generation.id]:
            return True
        return written > 0 and time.monotonic() - self._compacted[generation.id] > COMPACT_AFTER_SECONDS


class _Cancelled(Exception):
    """The work was cancelled."""


def _result(future: Future[Result], wanted: Callable[[], bool]) -> Result:
    """Wait for the result while `wanted`; then cancel the work and raise _Cancelled."""
    while True:
        try:
            return future.result(timeout=CANCEL_POLL_SECONDS)
        except TimeoutError:
            if future.done():
                continue
            if not wanted():
                future.cancel()
                raise _Cancelled from None


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
