"""Generations at work: vectors of the documents as they stand, put where they belong and taken out again.

Whatever happens at the same time, a vector of an older text never replaces that of a newer one, and what was deleted
does not come back: of one generation, one thread at a time looks which texts still stand and writes their vectors.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from upsize.engine import Lane, Result
from upsize.errors import InvalidInput, NonFiniteVector
from upsize.evolve.documents import Document, Documents
from upsize.evolve.models import Models
from upsize.evolve.state import Generation, State
from upsize.store import Rows, Store, Table

log = logging.getLogger("upsize.evolve")

SHARD, SHARD_CHARACTERS = 256, 1 << 18
"""Documents, and characters, that are embedded and put in place together."""
AHEAD = 8
"""Shards that are read at once."""
DELETES = 2000


class Generations:
    """The generations of one index."""

    def __init__(self, state: Callable[[], State], documents: Documents, store: Store, models: Models) -> None:
        self._state, self._documents, self._store, self._models = state, documents, store, models
        self._writing: dict[str, threading.RLock] = defaultdict(threading.RLock)
        self.written: dict[str, int] = defaultdict(int)
        """Generation → writes since it was last tended."""

    @contextmanager
    def alone(self, generation: Generation) -> Iterator[bool]:
        """While this holds, nobody else writes to the generation's table. Whether the generation is (still) there."""
        with self._writing[generation.id]:
            yield generation in self._state().generations

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
                rows = Rows(ids, numbers, vectors[keep], [d.metadata for d in chosen])
                self._store.upsert(self._table(generation), rows)
                self._documents.placed(generation.id, dict(zip(ids, numbers, strict=True)))
                self.written[generation.id] += 1
            return len(keep)

    def remove(self, generation: Generation) -> int:
        """Take out what was deleted; how many that were."""
        removed = 0
        while True:
            with self.alone(generation) as there:
                ids = self._documents.doomed(generation.id, DELETES) if there else []
                if not ids:
                    return removed
                self._store.delete(self._table(generation), ids)
                self._documents.removed(generation.id, ids)
                self.written[generation.id] += 1
                removed += len(ids)

    def fill(self, generation: Generation, lane: Lane, wanted: Callable[[], bool] = lambda: True) -> int:
        """Embed and place the next documents that are missing, while `wanted`; how many were placed or refused.

        The next shard is embedded while the last is put in place.
        """
        waiting = self._documents.missing(generation.id, AHEAD * SHARD)
        if not waiting:
            return 0
        name = self._models.of(generation, self._state().name)
        shards = _shards(waiting)
        done, started = 0, self._start(name, generation, shards[0], lane)
        for place, shard in enumerate(shards):
            following = shards[place + 1] if place + 1 < len(shards) else None
            upcoming = self._start(name, generation, following, lane) if following and wanted() else None
            try:
                try:
                    vectors = started.result().values
                except (InvalidInput, NonFiniteVector) as error:
                    done += self._one_by_one(name, generation, shard, lane, error)
                else:
                    done += self.place(generation, shard, vectors)
            except BaseException:
                if upcoming:
                    upcoming.cancel()
                raise
            if upcoming is None:
                break
            started = upcoming
        return done

    def _start(self, name: str, generation: Generation, shard: Sequence[Document], lane: Lane) -> Future[Result]:
        return self._models.start(
            name, [d.text for d in shard], generation.dimension, lane=lane, truncate=self._state().truncate
        )

    def _one_by_one(
        self, name: str, generation: Generation, shard: Sequence[Document], lane: Lane, error: Exception
    ) -> int:
        """A text among them cannot be embedded: find it, note it, and go on with the others."""
        log.warning("generation %s: %s", generation.id, error)
        for document in shard:
            try:
                vectors = self._start(name, generation, [document], lane).result().values
            except (InvalidInput, NonFiniteVector) as reason:
                self._documents.refuse(generation.id, document, str(reason))
            else:
                self.place(generation, [document], vectors)
        return len(shard)

    def tend(self, generation: Generation) -> None:
        """Compact the table and build its index, if it has grown for one. Writes go on meanwhile."""
        self.written[generation.id] = 0
        if generation in self._state().generations:
            self._store.tend(self._table(generation))


def _shards(documents: Sequence[Document]) -> list[list[Document]]:
    shards: list[list[Document]] = [[]]
    characters = 0
    for document in documents:
        if shards[-1] and (len(shards[-1]) == SHARD or characters + len(document.text) > SHARD_CHARACTERS):
            shards.append([])
            characters = 0
        shards[-1].append(document)
        characters += len(document.text)
    return shards
