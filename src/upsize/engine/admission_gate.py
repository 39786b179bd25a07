"""Gate: which interactive requests may wait, by the seconds that they would. Guarded by the runner's lock."""

from __future__ import annotations

import math
import time
from collections.abc import Hashable, Iterable

from upsize.engine.admission import Admission
from upsize.engine.model_queue import Batch, ModelQueue
from upsize.engine.pending import Job
from upsize.engine.request_encoding import characters
from upsize.engine.scheduler import deadline
from upsize.engine.types import EmbedRequest, QueueClass, Request
from upsize.errors import Overloaded

SHORT_BOUND = 3
"""Short requests wait for a third of the bound at most: who asks for one vector is a person, or soon asks again."""
HALVING = 10.0
"""Seconds after which what a priority has had of the machine counts half."""
LEAST = 0.45
"""Part of the machine that either kind of interactive requests has (`schedule.FAIR_SHARE`), beside bulk work."""

WORTH, WRONG, LEARN = 1.0, 4.0, 0.1
"""Seconds from which on an expected wait tells something; factor that it is wrong by at most; weight of one request."""


class AdmissionGate:
    """Of all models of an engine: they share one machine."""

    def __init__(self, queue_seconds: float) -> None:
        """`queue_seconds`: how long a request may have to wait."""
        bounds = {QueueClass.SHORT: queue_seconds / SHORT_BOUND, QueueClass.LONG: queue_seconds}
        self._admissions = {queue_class: Admission(bound) for queue_class, bound in bounds.items()}
        self._had = dict.fromkeys(QueueClass, 0.0)
        self._since = time.monotonic()
        self._errors = dict.fromkeys(self._admissions, 1.0)
        """Seconds that requests waited by those that they were expected to."""

    def enter(
        self, models: Iterable[ModelQueue], served: ModelQueue, queue_class: QueueClass, tokens: float, job: Job
    ) -> None:
        """Let a request of so many tokens in, or raise Overloaded. One that would not wait may have any size."""
        admission = self._admissions.get(queue_class)
        if admission is None or admission.bound == float("inf"):
            return
        seconds, now = tokens / served.rate(queue_class), time.monotonic()
        models = list(models)
        due = deadline(job.arrival, tokens, served.tokens_per_second)
        expected = sum(s.seconds_before(queue_class, due) for s in models) / self._share(queue_class, now)
        job.expected, waiting = expected, expected * self._errors[queue_class]
        after = admission.wait(_content(job.request), seconds, waiting, now)
        if after is not None:
            raise Overloaded(sum(s.tokens for s in models), waiting, after)

    def began(self, batch: Batch, now: float) -> None:
        """Learn from the requests that begin now how far waits are from what is expected: what is not computing takes
        time too, and other programs share the machine."""
        for sequence in batch.sequences:
            job = sequence.job
            if job.expected is not None and job.expected > WORTH and batch.queue_class in self._errors:
                error = min(max((now - job.queued_at) / job.expected, 1 / WRONG), WRONG)
                self._errors[batch.queue_class] = LEARN * error + (1 - LEARN) * self._errors[batch.queue_class]
            job.expected = None

    def ran(self, queue_class: QueueClass, seconds: float, now: float) -> None:
        """A batch took so long."""
        past = self._past(now)
        self._since = now
        for one in self._had:
            self._had[one] = self._had[one] * past + (seconds if one is queue_class else 0.0)

    def _share(self, queue_class: QueueClass, now: float) -> float:
        """Part of the machine that a priority has beside the others, as they used it lately."""
        others = sum(had for one, had in self._had.items() if one is not queue_class) * self._past(now)
        return max(1 - others * math.log(2) / HALVING, LEAST)

    def _past(self, now: float) -> float:
        return float(0.5 ** ((now - self._since) / HALVING))


def _content(request: Request) -> Hashable:
    """What tells a request that comes back: what it asks, not who asks."""
    texts = request.inputs if isinstance(request, EmbedRequest) else (request.query, *request.documents)
    ends = [t[:1000] if isinstance(t, str) else tuple(t[:50]) for t in (texts[0], texts[-1])] if texts else []
    return hash((*ends, len(texts), characters(request), request.instruction))
