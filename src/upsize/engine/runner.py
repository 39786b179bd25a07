"""All threads of the engine: those that tokenise, some for each lane, and one runner that runs batches.

The runner takes the earliest deadline of all models' queues in the first priority that waits, runs its batch step by
step, and at each yield point lets much smaller, more urgent work preempt it. While a device works off what was
launched, it prepares the next batch.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Protocol

from upsize.engine.admission_gate import AdmissionGate
from upsize.engine.model_queue import Batch, ModelQueue
from upsize.engine.pending import Job
from upsize.engine.request_encoding import characters, lint_findings
from upsize.engine.scheduler import deadline, fair_share_due, order, preempting_classes, preemption_budget, queue_class
from upsize.engine.tokenizer_threads import TokenizerThreads
from upsize.engine.types import EmbedRequest, Priority, QueueClass, Result
from upsize.errors import OutOfMemory, Overloaded, Unavailable
from upsize.model.incremental_encoding import Steps, finish
from upsize.model.input_lint import ADVICE
from upsize.model.pooling import Vectors

log = logging.getLogger("upsize.engine")

ASIDE = 0.1
"""Seconds that bulk work waits at one pause for those who want the machine: it goes slower, and never stands still."""
ASKED = 0.5
"""Seconds after somebody asked, in which bulk work leaves one core to whoever asks next, and to the answer's way."""
AT_ONCE = 1000
"""Characters that whoever submits them tokenises: it takes less time than to wake a thread for it."""
LOOK = 0.005
"""Seconds between looks for urgent work meanwhile; what comes into the queue ends the wait earlier."""
CHARACTERS = 4
"""Of a token, where tokens are not counted yet."""


class Observer(Protocol):
    """Someone who wants to hear of what the engine does, such as the metrics. Called from its threads."""

    def batch(self, model: str, sequences: int, tokens: int, seconds: float) -> None:
        """A batch was computed."""

    def lint_finding(self, model: str, kind: str) -> None:
        """A request looked wrong (kinds of `model.suspicion.ADVICE`)."""


