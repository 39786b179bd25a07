"""The types that callers of the engine see: requests, priorities, and results with the time of each stage."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal

from upsize.fingerprint import Fingerprint
from upsize.model import Truncation
from upsize.model.pooling import Vectors


class Priority(IntEnum):
    """How urgent a request is: interactive work runs before bulk work, bulk work before shadow work."""

    INTERACTIVE = 0
    BULK = 1
    SHADOW = 2


class QueueClass(IntEnum):
    """The four levels of a queue. `scheduler.queue_class` sorts interactive requests into short and long ones."""

    SHORT = 0
    LONG = 1
    BULK = 2
    SHADOW = 3


@dataclass(frozen=True)
class EmbedRequest:
    """Texts to embed, or token ids. The items of `inputs` are either all texts or all lists of token ids."""

    inputs: Sequence[str | Sequence[int]]
    input_type: Literal["query", "document"] | None = None
    instruction: str | None = None
    """The task, in English. It makes every text a query. With None, `input_type` decides."""
    dimensions: int | None = None
    """Values that each vector keeps. None keeps the model's full size."""
    truncation: Truncation = field(default_factory=Truncation)
    priority: Priority = Priority.INTERACTIVE


@dataclass(frozen=True)
class RerankRequest:
    """One query, and the documents to score for it."""

    query: str
    documents: Sequence[str]
    instruction: str | None = None
    """The task, in English. None takes the checkpoint's default."""
    truncation: Truncation = field(default_factory=Truncation)
    max_document_tokens: int | None = None
    priority: Priority = Priority.INTERACTIVE


Request = EmbedRequest | RerankRequest


@dataclass(frozen=True)
class Limits:
    """The most that an engine holds before it raises Overloaded or RequestTooLarge."""

    queue_seconds: float = 30.0
    """Seconds that an interactive request may be expected to wait; a short one a third of it. Clients and proxies give
    up after 60 seconds, and the answer itself takes time."""
    requests: int = 4096
    """Requests in flight, those that are being tokenised included."""
    request_inputs: float = 2048
    """Texts of one interactive request. The same as OpenAI's limit."""
    request_tokens: float = 1 << 20
    """Tokens of one interactive request, with the instruction or template around each text: 2,048 texts of 512
    tokens."""


DEFAULT_LIMITS = Limits()
UNLIMITED = Limits(queue_seconds=math.inf, request_inputs=math.inf, request_tokens=math.inf)
"""For a program that waits for its own requests alone."""


@dataclass(frozen=True)
class Times:
    """Seconds that a request spent in each stage."""

    tokenize: float
    queue: float
    compute: float

    @property
    def total(self) -> float:
        """Seconds of all three stages together."""
        return self.tokenize + self.queue + self.compute


@dataclass(frozen=True)
class Result:
    """The answer to a request."""

    values: Vectors
    """Unit vectors (inputs, dimension) of an embedder, or log-odds (documents,) of a reranker; float32."""
    tokens: tuple[int, ...]
    """Tokens of each sequence as the network saw it: instruction, template and end token included."""
    truncated_tokens: tuple[int, ...]
    """Tokens that truncation cut off each input."""
    fingerprint: Fingerprint
    times: Times
    lint: tuple[str, ...] = ()
    """Kinds of lint findings in the inputs: keys of `upsize.model.input_lint.ADVICE`."""

    @property
    def lost(self) -> tuple[int, ...]:
        """`truncated_tokens` under its name of before."""
        return self.truncated_tokens
