"""What travels through the engine: a request, its sequences, and the result with where the time went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal

from upsize.fingerprint import Fingerprint
from upsize.model import Truncation
from upsize.model.pooling import Vectors


class Priority(IntEnum):
    """Who waits for whom, when there is more work than time."""

    INTERACTIVE = 0
    BULK = 1
    SHADOW = 2


class QueueClass(IntEnum):
    """What the queue tells apart: an interactive request is short or long by its tokens (`schedule.priority`)."""

    SHORT = 0
    LONG = 1
    BULK = 2
    SHADOW = 3


@dataclass(frozen=True)
class EmbedRequest:
    """Texts, or token ids, to embed. All of `inputs` are of one sort."""

    inputs: Sequence[str | Sequence[int]]
    input_type: Literal["query", "document"] | None = None
    instruction: str | None = None
    """The task, in English; makes any text a query. None leaves `input_type` to decide."""
    dimensions: int | None = None
    truncation: Truncation = field(default_factory=Truncation)
    priority: Priority = Priority.INTERACTIVE


@dataclass(frozen=True)
class RerankRequest:
    """One query and the documents to score for it."""

    query: str
    documents: Sequence[str]
    instruction: str | None = None
    truncation: Truncation = field(default_factory=Truncation)
    max_document_tokens: int | None = None
    priority: Priority = Priority.INTERACTIVE


Request = EmbedRequest | RerankRequest


@dataclass(frozen=True)
class Times:
    """Seconds that a request spent in each stage."""

    tokenize: float
    queue: float
    compute: float

    @property
    def total(self) -> float:
        """All three."""
        return self.tokenize + self.queue + self.compute


@dataclass(frozen=True)
class Result:
    """The answer to a request."""

    values: Vectors
    """Unit vectors (inputs, dimension), or log-odds (documents,); float32."""
    tokens: tuple[int, ...]
    """Tokens of each input as the network saw it: instruction, template and end token included."""
    lost: tuple[int, ...]
    """Tokens of each input that truncation cut off."""
    fingerprint: Fingerprint
    times: Times
    lint: tuple[str, ...] = ()
    """Kinds of what looks wrong with the inputs (`model.suspicion.ADVICE`)."""