class Runner:
    """Take jobs, tokenise them, run them, answer them. `close` after `drain` or at once."""

    def __init__(
        self, models: dict[str, ModelQueue], queue_seconds: float, most_tokens: float, observer: Observer | None
    ) -> None:
        self._models, self._most_tokens, self._observer = models, most_tokens, observer
        self._gate = AdmissionGate(queue_seconds)
        threads = min(4, os.cpu_count() or 1)
        self._tokenizing = {
            priority: TokenizerThreads(threads, f"upsize-tokenize-{priority.name}") for priority in Priority
        }
        self._changed = threading.Condition()
        self._closed = False
        self._prepared: Batch | None = None
        self._throttling = 0
        """Who wants the machine for a moment, beside the engine."""
        self._asked = float("-inf")
        """When somebody asked last, or wanted the machine."""
        self._ran = dict.fromkeys(QueueClass, float("-inf"))
        """When each priority's last batch ended."""
        self._warned: set[str] = set()
        self._runner = threading.Thread(target=self._run_forever, name="upsize-runner", daemon=True)
        self._runner.start()

    @contextmanager
    def throttle_bulk(self) -> Iterator[None]:
        """While this holds, work of the bulk and shadow lanes stands aside, for ASIDE seconds at most at a time."""
        with self._changed:
            self._throttling += 1
            self._asked = time.monotonic()
        try:
            yield
        finally:
            with self._changed:
                self._throttling -= 1
                if not self._throttling:
                    self._changed.notify_all()

    def add(self, served: ModelQueue) -> None:
        """One more model."""
        with self._changed:
            self._models[served.name] = served

    def remove(self, name: str) -> None:
        """One model less. Its batch under way is finished; what waits is answered with Unavailable."""
        with self._changed:
            served = self._models.pop(name)
            waiting = served.clear()
            served.removed = True
        for job in waiting:
            job.fail(Unavailable(f"The model {name!r} is served no more."))

    def submit(self, served: ModelQueue, job: Job) -> Future[Result]:
        """Take a job in. Its future gets the result, or an UpsizeError."""
        if job.request.priority is Priority.INTERACTIVE:
            self._asked = time.monotonic()
        # The callback knows the future alone: with the job in it, texts and vectors would wait for the cycle collector.
        job.future.add_done_callback(lambda future: self._forget(served, future))
        steps, size = self._tokenize(served, job), characters(job.request)
        if size <= AT_ONCE:
            finish(steps)
        elif self._let_in(served, job, size):
            closed = Unavailable("The engine was closed before this request ran.")
            self._tokenizing[job.request.priority].submit(served.name, steps, lambda: job.fail(closed))
        return job.future

    def close(self) -> None:
        """Finish the running batch, answer everything else with Unavailable, and stop the threads."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for tokenizing in self._tokenizing.values():
            tokenizing.close()
        self._runner.join()
        for served in self._models.values():
            for job in served.clear():
                job.fail(Unavailable("The engine was closed before this request ran."))

    # the tokenising threads

    def _tokenize(self, served: ModelQueue, job: Job) -> Steps[None]:
        """Encode, lint and queue a job, in steps; its errors are its client's."""
        try:
            if job.future.done():
                return
            most = self._most_tokens if job.request.priority is Priority.INTERACTIVE else float("inf")
            for characters_done in job.encode(served.model, most):
                yield characters_done
                if job.future.done():
                    return
            self._look_twice(served, job)
            self._admit(served, job)
        except Exception as error:
            job.fail(error)
        finally:
            if job.let_in is not None:
                with self._changed:
                    served.tokenizing[job.let_in[0]] -= job.let_in[1]

    def _look_twice(self, served: ModelQueue, job: Job) -> None:
        """Count what looks wrong with a job that will succeed all the same, and say each kind once."""
        job.lint = tuple(sorted(set(lint_findings(served.model, job.request))))
        for kind in job.lint:
            if self._observer is not None:
                self._observer.lint_finding(served.name, kind)
            with self._changed:
                new = kind not in self._warned
                self._warned.add(kind)
            if new:
                log.warning("%s: %s (said once; counted in upsize_suspicious_inputs_total)", served.name, ADVICE[kind])

    def _let_in(self, served: ModelQueue, job: Job, size: int) -> bool:
        """Whether a request may be tokenised; one for which there is no room is answered before, by its estimate."""
        ids = (
            isinstance(job.request, EmbedRequest) and job.request.inputs and not isinstance(job.request.inputs[0], str)
        )
        tokens = size if ids else size / CHARACTERS
        chosen = queue_class(job.request.priority, tokens, served.model.plan.budget)
        if chosen is not QueueClass.LONG:
            return True
        try:
            with self._changed:
                self._gate.enter(self._models.values(), served, chosen, tokens, job)
                served.tokenizing[chosen] += tokens
        except Overloaded as error:
            job.fail(error)
            return False
        job.let_in = chosen, tokens
        return True

    def _admit(self, served: ModelQueue, job: Job) -> None:
        """Queue the job's sequences, or raise Overloaded. An empty queue takes a job of any size."""
        job.queued_at = time.monotonic()
        if not job.encoded:
            job.succeed(served.model)
            return
        tokens = job.tokens
        chosen = queue_class(job.request.priority, tokens, served.model.plan.budget)
        with self._changed:
            if self._closed:
                raise Unavailable("The engine was closed before this request ran.")
            if served.removed:
                raise Unavailable(f"The model {served.name!r} is served no more.")
            if job.future.done():  # the client left while its texts were tokenised
                return
            if job.let_in is None:
                self._gate.enter(self._models.values(), served, chosen, tokens, job)
            due = deadline(job.arrival, tokens, served.tokens_per_second)
            served.queues[chosen].put(job, due)
            self._changed.notify()

    def _forget(self, served: ModelQueue, future: Future[Result]) -> None:
        """Take a job off the queue whose client went away, or that failed in one of its sequences."""
        if future.cancelled() or future.exception() is not None:
            with self._changed:
                for queue in served.queues.values():
                    queue.drop(future)

    # the runner

    def _run_forever(self) -> None:
        while (batch := self._next()) is not None:
            self._run(batch)
            del batch  # while it waits for the next, the runner holds nobody's texts

    def _next(self) -> Batch | None:
        """The next batch, waited for; None when closed."""
        with self._changed:
            prepared, self._prepared = self._prepared, None
            if prepared is not None:
                if not self._closed:
                    return prepared
                for sequence in prepared.sequences:
                    sequence.job.fail(Unavailable("The engine was closed before this request ran."))
            while not self._closed:
                if (batch := self._take()) is not None:
                    return batch
                self._changed.wait()
        return None

    def _take(self, budget: int | None = None, allowed: Sequence[QueueClass] = tuple(QueueClass)) -> Batch | None:
        """Take the next batch off its queue; with a budget, only what fits; of these priorities alone. Needs the
        lock."""
        due, waiting, now = {}, {}, time.monotonic()
        for one in allowed:
            found = [s for s in self._models.values() if s.queues[one]]
            if found:
                waiting[one] = sorted(found, key=lambda s: s.queues[one].first.deadline)
                first, queue = waiting[one][0], waiting[one][0].queues[one]
                seconds = min(queue.tokens, first.model.plan.budget) / first.rate(one)
                due[one] = fair_share_due(one, max(queue.first.job.queued_at, self._ran[one]), seconds)
        for one in order(due, now):
            for served in waiting[one]:
                room = served.model.plan.budget if budget is None else budget
                if chosen := served.queues[one].take(room, oversized=budget is None):
                    # Neighbours of equal length share one attention call.
                    return Batch(served, one, sorted(chosen, key=lambda s: s.tokens))
        return None

    def _run(self, batch: Batch, may_be_overtaken: bool = True) -> None:
        """Run a batch to its end and answer the jobs that it completes."""
        served = batch.served
        steps = served.model.run([s.ids for s in batch.sequences])
        started, overtaken = time.monotonic(), 0.0
        with self._changed:
            self._gate.began(batch, started)
        bulk = batch.queue_class > QueueClass.LONG
        try:
            while True:
                served.model.spare_a_core(bulk and time.monotonic() - self._asked < ASKED)
                try:
                    launched = next(steps)
                except StopIteration as finished:
                    values = finished.value
                    break
                if not batch.wanted:
                    steps.close()
                    return
                if may_be_overtaken:
                    overtaken += self._let_overtake(batch, time.monotonic() - started - overtaken, overtaken)
                    if bulk and self._throttling:
                        overtaken += self._stand_aside()
                    if launched and self._prepared is None:
                        with self._changed:
                            self._prepared = self._take()
        except Exception as error:
            self._retry_halved(batch, error, may_be_overtaken)
            return
        try:
            self._answer(batch, values, time.monotonic() - started - overtaken)
        except Exception as error:  # an observer's: what was computed is not computed again for it
            log.exception("the results of a batch of %d tokens of %s were lost", batch.tokens, served.name)
            for sequence in batch.sequences:
                sequence.job.fail(error)

    def _answer(self, batch: Batch, values: Vectors, seconds: float) -> None:
        """Hand a batch's values to its jobs, and answer those that it completes."""
        self._account(batch, seconds)
        for sequence, value in zip(batch.sequences, values, strict=True):
            job = sequence.job
            job.compute_seconds += seconds * sequence.tokens / batch.tokens
            if job.put(sequence.index, value):
                job.succeed(batch.served.model)

    def _let_overtake(self, batch: Batch, computed: float, overtaken: float) -> float:
        """At a yield point of `batch`, run one much smaller batch that is due; seconds spent on it.

        Of interactive requests alone, for what preempts cannot be preempted itself.
        """
        with self._changed:
            queues = [s.queues[p] for s in self._models.values() for p in (QueueClass.SHORT, QueueClass.LONG)]
            heads = [queue.first.deadline for queue in queues if queue]
            if not heads:
                return 0.0
            earlier, budget = min(heads) < batch.deadline, batch.served.model.plan.budget
            oversized = batch.tokens > budget
            allowed = preempting_classes(batch.queue_class, computed, overtaken, earlier=earlier, oversized=oversized)
            urgent = self._take(preemption_budget(batch.tokens, budget), allowed) if allowed else None
        if urgent is None:
            return 0.0
        started = time.monotonic()
        self._run(urgent, may_be_overtaken=False)
        return time.monotonic() - started

    def _stand_aside(self) -> float:
        """At a yield point of a batch, wait while somebody wants the machine, and run what is more urgent; seconds of
        it."""
        began = time.monotonic()
        while (left := began + ASIDE - time.monotonic()) > 0:
            with self._changed:
                urgent = self._take(allowed=(QueueClass.SHORT, QueueClass.LONG))
            if urgent is not None:
                self._run(urgent, may_be_overtaken=False)
                continue
            with self._changed:
                if not self._throttling or self._closed:
                    break
                self._changed.wait(min(left, LOOK))
        return time.monotonic() - began

    def _retry_halved(self, batch: Batch, error: Exception, may_be_overtaken: bool) -> None:
        """What fails together may do in halves; what fails alone is its own job's error, and nobody else's."""
        name = batch.served.name
        if len(batch.sequences) == 1:
            if not isinstance(error, OutOfMemory):
                log.error("a batch of %d tokens of %s failed", batch.tokens, name, exc_info=error)
            batch.sequences[0].job.fail(error)
            return
        log.warning("%d tokens of %s failed (%s); trying again in halves", batch.tokens, name, error)
        half = len(batch.sequences) // 2
        for part in (batch.sequences[:half], batch.sequences[half:]):
            if alive := [s for s in part if not s.job.future.done()]:
                self._run(Batch(batch.served, batch.queue_class, alive), may_be_overtaken)

    def _account(self, batch: Batch, seconds: float) -> None:
        with self._changed:
            self._ran[batch.queue_class] = now = time.monotonic()
            self._gate.ran(batch.queue_class, seconds, now)
            batch.served.measured(batch, seconds)
        if self._observer is not None:
            self._observer.batch(batch.served.name, len(batch.sequences), batch.tokens, seconds)
