"""Runner: the one thread that runs batches.

It takes the next batch of the work queue and runs it step by step. At each yield point a much smaller, more urgent
batch may preempt it. While a device works off what was launched, the runner prepares the next batch.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Protocol

from upsize.engine.model_queue import Batch
from upsize.engine.types import QueueClass
from upsize.engine.work_queue import WorkQueue
from upsize.errors import OutOfMemory
from upsize.model.pooling import Vectors

log = logging.getLogger("upsize.engine")

THROTTLE_SECONDS = 0.1
"""Seconds that bulk work gives way at one yield point at most. It gets slower, and never starves."""
SPARE_CORE_SECONDS = 0.5
"""Seconds after an interactive request in which bulk work leaves one core to the next request and to the reply."""
POLL_SECONDS = 0.005
"""Seconds between two looks for urgent work while bulk work gives way. New work ends the wait earlier."""


class Observer(Protocol):
    """Receives the engine's events, for metrics. The engine's threads call it."""

    def batch(self, model: str, sequences: int, tokens: int, seconds: float) -> None:
        """A batch was computed."""

    def lint_finding(self, model: str, kind: str) -> None:
        """A request has a lint finding of this kind (a key of `upsize.model.input_lint.ADVICE`)."""


class Runner:
    """Runs batches of a work queue until the queue is closed."""

    def __init__(self, queue: WorkQueue, observer: Observer | None) -> None:
        self._queue, self._observer = queue, observer
        self._thread = threading.Thread(target=self._run_forever, name="upsize-runner", daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait for the thread's end; the queue must be closed."""
        self._thread.join()

    def _run_forever(self) -> None:
        while (batch := self._queue.wait_for_batch()) is not None:
            self.run_batch(batch)
            del batch  # an idle runner must not keep texts alive

    def run_batch(self, batch: Batch, preemptible: bool = True) -> None:
        """Run a batch to its end, and answer the requests that it completes."""
        model, bulk = batch.model_queue.loaded, batch.queue_class > QueueClass.LONG
        steps = model.run([s.ids for s in batch.sequences])
        started, preempted = time.monotonic(), 0.0
        self._queue.batch_started(batch)
        try:
            while True:
                model.spare_a_core(bulk and self._queue.interactive_within(SPARE_CORE_SECONDS))
                try:
                    launched = next(steps)
                except StopIteration as finished:
                    values = finished.value
                    break
                if batch.cancelled:
                    steps.close()
                    return
                if preemptible:
                    preempted += self._yield(batch, time.monotonic() - started - preempted, preempted)
                    if launched:
                        self._queue.prepare_batch()
        except Exception as error:
            self._retry_halved(batch, error, preemptible)
            return
        try:
            self._finish(batch, values, time.monotonic() - started - preempted)
        except Exception as error:  # the observer's: a batch is not computed again for it
            log.exception("The results of a batch of %d tokens of %s are dropped", batch.tokens, batch.model_queue.name)
            for sequence in batch.sequences:
                sequence.pending.fail(error)

    def _finish(self, batch: Batch, values: Vectors, seconds: float) -> None:
        """Hand the values to their requests, and answer those that are complete."""
        self._queue.batch_finished(batch, seconds)
        if self._observer is not None:
            self._observer.batch(batch.model_queue.name, len(batch.sequences), batch.tokens, seconds)
        for sequence, value in zip(batch.sequences, values, strict=True):
            if sequence.pending.put(sequence.index, value, seconds * sequence.tokens / batch.tokens):
                sequence.pending.succeed(batch.model_queue.loaded)

    def _yield(self, batch: Batch, computed: float, preempted: float) -> float:
        """A yield point of `batch`: run what preempts it, and give way if bulk work is throttled; returns seconds."""
        started = time.monotonic()
        if (urgent := self._queue.take_preempting(batch, computed, preempted)) is not None:
            self.run_batch(urgent, preemptible=False)
        if batch.queue_class > QueueClass.LONG and self._queue.throttling:
            self._give_way()
        return time.monotonic() - started

    def _give_way(self) -> None:
        """Run interactive requests alone while bulk work is throttled, for THROTTLE_SECONDS at most."""
        end = time.monotonic() + THROTTLE_SECONDS
        while (left := end - time.monotonic()) > 0:
            if (urgent := self._queue.take_interactive()) is not None:
                self.run_batch(urgent, preemptible=False)
            elif not self._queue.throttling:
                break
            else:
                self._queue.wait_while_throttling(min(left, POLL_SECONDS))

    def _retry_halved(self, batch: Batch, error: Exception, preemptible: bool) -> None:
        """Run a failed batch in halves. A sequence that fails alone fails its own request and no other."""
        name = batch.model_queue.name
        if len(batch.sequences) == 1:
            if not isinstance(error, OutOfMemory):
                log.error("A batch of %d tokens of %s failed", batch.tokens, name, exc_info=error)
            batch.sequences[0].pending.fail(error)
            return
        log.warning("A batch of %d tokens of %s failed (%s); it runs again in halves", batch.tokens, name, error)
        half = len(batch.sequences) // 2
        for part in (batch.sequences[:half], batch.sequences[half:]):
            if alive := [s for s in part if not s.pending.future.done()]:
                self.run_batch(Batch(batch.model_queue, batch.queue_class, alive), preemptible)
