"""Job: one request on its way, from text to the values of all its sequences."""

from __future__ import annotations

import time
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

from upsize.compute import LoadedModel
from upsize.engine.request_encoding import encode_in_steps
from upsize.engine.types import EmbedRequest, QueueClass, Request, Result, Times
from upsize.model import Encoded, check_dimension, require_finite, unit_vectors
from upsize.model.incremental_encoding import Steps, TokenBudget
from upsize.model.pooling import Vectors
from upsize.model.tokenizer import Ids


@dataclass
class Job:
    """A request in the engine. Written by one thread at a time: a tokeniser's, then the runner's."""

    request: Request
    future: Future[Result] = field(default_factory=Future)
    arrival: float = field(default_factory=time.monotonic)
    encoded: list[Encoded] = field(default_factory=list)
    tokenize_seconds: float = 0.0
    compute_seconds: float = 0.0
    queued_at: float = 0.0
    lint: tuple[str, ...] = ()
    expected: float | None = None
    """Seconds that it was expected to wait, until it begins."""
    let_in: tuple[QueueClass, float] | None = None
    """The priority and estimated tokens by which it was let in before it was tokenised."""
    _values: list[Vectors] = field(default_factory=list)
    _missing: int = 0

    @property
    def tokens(self) -> int:
        """Of all its sequences."""
        return sum(len(e.ids) for e in self.encoded)

    def encode(self, model: LoadedModel, most_tokens: float = float("inf")) -> Steps[None]:
        """Turn the request's texts into ids, in steps; InvalidInput where it cannot succeed, or has too many."""
        started = time.monotonic()
        self.encoded = yield from encode_in_steps(model, self.request, TokenBudget(most_tokens))
        self._values, self._missing = [np.empty(0, np.float32)] * len(self.encoded), len(self.encoded)
        self.tokenize_seconds = time.monotonic() - started

    def put(self, index: int, value: Vectors | np.float32) -> bool:
        """Keep what the network gave for one sequence; whether that was the last."""
        self._values[index] = np.asarray(value)
        self._missing -= 1
        return self._missing == 0

    def result(self, model: LoadedModel) -> Result:
        """Finish: cut, normalise, check. NonFiniteVector where a value is NaN or infinite."""
        started = time.monotonic()
        hidden = model.checkpoint.config.hidden_size
        fingerprint = model.fingerprint
        if isinstance(self.request, EmbedRequest):
            dimension = check_dimension(self.request.dimensions, hidden)
            states = np.stack(self._values) if self._values else np.empty((0, hidden), np.float32)
            values = unit_vectors(states, dimension, model.plan.precision)
            fingerprint = fingerprint.at(dimension)
        else:
            scores: Vectors = np.array(self._values, np.float32)
            require_finite(scores[:, None], model.plan.precision)
            values = scores
        now = time.monotonic()
        compute = self.compute_seconds + now - started
        waited = max(now - self.queued_at - compute, 0.0)
        return Result(
            values,
            tuple(len(e.ids) for e in self.encoded),
            tuple(e.lost for e in self.encoded),
            fingerprint,
            Times(self.tokenize_seconds, waited, compute),
            self.lint,
        )

    def fail(self, error: BaseException) -> None:
        """Answer with an error, unless the client went away or got one already."""
        if not self.future.done() and self.future.set_running_or_notify_cancel():
            self.future.set_exception(error)

    def succeed(self, model: LoadedModel) -> None:
        """Answer with the result, unless the client went away meanwhile."""
        if self.future.done():
            return
        try:
            result = self.result(model)
        except Exception as error:
            self.fail(error)
        else:
            if self.future.set_running_or_notify_cancel():
                self.future.set_result(result)


@dataclass(frozen=True)
class QueuedSequence:
    """One sequence of a job, waiting for a batch."""

    job: Job
    index: int
    ids: Ids
    deadline: float

    @property
    def tokens(self) -> int:
        """Its length."""
        return len(self.ids)
