"""PendingRequest: one request in the engine, from its texts to the values of all its sequences."""

from __future__ import annotations

import time
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

from upsize.compute import LoadedModel
from upsize.engine.request_encoding import encode_in_steps
from upsize.engine.types import EmbedRequest, Request, Result, Times
from upsize.model import Encoded, check_dimension, require_finite, unit_vectors
from upsize.model.incremental_encoding import Steps, TokenBudget
from upsize.model.pooling import Vectors
from upsize.model.tokenizer import Ids


@dataclass
class PendingRequest:
    """A request in flight. One thread writes it at a time: first a tokenizer thread, then the runner."""

    request: Request
    future: Future[Result] = field(default_factory=Future)
    arrival: float = field(default_factory=time.monotonic)
    """Seconds on the monotonic clock."""
    encoded: list[Encoded] = field(default_factory=list)
    lint: tuple[str, ...] = ()
    tokenize_seconds: float = 0.0
    compute_seconds: float = 0.0
    queued_at: float = 0.0
    """When its texts were tokenised. Its time in the queue begins here."""
    expected_wait: float | None = None
    """Seconds that the gate expects it to wait. None once it has begun, or where no wait was predicted."""
    reserved_tokens: float | None = None
    """Estimated tokens with which it was admitted before it was tokenised."""
    _values: list[Vectors] = field(default_factory=list)
    _missing: int = 0

    @property
    def tokens(self) -> int:
        """Tokens of all its sequences."""
        return sum(len(e.ids) for e in self.encoded)

    def encode(self, model: LoadedModel, max_tokens: float = float("inf")) -> Steps[None]:
        """Tokenise in steps. InvalidInput for a request that cannot succeed, or has more than `max_tokens` tokens."""
        started = time.monotonic()
        self.encoded = yield from encode_in_steps(model, self.request, TokenBudget(max_tokens))
        self._values, self._missing = [np.empty(0, np.float32)] * len(self.encoded), len(self.encoded)
        self.queued_at = time.monotonic()
        self.tokenize_seconds = self.queued_at - started

    def put(self, index: int, value: Vectors | np.float32, compute_seconds: float) -> bool:
        """Keep the network's value for one sequence; True if it was the last one missing.

        `compute_seconds` is the part of the batch's time that the sequence accounts for.
        """
        self._values[index] = np.asarray(value)
        self._missing -= 1
        self.compute_seconds += compute_seconds
        return self._missing == 0

    def result(self, model: LoadedModel) -> Result:
        """Cut, normalise and check the values. Raises NonFiniteVector for NaN and infinity."""
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
            tuple(e.truncated_tokens for e in self.encoded),
            fingerprint,
            Times(self.tokenize_seconds, waited, compute),
            self.lint,
        )

    def fail(self, error: BaseException) -> None:
        """Answer with an error, unless the request is cancelled or answered already."""
        if not self.future.done() and self.future.set_running_or_notify_cancel():
            self.future.set_exception(error)

    def succeed(self, model: LoadedModel) -> None:
        """Answer with the result, unless the request is cancelled or answered already."""
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
    """One sequence of a request that waits for a batch."""

    pending: PendingRequest
    index: int
    ids: Ids
    deadline: float

    @property
    def tokens(self) -> int:
        """Tokens of the sequence."""
        return len(self.ids)
