"""SequenceQueue: the sequences that wait for one model in one queue class. The work queue's lock guards it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from upsize.engine.pending import PendingRequest, QueuedSequence
from upsize.engine.scheduler import next_batch


@dataclass
class _Entry:
    """The sequences of one request that still wait."""

    deadline: float
    pending: PendingRequest
    sequences: list[QueuedSequence]
    tokens: int


class SequenceQueue:
    """Waiting sequences, the earliest deadline first. Not thread-safe."""

    def __init__(self) -> None:
        self._entries: list[_Entry] = []
        self.tokens = 0
        """Tokens of all waiting sequences. A running total keeps the cost of an admission independent of the length."""
        self._sequences = 0

    def __len__(self) -> int:
        return self._sequences

    @property
    def first(self) -> QueuedSequence:
        """The sequence with the earliest deadline. The queue must not be empty."""
        return self._entries[0].sequences[0]

    def tokens_before(self, deadline: float) -> int:
        """Tokens of the sequences that run before a sequence with this deadline."""
        total = 0
        for entry in self._entries:
            if entry.deadline > deadline:
                break
            total += entry.tokens
        return total

    def put(self, pending: PendingRequest, deadline: float) -> None:
        """Add all sequences of a request, after those with the same deadline."""
        place = bisect_right(self._entries, deadline, key=lambda entry: entry.deadline)
        sequences = [QueuedSequence(pending, i, e.ids, deadline) for i, e in enumerate(pending.encoded)]
        self._entries.insert(place, _Entry(deadline, pending, sequences, pending.tokens))
        self.tokens += pending.tokens
        self._sequences += len(sequences)

    def take(self, budget: int, *, oversized: bool) -> list[QueuedSequence]:
        """Remove and return the sequences of the next batch (`scheduler.next_batch`)."""
        examined: list[tuple[_Entry, QueuedSequence]] = []

        def waiting() -> Iterator[QueuedSequence]:
            for entry in self._entries:
                for sequence in entry.sequences:
                    examined.append((entry, sequence))
                    yield sequence

        taken = [examined[position] for position in next_batch(waiting(), budget, oversized=oversized)]
        removed = {(id(sequence.pending), sequence.index) for _, sequence in taken}
        for entry in {id(entry): entry for entry, _ in taken}.values():
            entry.sequences = [s for s in entry.sequences if (id(s.pending), s.index) not in removed]
            entry.tokens = sum(s.tokens for s in entry.sequences)
        self._entries = [entry for entry in self._entries if entry.sequences]
        self._recount()
        return [sequence for _, sequence in taken]

    def drop(self, future: Future[Any]) -> None:
        """Remove the sequences of the request that has this future."""
        self._entries = [entry for entry in self._entries if entry.pending.future is not future]
        self._recount()

    def clear(self) -> list[PendingRequest]:
        """Remove everything, and return the requests that waited."""
        requests = [entry.pending for entry in self._entries]
        self._entries = []
        self._recount()
        return requests

    def _recount(self) -> None:
        self.tokens = sum(entry.tokens for entry in self._entries)
        self._sequences = sum(len(entry.sequences) for entry in self._entries)
