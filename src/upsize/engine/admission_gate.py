"""AdmissionGate: admits interactive requests by the seconds that they would wait. The work queue's lock guards it."""

from __future__ import annotations

import math
import time
from collections.abc import Hashable, Iterable

from upsize.engine.admission import Admission
from upsize.engine.model_queue import ModelQueue
from upsize.engine.request_encoding import characters
from upsize.engine.types import EmbedRequest, QueueClass, Request
from upsize.errors import Overloaded

SHORT_BOUND_DIVISOR = 3
"""Short requests wait at most a third of the bound. A person waits for them, or a program that soon asks again."""
USAGE_HALF_LIFE = 10.0
"""Seconds after which the machine time that a queue class has used counts half."""
MIN_SHARE = 0.45
"""Part of the machine that a class of interactive requests is assumed to have at least. The fair share of long requests
beside short ones is a half (`scheduler.FAIR_SHARE`); bulk work takes a tenth of it."""
MIN_LEARNED_WAIT = 1.0
"""Seconds. A shorter expected wait says nothing about the error of the prediction."""
MAX_WAIT_ERROR = 4.0
"""Factor by which one request can say that the prediction is wrong. It bounds outliers."""
ERROR_EMA_WEIGHT = 0.1
"""Weight of one request in the moving average of the prediction's error: about the last ten requests count."""


class AdmissionGate:
    """Admission to all models of an engine, which share one machine."""

    def __init__(self, queue_seconds: float) -> None:
        """`queue_seconds`: how long an interactive request may wait at most."""
        bounds = {QueueClass.SHORT: queue_seconds / SHORT_BOUND_DIVISOR, QueueClass.LONG: queue_seconds}
        self._admissions = {queue_class: Admission(bound) for queue_class, bound in bounds.items()}
        self._used_seconds = dict.fromkeys(QueueClass, 0.0)
        self._used_at = time.monotonic()
        self._wait_error = dict.fromkeys(self._admissions, 1.0)
        """Moving average of actual over expected wait."""

    def admit(
        self,
        models: Iterable[ModelQueue],
        target: ModelQueue,
        queue_class: QueueClass,
        tokens: float,
        due: float,
        request: Request,
    ) -> float | None:
        """Admit a request of `tokens` tokens to `target`, or raise Overloaded with the time to retry.

        Returns the seconds that the request is expected to wait, or None for a class without a bound. A request that
        would not wait is admitted whatever its size.
        """
        admission = self._admissions.get(queue_class)
        if admission is None or admission.bound == float("inf"):
            return None
        seconds, now = tokens / target.rate(queue_class), time.monotonic()
        models = list(models)
        expected = sum(m.seconds_before(queue_class, due) for m in models) / self._share(queue_class, now)
        waiting = expected * self._wait_error[queue_class]
        after = admission.wait(_content_key(request), seconds, waiting, now)
        if after is not None:
            raise Overloaded(sum(m.tokens for m in models), waiting, after)
        return expected

    def learn_wait(self, queue_class: QueueClass, expected: float, waited: float) -> None:
        """Learn from a request that begins to run how far waits are from expected ones.

        Tokenising and replying take time too, and other programs share the machine.
        """
        if expected > MIN_LEARNED_WAIT and queue_class in self._wait_error:
            error = min(max(waited / expected, 1 / MAX_WAIT_ERROR), MAX_WAIT_ERROR)
            past = self._wait_error[queue_class]
            self._wait_error[queue_class] = ERROR_EMA_WEIGHT * error + (1 - ERROR_EMA_WEIGHT) * past

    def learn_usage(self, queue_class: QueueClass, seconds: float, now: float) -> None:
        """Count the seconds that a batch ran towards its class."""
        decay = self._decay(now)
        self._used_at = now
        for one in self._used_seconds:
            self._used_seconds[one] = self._used_seconds[one] * decay + (seconds if one is queue_class else 0.0)

    def _share(self, queue_class: QueueClass, now: float) -> float:
        """Part of the machine that the other classes, as they used it recently, leave to this one."""
        others = sum(used for one, used in self._used_seconds.items() if one is not queue_class) * self._decay(now)
        return max(1 - others * math.log(2) / USAGE_HALF_LIFE, MIN_SHARE)

    def _decay(self, now: float) -> float:
        return float(0.5 ** ((now - self._used_at) / USAGE_HALF_LIFE))


def _content_key(request: Request) -> Hashable:
    """A hash that recognises a request when its client sends it again. It covers the content, not the client."""
    texts = request.inputs if isinstance(request, EmbedRequest) else (request.query, *request.documents)
    ends = [t[:1000] if isinstance(t, str) else tuple(t[:50]) for t in (texts[0], texts[-1])] if texts else []
    return hash((*ends, len(texts), characters(request), request.instruction))
