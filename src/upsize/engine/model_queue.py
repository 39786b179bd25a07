"""ModelQueue: one model of an engine with all that waits for it. Batch: sequences that run together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from upsize.compute import LoadedModel
from upsize.engine.pending import PendingRequest, QueuedSequence
from upsize.engine.queue import SequenceQueue
from upsize.engine.types import QueueClass

RATE_EMA_DECAY = 0.8
"""Weight of the past in a measured rate after a batch of the whole budget, so about five full batches count. A smaller
batch decays the past less, in proportion to its tokens. Chosen: a change of load shows within seconds."""

WARM_UP_TOKENS = 16
"""Tokens of the batch that measures a model's rate before its first request."""


@dataclass
class ThroughputAverage:
    """Moving average of tokens per second: the tokens of recent batches divided by their seconds."""

    tokens: float
    seconds: float

    @property
    def tokens_per_second(self) -> float:
        """The average now."""
        return self.tokens / self.seconds

    def add(self, tokens: int, seconds: float, budget: int) -> None:
        """Count one batch of a model whose batches hold `budget` tokens."""
        decay = RATE_EMA_DECAY ** min(tokens / budget, 1.0)
        self.tokens = decay * self.tokens + tokens
        self.seconds = decay * self.seconds + max(seconds, 1e-6)


@dataclass
class ModelQueue:
    """A model, its queues and its measured rates. Only the work queue reads and changes it, under its lock."""

    name: str
    loaded: LoadedModel
    warm_up_rate: float
    """Tokens per second of the warm-up batch; stands in for a rate until a batch has been measured."""
    queues: dict[QueueClass, SequenceQueue] = field(default_factory=lambda: {c: SequenceQueue() for c in QueueClass})
    _reserved_tokens: float = 0.0
    """Estimated tokens of long requests that are admitted and not tokenised yet."""
    _rates: dict[QueueClass, ThroughputAverage] = field(default_factory=dict)

    @property
    def budget(self) -> int:
        """Tokens of a full batch."""
        return self.loaded.plan.budget

    @property
    def sequences(self) -> int:
        """Sequences that wait."""
        return sum(map(len, self.queues.values()))

    @property
    def tokens(self) -> int:
        """Tokens of all sequences that wait."""
        return sum(queue.tokens for queue in self.queues.values())

    @property
    def tokens_per_second(self) -> float:
        """The best rate of any class: that of full batches, once there were some."""
        rates = [r.tokens_per_second for r in self._rates.values()]
        return max(rates, default=self.warm_up_rate)

    def rate(self, queue_class: QueueClass) -> float:
        """Tokens per second of this class. Batches of short requests are smaller, and slower per token."""
        known = self._rates.get(queue_class)
        return known.tokens_per_second if known else self.tokens_per_second

    def learn_rate(self, batch: Batch, seconds: float) -> None:
        """Count a batch that ran for `seconds`."""
        first = ThroughputAverage(WARM_UP_TOKENS, WARM_UP_TOKENS / self.warm_up_rate)
        self._rates.setdefault(batch.queue_class, first).add(batch.tokens, seconds, self.budget)

    def reserve(self, tokens: float) -> None:
        """Count the tokens of a long request that is about to be tokenised. Negative tokens release a reservation."""
        self._reserved_tokens += tokens

    def seconds_before(self, queue_class: QueueClass, deadline: float) -> float:
        """Predicted seconds of the work that runs before a request of this class and deadline."""
        reserved = self._reserved_tokens if queue_class is QueueClass.LONG else 0.0
        return (self.queues[queue_class].tokens_before(deadline) + reserved) / self.rate(queue_class)

    def clear(self) -> list[PendingRequest]:
        """Empty all queues, and return the requests that waited."""
        return [pending for queue in self.queues.values() for pending in queue.clear()]


@dataclass(frozen=True)
class Batch:
    """Sequences of one model and one queue class that run together."""

    model_queue: ModelQueue
    queue_class: QueueClass
    sequences: Sequence[QueuedSequence]

    @cached_property
    def tokens(self) -> int:
        """Tokens of all sequences."""
        return sum(s.tokens for s in self.sequences)

    @cached_property
    def deadline(self) -> float:
        """The earliest deadline of its sequences."""
        return min(s.deadline for s in self.sequences)

    @property
    def cancelled(self) -> bool:
        """Whether every request in it is answered already: cancelled by its client, or failed elsewhere."""
        return all(s.pending.future.done() for s in self.sequences)
