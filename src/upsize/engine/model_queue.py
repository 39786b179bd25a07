"""Served: a model in the engine with what waits for it; Batch: what runs together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from upsize.compute import LoadedModel
from upsize.engine.pending import Job, QueuedSequence
from upsize.engine.queue import Queue
from upsize.engine.types import QueueClass

RATE_MEMORY = 0.8
"""Weight of the past in a measured rate, for a batch of the model's whole budget; smaller ones weigh less."""

FIRST_TOKENS = 16
"""Of the batch by which a model's first rate is measured."""


@dataclass
class Rate:
    """Tokens per second, measured: all tokens by all seconds, those of the last batches most."""

    tokens: float
    seconds: float

    @property
    def tokens_per_second(self) -> float:
        """At present."""
        return self.tokens / self.seconds

    def add(self, tokens: int, seconds: float, budget: int) -> None:
        """One batch more."""
        past = RATE_MEMORY ** min(tokens / budget, 1.0)
        self.tokens = past * self.tokens + tokens
        self.seconds = past * self.seconds + max(seconds, 1e-6)


@dataclass
class ModelQueue:
    """A model in the engine. What changes is read and written under the runner's lock alone."""

    name: str
    model: LoadedModel
    first_rate: float
    """Tokens per second, until they are measured."""
    queues: dict[QueueClass, Queue] = field(default_factory=lambda: {p: Queue() for p in QueueClass})
    tokenizing: dict[QueueClass, float] = field(default_factory=lambda: dict.fromkeys(QueueClass, 0.0))
    """Estimated tokens of what was let in and is not queued yet."""
    removed: bool = False
    _rates: dict[QueueClass, Rate] = field(default_factory=dict)

    @property
    def sequences(self) -> int:
        """How many wait."""
        return sum(map(len, self.queues.values()))

    @property
    def tokens(self) -> int:
        """Of all sequences that wait."""
        return sum(queue.tokens for queue in self.queues.values())

    @property
    def tokens_per_second(self) -> float:
        """Of whole batches where there were some, else of the largest."""
        rates = [r.tokens_per_second for r in self._rates.values()]
        return max(rates, default=self.first_rate)

    def rate(self, queue_class: QueueClass) -> float:
        """Tokens per second of this priority's batches, which are smaller, and slower, for short requests."""
        known = self._rates.get(queue_class)
        return known.tokens_per_second if known else self.tokens_per_second

    def measured(self, batch: Batch, seconds: float) -> None:
        """A batch took so long."""
        rate = self._rates.setdefault(batch.queue_class, Rate(FIRST_TOKENS, FIRST_TOKENS / self.first_rate))
        rate.add(batch.tokens, seconds, self.model.plan.budget)

    def seconds_before(self, queue_class: QueueClass, deadline: float) -> float:
        """Predicted, of what runs before something that is due then."""
        tokens = self.queues[queue_class].tokens_due(deadline) + self.tokenizing[queue_class]
        return tokens / self.rate(queue_class)

    def clear(self) -> list[Job]:
        """The jobs that waited, none of which does any more."""
        return [job for queue in self.queues.values() for job in queue.clear()]


@dataclass(frozen=True)
class Batch:
    """Sequences of one model and priority that run together."""

    served: ModelQueue
    queue_class: QueueClass
    sequences: Sequence[QueuedSequence]

    @cached_property
    def tokens(self) -> int:
        """Of all sequences."""
        return sum(s.tokens for s in self.sequences)

    @cached_property
    def deadline(self) -> float:
        """The earliest of its sequences."""
        return min(s.deadline for s in self.sequences)

    @property
    def wanted(self) -> bool:
        """Whether anyone still waits for any of it."""
        return not all(s.job.future.done() for s in self.sequences)
