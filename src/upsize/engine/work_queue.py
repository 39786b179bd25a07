"""WorkQueue: all that waits or is in flight in an engine. Thread-safe: one lock guards every field and every model.

Client threads count requests in and out (`enter`, `leave`). Tokenizer threads put tokenised requests in (`put`). The
runner takes batches out (`wait_for_batch`, `take_preempting`). Futures are answered outside the lock, except for a
batch that was prepared when the engine is closed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from threading import Condition, RLock

from upsize.engine.admission_gate import AdmissionGate
from upsize.engine.model_queue import Batch, ModelQueue
from upsize.engine.pending import PendingRequest
from upsize.engine.scheduler import (
    deadline,
    fair_share_due,
    preempting_classes,
    preemption_budget,
    queue_class,
    run_order,
)
from upsize.engine.types import Limits, Priority, QueueClass, Result
from upsize.errors import Overloaded, Unavailable, UnknownModel

INTERACTIVE = (QueueClass.SHORT, QueueClass.LONG)


def closed_error() -> Unavailable:
    """The error of a request that is in an engine when it is closed."""
    return Unavailable("The engine was closed before this request ran.")


class WorkQueue:
    """The queues of all models, and the requests in flight."""

    def __init__(self, limits: Limits) -> None:
        self._models: dict[str, ModelQueue] = {}
        self._gate = AdmissionGate(limits.queue_seconds)
        self._max_requests = limits.requests
        lock = RLock()
        self._changed = Condition(lock)
        """Notified for the runner: work has come, bulk work need not give way any more, or the engine is closed."""
        self._idle = Condition(lock)
        """Notified when a request leaves."""
        self._in_flight = 0
        self._draining = self._closed = False
        self._prepared: Batch | None = None
        """A batch that was taken off the queues while the device still computed the one before."""
        self._throttling = 0
        """Callers that hold `throttle_bulk`."""
        self._last_interactive = float("-inf")
        """When the last interactive request came, or a caller throttled bulk work."""
        self._last_run = dict.fromkeys(QueueClass, float("-inf"))
        """When the last batch of each class ended."""

    # models

    def add(self, model: ModelQueue) -> None:
        """Take requests for one more model."""
        with self._changed:
            self._models[model.name] = model

    def remove(self, name: str) -> list[PendingRequest]:
        """Take no more requests for a model; returns those that waited for it."""
        with self._changed:
            return self._models.pop(name).clear()

    def model(self, name: str) -> ModelQueue:
        """The queue of a model. Raises UnknownModel."""
        with self._changed:
            found = self._models.get(name)
            if found is None:
                raise UnknownModel(name, list(self._models))
            return found

    def models(self) -> dict[str, ModelQueue]:
        """A copy of name → model, in the order in which they were added."""
        with self._changed:
            return dict(self._models)

    # requests in flight

    @property
    def in_flight(self) -> int:
        """Requests that are being tokenised, wait or run."""
        return self._in_flight

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def enter(self, model: ModelQueue, priority: Priority) -> None:
        """Count a request in. Raises Unavailable while draining, Overloaded for more requests than the limit."""
        with self._changed:
            if self._draining:
                raise Unavailable("The engine is draining or closed, and takes no new requests.")
            if self._in_flight >= self._max_requests:
                seconds = model.tokens / model.tokens_per_second
                raise Overloaded(model.tokens, seconds, max(seconds, 1.0))
            self._in_flight += 1
            if priority is Priority.INTERACTIVE:
                self._last_interactive = time.monotonic()

    def leave(self, model: ModelQueue, future: Future[Result]) -> None:
        """Count a request out. If it was cancelled or has failed, its sequences are dropped from the queues."""
        with self._changed:
            if future.cancelled() or future.exception() is not None:
                for queue in model.queues.values():
                    queue.drop(future)
            self._in_flight -= 1
            self._idle.notify_all()

    def reserve(self, model: ModelQueue, pending: PendingRequest, tokens: float) -> None:
        """Admit a long request by its estimated tokens before it is tokenised, or raise Overloaded.

        A rejected request then costs no tokenising. Requests of the other classes are admitted in `put`.
        """
        chosen = queue_class(pending.request.priority, tokens, model.budget)
        if chosen is not QueueClass.LONG:
            return
        with self._changed:
            self._admit(model, chosen, tokens, pending)
            model.reserve(tokens)
            pending.reserved_tokens = tokens

    def release(self, model: ModelQueue, pending: PendingRequest) -> None:
        """Release the reservation of a request that is tokenised, or failed."""
        if pending.reserved_tokens is not None:
            with self._changed:
                model.reserve(-pending.reserved_tokens)

    def put(self, model: ModelQueue, pending: PendingRequest) -> None:
        """Queue the sequences of a tokenised request. Raises Overloaded, or Unavailable."""
        tokens = pending.tokens
        chosen = queue_class(pending.request.priority, tokens, model.budget)
        with self._changed:
            if self._closed:
                raise closed_error()
            if self._models.get(model.name) is not model:
                raise removed_error(model.name)
            if pending.future.done():  # cancelled while its texts were tokenised
                return
            if pending.reserved_tokens is None:
                self._admit(model, chosen, tokens, pending)
            model.queues[chosen].put(pending, deadline(pending.arrival, tokens, model.tokens_per_second))
            self._changed.notify()

    def drain(self, timeout: float | None) -> bool:
        """Take no new requests, and wait until none is in flight; False after `timeout` seconds."""
        with self._idle:
            self._draining = True
            return self._idle.wait_for(lambda: self._in_flight == 0, timeout)

    def close(self) -> None:
        """Take no new requests, and let the runner end after its batch."""
        with self._changed:
            self._draining = self._closed = True
            self._changed.notify_all()

    def clear(self) -> list[PendingRequest]:
        """Empty all queues, and return the requests that waited."""
        with self._changed:
            return [pending for model in self._models.values() for pending in model.clear()]

    # throttling bulk work

    @contextmanager
    def throttle_bulk(self) -> Iterator[None]:
        """Bulk and shadow work gives way at its yield points while this context is open."""
        with self._changed:
            self._throttling += 1
            self._last_interactive = time.monotonic()
        try:
            yield
        finally:
            with self._changed:
                self._throttling -= 1
                if not self._throttling:
                    self._changed.notify_all()

    @property
    def throttling(self) -> bool:
        """Whether bulk and shadow work should give way now."""
        return self._throttling > 0 and not self._closed

    def wait_while_throttling(self, seconds: float) -> None:
        """Wait at most `seconds`, until work comes or throttling ends."""
        with self._changed:
            if self.throttling:
                self._changed.wait(seconds)

    def interactive_within(self, seconds: float) -> bool:
        """Whether an interactive request came, or a caller throttled bulk work, in the last `seconds`."""
        return time.monotonic() - self._last_interactive < seconds

    # batches

    def wait_for_batch(self) -> Batch | None:
        """The next batch, waited for; None when the engine is closed."""
        with self._changed:
            prepared, self._prepared = self._prepared, None
            if prepared is not None:
                if not self._closed:
                    return prepared
                for sequence in prepared.sequences:
                    sequence.pending.fail(closed_error())
            while not self._closed:
                if (batch := self._take()) is not None:
                    return batch
                self._changed.wait()
        return None

    def prepare_batch(self) -> None:
        """Take the next batch off the queues, for the next `wait_for_batch`."""
        with self._changed:
            if self._prepared is None:
                self._prepared = self._take()

    def take_interactive(self) -> Batch | None:
        """The next batch of interactive requests, if one waits."""
        with self._changed:
            return self._take(allowed=INTERACTIVE)

    def take_preempting(self, running: Batch, computed: float, preempted: float) -> Batch | None:
        """A much smaller batch that may preempt `running` at a yield point, if one waits.

        `computed`: seconds that `running` has run itself. `preempted`: seconds that others ran within it. Only
        interactive requests preempt, because a batch that preempts is not preempted itself.
        """
        with self._changed:
            queues = [model.queues[one] for model in self._models.values() for one in INTERACTIVE]
            deadlines = [queue.first.deadline for queue in queues if queue]
            if not deadlines:
                return None
            budget = running.model_queue.budget
            allowed = preempting_classes(
                running.queue_class,
                computed,
                preempted,
                earlier=min(deadlines) < running.deadline,
                oversized=running.tokens > budget,
            )
            return self._take(preemption_budget(running.tokens, budget), allowed) if allowed else None

    def batch_started(self, batch: Batch) -> None:
        """Compare the waits of the requests that begin with this batch with what was expected."""
        with self._changed:
            now = time.monotonic()
            for sequence in batch.sequences:
                pending = sequence.pending
                if pending.expected_wait is not None:
                    self._gate.learn_wait(batch.queue_class, pending.expected_wait, now - pending.queued_at)
                    pending.expected_wait = None

    def batch_finished(self, batch: Batch, seconds: float) -> None:
        """Learn the rate of the model and the usage of the class from a batch that ran for `seconds`."""
        with self._changed:
            self._last_run[batch.queue_class] = now = time.monotonic()
            self._gate.learn_usage(batch.queue_class, seconds, now)
            batch.model_queue.learn_rate(batch, seconds)

    # with the lock held

    def _admit(self, model: ModelQueue, chosen: QueueClass, tokens: float, pending: PendingRequest) -> None:
        due = deadline(pending.arrival, tokens, model.tokens_per_second)
        pending.expected_wait = self._gate.admit(self._models.values(), model, chosen, tokens, due, pending.request)

    def _take(self, budget: int | None = None, allowed: Sequence[QueueClass] = tuple(QueueClass)) -> Batch | None:
        """Take the next batch of the classes `allowed`. With a `budget`, only what fits into it."""
        due, waiting = {}, {}
        for one in allowed:
            if found := [model for model in self._models.values() if model.queues[one]]:
                waiting[one] = sorted(found, key=lambda model: model.queues[one].first.deadline)
                first, queue = waiting[one][0], waiting[one][0].queues[one]
                seconds = min(queue.tokens, first.budget) / first.rate(one)
                since = max(queue.first.pending.queued_at, self._last_run[one])
                due[one] = fair_share_due(one, since, seconds)
        for one in run_order(due, time.monotonic()):
            for model in waiting[one]:
                most = model.budget if budget is None else budget
                if sequences := model.queues[one].take(most, oversized=budget is None):
                    # One attention call covers neighbours of equal length.
                    return Batch(model, one, sorted(sequences, key=lambda s: s.tokens))
        return None


def removed_error(name: str) -> Unavailable:
    """The error of a request whose model is removed while it waits."""
    return Unavailable(f"The model {name!r} is no longer served.")
