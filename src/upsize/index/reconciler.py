"""Caretaker: the threads of an index. One brings generations in step and tends them; one does what searches leave."""

from __future__ import annotations

import logging
import queue
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from upsize.engine import Priority
from upsize.errors import Overloaded, UpsizeError
from upsize.index.coverage import ready
from upsize.index.documents import Document
from upsize.index.state import Generation

if TYPE_CHECKING:
    from upsize.index.index import Index
    from upsize.index.search import SearchRequest, SearchResult

log = logging.getLogger("upsize.index")

IDLE = 0.5
"""Seconds between looks at what there may be to do."""
RETRY = 2.0
"""Seconds until work that failed is tried again; twice as long each time, up to a minute."""
QUEUED = 64
"""Searches, and vectors to keep, that wait for the second thread; what is beyond is let go of."""
PATIENCE = 10.0
"""Seconds that the end waits for work under way."""
FLUSH = 5.0
"""Seconds after which popularity is written down."""
MEMORY = 0.9
"""Weight of the past in the rate that the time left is told from."""


class Reconciler:
    """What runs beside the answers of one index."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self.trouble: str | None = None
        """What went wrong last, until it goes right."""
        self.per_second: dict[str, float] = {}
        """Generation → documents a second that it was filled with, lately."""
        self.canary_answers: Counter[str] = Counter()
        """Generation → searches that it answered as a canary, since the index was opened."""
        self.canary_failed: Counter[str] = Counter()
        """Generation → queries that it could not embed, answered by the one that serves."""
        self._popular: Counter[str] = Counter()
        self._flushed = time.monotonic()
        self._stopped, self._awake = threading.Event(), threading.Event()
        self._beside: queue.Queue[Callable[[], None]] = queue.Queue(QUEUED)
        self._threads = [
            threading.Thread(target=self._fill_forever, name=f"upsize-fill-{index.name}", daemon=True),
            threading.Thread(target=self._beside_forever, name=f"upsize-beside-{index.name}", daemon=True),
        ]
        self._stepping, self._filling, self._gives_way = threading.Lock(), threading.Lock(), threading.Event()
        self._pointed: str | None = None
        """The generation that the store was last told to be the one in use."""

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End, after the shard under way; what the store is at after PATIENCE is cancelled."""
        self._stopped.set()
        self._awake.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(PATIENCE)
                if thread.is_alive():
                    self._index.store.close()
                    thread.join()
        self._flush()

    def wake(self) -> None:
        """There is something to do."""
        self._awake.set()

    # the first thread: generations in step

    def _fill_forever(self) -> None:
        pause = IDLE
        while not self._stopped.is_set():
            try:
                busy = self.step()
                pause = 0.0 if busy else IDLE
                self.trouble = None
            except Overloaded as error:
                pause = min(error.retry_after, IDLE)
            except Exception as error:
                pause = min(max(2 * pause, RETRY), 60.0)
                told = str(error) if isinstance(error, UpsizeError) else f"{type(error).__name__}: {error}"
                if told != self.trouble:
                    log.error("%s: %s", self._index.name, told, exc_info=not isinstance(error, UpsizeError))
                self.trouble = told
            if pause:
                self._awake.wait(pause)
                self._awake.clear()

    def step(self) -> bool:
        """One step towards all generations in step; whether there was something to do. What fails does not keep the
        rest from being done."""
        busy = False
        failed: Exception | None = None
        with self._stepping:
            for prepare in (self.point, self._index.generations.renew_numbers):
                try:
                    prepare()
                except Exception as error:
                    failed = failed or error
            for generation in self._index.state.generations:
                if self._stopped.is_set():
                    break
                try:
                    busy |= self._step(generation)
                except Exception as error:
                    failed = failed or error
        if failed:
            raise failed
        return busy

    def point(self) -> None:
        """Tell the store which generation is in use, for others who read it."""
        index = self._index
        serving = index.state.serving
        if self._pointed != serving.id:
            index.store.publish_alias(index.name, index.state.table(serving), index.state.tables)
            self._pointed = serving.id

    def _step(self, generation: Generation) -> bool:
        index = self._index
        busy = bool(index.generations.remove(generation))
        if generation in index.state.filled:
            with self._filling:
                started = time.monotonic()
                done = index.generations.fill(generation, Priority.BULK, lambda: self._wanted(generation))
            if done:
                rate = done / max(time.monotonic() - started, 1e-6)
                before = self.per_second.get(generation.id, rate)
                self.per_second[generation.id] = MEMORY * before + (1 - MEMORY) * rate
                busy = True
        if index.generations.untidy(generation):
            index.generations.tend(generation)
        return busy

    def _wanted(self, generation: Generation) -> bool:
        return not (self._stopped.is_set() or self._gives_way.is_set()) and generation in self._index.state.filled

    @contextmanager
    def gives_way(self, seconds: float) -> Iterator[bool]:
        """While this holds, the thread fills nothing, so that who holds it may. Gives False where it did not come to an
        end in so many seconds."""
        self._gives_way.set()
        try:
            stopped = self._filling.acquire(timeout=max(seconds, 0.0))
            try:
                yield stopped
            finally:
                if stopped:
                    self._filling.release()
        finally:
            self._gives_way.clear()
            self._awake.set()

    # the second thread: what searches leave

    def saw(self, question: SearchRequest, answer: SearchResult) -> None:
        """A live search was answered."""
        if self._index.read_only:
            return
        self._popular.update(answer.ids)
        move = self._index.state.move
        if move and move.phase == "backfill" and answer.generation.id == move.target:
            self.canary_answers[move.target] += 1
        if move and question.query is not None and random.random() < move.shadow:
            other = move.target if answer.generation.id == move.source else move.source
            self._later(lambda: self._shadow(question, answer, other))

    def keep(
        self, generation: Generation, documents: Sequence[Document], vectors: NDArray[np.float32], most: int
    ) -> None:
        """Vectors that a search made of the larger model: kept while they take no more than `most` bytes."""
        if not self._index.read_only:
            self._later(lambda: self._keep(generation, documents, vectors, most))

    def _later(self, work: Callable[[], None]) -> None:
        try:
            self._beside.put_nowait(work)
        except queue.Full:
            log.debug("%s: too much to do beside the searches", self._index.name)

    def _beside_forever(self) -> None:
        while not self._stopped.is_set():
            try:
                work: Callable[[], None] | None = self._beside.get(timeout=IDLE)
            except queue.Empty:
                work = None
            try:
                if work:
                    work()
                if time.monotonic() - self._flushed > FLUSH:
                    self._flush()
            except Exception as error:
                log.warning("%s: %s", self._index.name, error, exc_info=not isinstance(error, UpsizeError))

    def _shadow(self, question: SearchRequest, answer: SearchResult, other: str) -> None:
        index = self._index
        if index.state.move is None or self._stopped.is_set() or not ready(index.documents, other):
            return  # what is not there yet would count as another opinion
        # The two models alone: with the ladder's rungs above them, the same reranker would agree with itself.
        plain = replace(question, priority=Priority.SHADOW, counted=False, rerank=False, rescore=False, dimension=None)
        if answer.rungs != ("L0",):
            answer = index.search(replace(plain, generation=answer.generation.id))
        second = index.search(replace(plain, generation=other))
        # What one of them lacks is no opinion of it either.
        lacking = index.documents.lacking(other, answer.ids)
        lacking |= index.documents.lacking(answer.generation.id, second.ids)
        index.shadows.add(question.query or "", question.k, answer, second, lacking)

    def _keep(self, generation: Generation, documents: Sequence[Document], vectors: Any, most: int) -> None:
        index = self._index
        room = most // (4 * generation.dimension) - index.store.count(index.state.table(generation))
        if room > 0:
            index.generations.place(generation, documents[:room], vectors[:room])

    def _flush(self) -> None:
        counts, self._popular = self._popular, Counter()
        self._flushed = time.monotonic()
        if counts:
            self._index.documents.found(counts)
