"""Reconciler: the thread that brings every generation of an index up to date.

One step removes deleted documents from a generation, embeds its backlog, and compacts its table when that is due. A
step that fails is tried again, with a growing pause; `trouble` says why.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from upsize.engine import Priority
from upsize.errors import Overloaded, UpsizeError
from upsize.index.generations import Generations
from upsize.index.state import Generation, State
from upsize.store import Store

log = logging.getLogger("upsize.index")

POLL_SECONDS = 0.5
"""Seconds between two looks for work."""
RETRY_SECONDS, LONGEST_RETRY_SECONDS = 2.0, 60.0
"""Seconds until failed work is tried again at first, and at most; the pause doubles each time."""
EMA_DECAY = 0.9
"""Weight of the past in the rate that the time left is estimated from."""


class Reconciler:
    """Brings the generations of one index up to date. Thread-safe."""

    def __init__(self, state: Callable[[], State], store: Store, generations: Generations) -> None:
        self._state, self._store, self._generations = state, store, generations
        self.trouble: str | None = None
        """The last error, until a step succeeds."""
        self.documents_per_second: dict[str, float] = {}
        """Generation → rate of its backfill lately."""
        self._stopped, self._awake, self._backfill_paused = threading.Event(), threading.Event(), threading.Event()
        self._stepping, self._filling = threading.Lock(), threading.Lock()
        self._published: str | None = None
        """The generation that the store's alias was last set to."""
        self.thread = threading.Thread(target=self._run, name=f"upsize-reconcile-{state().name}", daemon=True)

    def request_stop(self) -> None:
        """End the thread after the shard that is being embedded."""
        self._stopped.set()
        self._awake.set()

    def wake(self) -> None:
        """Start the next step now."""
        self._awake.set()

    def step(self) -> bool:
        """Make one step for every generation; whether there was work. A generation that fails does not stop the others:
        the first error is raised at the end."""
        worked = False
        failed: Exception | None = None
        with self._stepping:
            for prepare in (self.publish_alias, self._generations.rewrite_rounded_numbers):
                try:
                    prepare()
                except Exception as error:
                    failed = failed or error
            for generation in self._state().generations:
                if self._stopped.is_set():
                    break
                try:
                    worked |= self._step(generation)
                except Exception as error:
                    failed = failed or error
        if failed:
            raise failed
        return worked

    def publish_alias(self) -> None:
        """Point the store's alias of the index at the active generation, for others who read the store."""
        state = self._state()
        if self._published != state.active:
            self._store.publish_alias(state.name, state.table(state.serving), state.tables)
            self._published = state.active

    @contextmanager
    def backfill_paused(self, seconds: float) -> Iterator[bool]:
        """Keep the thread from embedding while the context is open; False if it does not stop within `seconds`."""
        self._backfill_paused.set()
        try:
            stopped = self._filling.acquire(timeout=max(seconds, 0.0))
            try:
                yield stopped
            finally:
                if stopped:
                    self._filling.release()
        finally:
            self._backfill_paused.clear()
            self._awake.set()

    def _run(self) -> None:
        pause = POLL_SECONDS
        while not self._stopped.is_set():
            try:
                pause = 0.0 if self.step() else POLL_SECONDS
                self.trouble = None
            except Overloaded as error:
                pause = min(error.retry_after, POLL_SECONDS)
            except Exception as error:
                pause = min(max(2 * pause, RETRY_SECONDS), LONGEST_RETRY_SECONDS)
                message = str(error) if isinstance(error, UpsizeError) else f"{type(error).__name__}: {error}"
                if message != self.trouble:
                    log.error("%s: %s", self._state().name, message, exc_info=not isinstance(error, UpsizeError))
                self.trouble = message
            if pause:
                self._awake.wait(pause)
                self._awake.clear()

    def _step(self, generation: Generation) -> bool:
        worked = bool(self._generations.apply_tombstones(generation))
        if generation in self._state().kept_current:
            with self._filling:
                started = time.monotonic()
                done = self._generations.embed_backlog(generation, Priority.BULK, lambda: self._may_fill(generation))
            if done:
                rate = done / max(time.monotonic() - started, 1e-6)
                before = self.documents_per_second.get(generation.id, rate)
                self.documents_per_second[generation.id] = EMA_DECAY * before + (1 - EMA_DECAY) * rate
                worked = True
        if self._generations.needs_compaction(generation):
            self._generations.compact(generation)
        return worked

    def _may_fill(self, generation: Generation) -> bool:
        stopped = self._stopped.is_set() or self._backfill_paused.is_set()
        return not stopped and generation in self._state().kept_current
