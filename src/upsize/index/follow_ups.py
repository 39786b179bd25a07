"""Follow-ups: work that searches leave behind, done by a thread of its own after the search is answered.

It counts popularity, so that a backfill embeds popular documents first; keeps the vectors that rescoring made; and asks
a share of the searches of the other generation of a move (shadow reads).
"""

from __future__ import annotations

import logging
import queue
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from upsize.engine import Priority
from upsize.errors import UpsizeError
from upsize.index.coverage import ready
from upsize.index.documents import Documents
from upsize.index.generations import Generations
from upsize.index.shadow_reads import Shadows
from upsize.index.state import State
from upsize.index.types import NewVectors, SearchRequest, SearchResult
from upsize.store import Store

log = logging.getLogger("upsize.index")

QUEUED = 64
"""Follow-ups that wait at most; further ones are dropped, so that searches never wait for them."""
POLL_SECONDS = 0.5
"""Seconds between two checks whether the index was closed."""
FLUSH_SECONDS = 5.0
"""Seconds between two writes of popularity."""


class FollowUps:
    """The follow-ups of one index. Thread-safe."""

    def __init__(
        self,
        state: Callable[[], State],
        documents: Documents,
        store: Store,
        generations: Generations,
        shadows: Shadows,
        search: Callable[[SearchRequest], SearchResult],
    ) -> None:
        """`search` answers a search without follow-ups of its own."""
        self._state, self._documents, self._store = state, documents, store
        self._generations, self._shadows, self._search = generations, shadows, search
        self.canary_answers: Counter[str] = Counter()
        """Generation → searches that it answered as a canary since the index was opened."""
        self.canary_failed: Counter[str] = Counter()
        """Generation → queries that it could not embed as a canary; the active generation answered them."""
        self._popularity: Counter[str] = Counter()
        self._flushed = time.monotonic()
        self._stopped = threading.Event()
        self._queue: queue.Queue[Callable[[], None]] = queue.Queue(QUEUED)
        self.thread = threading.Thread(target=self._run, name=f"upsize-follow-ups-{state().name}", daemon=True)

    def request_stop(self) -> None:
        """End the thread after the follow-up that runs."""
        self._stopped.set()

    def record(self, request: SearchRequest, result: SearchResult) -> None:
        """Queue the follow-ups of a search that was answered."""
        if result.canary_failed is not None:
            self.canary_failed[result.canary_failed] += 1
        if (new := result.new_vectors) is not None:
            self._later(lambda: self._keep(new))
        if not request.counted or request.generation:
            return
        self._popularity.update(result.ids)
        move = self._state().move
        if move and move.phase == "backfill" and result.generation.id == move.target:
            self.canary_answers[move.target] += 1
        if move and request.query is not None and random.random() < move.shadow:
            other = move.target if result.generation.id == move.source else move.source
            self._later(lambda: self._shadow_read(request, result, other))

    def flush(self) -> None:
        """Write the popularity of documents down."""
        counts, self._popularity = self._popularity, Counter()
        self._flushed = time.monotonic()
        if counts:
            self._documents.add_popularity(counts)

    def _later(self, work: Callable[[], None]) -> None:
        try:
            self._queue.put_nowait(work)
        except queue.Full:
            log.debug("%s: a follow-up was dropped, because %d wait already", self._state().name, QUEUED)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                work: Callable[[], None] | None = self._queue.get(timeout=POLL_SECONDS)
            except queue.Empty:
                work = None
            try:
                if work:
                    work()
                if time.monotonic() - self._flushed > FLUSH_SECONDS:
                    self.flush()
            except Exception as error:
                log.warning("%s: %s", self._state().name, error, exc_info=not isinstance(error, UpsizeError))

    def _shadow_read(self, request: SearchRequest, result: SearchResult, other: str) -> None:
        if self._state().move is None or self._stopped.is_set() or not ready(self._documents, other):
            return  # documents that are not there yet would count as disagreement
        # The two embedders alone: the same reranker above both would agree with itself.
        plain = replace(request, priority=Priority.SHADOW, counted=False, rerank=False, rescore=False, dimension=None)
        if result.rungs != ("L0",):
            result = self._search(replace(plain, generation=result.generation.id))
        second = self._search(replace(plain, generation=other))
        # A document that one generation lacks says nothing about its ranking.
        lacking = self._documents.absent(other, result.ids)
        lacking |= self._documents.absent(result.generation.id, second.ids)
        self._shadows.add(request.query or "", request.k, result, second, lacking)

    def _keep(self, new: NewVectors) -> None:
        table = self._state().table(new.generation)
        free = new.keep_bytes // (4 * new.generation.dimension) - self._store.count(table)
        if free > 0:
            self._generations.write_vectors(new.generation, new.documents[:free], new.vectors[:free])
