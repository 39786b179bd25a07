"""Job: one request on its way, from text to the values of all its sequences."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

from upsize.compute import LoadedModel
from upsize.engine.types import EmbedRequest, QueueClass, Request, Result, Times
from upsize.errors import InvalidInput
from upsize.model import Encoded, check_dimension, require_finite, unit_vectors
from upsize.model.encoding import ids_in_steps, pairs_in_steps, texts_in_steps
from upsize.model.incremental_encoding import Steps, TokenBudget, finish
from upsize.model.input_lint import in_ids, in_text
from upsize.model.pooling import Vectors
from upsize.model.prompts import EmbeddingPrompts, RerankPrompts, bare_instruction
from upsize.model.tokenizer import Ids

ID_INPUTS = 16
"""Token-id inputs of a request that are looked at twice: one tokenizer made them all, and each look encodes a text."""


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


def encode(model: LoadedModel, request: Request) -> list[Encoded]:
    """The ids of every sequence of a request, as `model` takes them."""
    return finish(encode_in_steps(model, request))


def encode_in_steps(
    model: LoadedModel, request: Request, budget: TokenBudget | None = None, *, whole: bool = False
) -> Steps[list[Encoded]]:
    """As `encode`, in steps. `budget`: tokens that the request may have. `whole`: texts are counted to their end
    where they are cut."""
    checkpoint, limit = model.checkpoint, model.plan.max_length
    tokenizer, prompts = checkpoint.tokenizer, checkpoint.prompts
    if isinstance(request, EmbedRequest):
        if not isinstance(prompts, EmbeddingPrompts):
            raise InvalidInput("This model is a reranker: it gives scores, not vectors.", param="model")
        check_dimension(request.dimensions, checkpoint.config.hidden_size)
        inputs, truncation = request.inputs, request.truncation
        if inputs and not isinstance(inputs[0], str):
            return (yield from ids_in_steps(tokenizer, inputs, limit, truncation, budget))  # type: ignore[arg-type]
        prefix = prompts.prefix(request.input_type, request.instruction)
        steps = texts_in_steps(tokenizer, inputs, prefix, limit, truncation, budget, whole=whole)  # type: ignore[arg-type]
        return (yield from steps)
    if not isinstance(prompts, RerankPrompts):
        raise InvalidInput("This model is an embedder: it gives vectors, not scores of pairs.", param="model")
    return (
        yield from pairs_in_steps(
            tokenizer,
            bare_instruction(request.instruction or prompts.instruction),
            request.query,
            request.documents,
            limit,
            request.truncation,
            request.max_document_tokens,
            budget,
            whole=whole,
        )
    )


def characters(request: Request) -> int:
    """Of all its texts, the instruction's included for each; an id counts as one."""
    if isinstance(request, EmbedRequest):
        texts, each = request.inputs, 0
    else:
        texts, each = request.documents, len(request.query)
    return sum(map(len, texts)) + len(texts) * (each + len(request.instruction or ""))


def suspicions(model: LoadedModel, request: Request) -> Iterator[str]:
    """What looks wrong with a request that will succeed all the same (kinds of `model.suspicion`)."""
    if request.instruction:  # what is left of it once the template around the task is taken off
        yield from in_text(bare_instruction(request.instruction), instructed=True)
    if isinstance(request, EmbedRequest):
        all_ids = request.inputs and not isinstance(request.inputs[0], str)
        for item in request.inputs[:ID_INPUTS] if all_ids else request.inputs:
            if isinstance(item, str):
                yield from in_text(item, instructed=bool(request.instruction) or request.input_type == "query")
            else:
                yield from in_ids(model.checkpoint.tokenizer, item)
    else:
        for text in (request.query, *request.documents):
            yield from in_text(text, instructed=True)
