"""Queue: the sequences that wait for one model in one priority. Not thread-safe: the runner's lock guards it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from upsize.engine.pending import Job, QueuedSequence
from upsize.engine.scheduler import next_batch


@dataclass
class _Entry:
    """What waits of one job."""

    due: float
    job: Job
    sequences: list[QueuedSequence]
    tokens: int


class Queue:
    """What waits, the earliest deadline first."""

    def __init__(self) -> None:
        self._entries: list[_Entry] = []
        self.tokens = 0
        """Of all that wait; a running total, for an admission must not cost more the longer the queue is."""
        self._sequences = 0

    def __len__(self) -> int:
        return self._sequences

    @property
    def first(self) -> QueuedSequence:
        """What is due first of at least one."""
        return self._entries[0].sequences[0]

    def tokens_due(self, deadline: float) -> int:
        """Of what runs before something that is due then."""
        total = 0
        for entry in self._entries:
            if entry.due > deadline:
                break
            total += entry.tokens
        return total

    def put(self, job: Job, due: float) -> None:
        """All sequences of a job, behind those that are due at the same time."""
        place = bisect_right(self._entries, due, key=lambda e: e.due)
        sequences = [QueuedSequence(job, i, e.ids, due) for i, e in enumerate(job.encoded)]
        self._entries.insert(place, _Entry(due, job, sequences, job.tokens))
        self.tokens += job.tokens
        self._sequences += len(sequences)

    def take(self, budget: int, *, oversized: bool) -> list[QueuedSequence]:
        """The sequences of the next batch, off the queue (`schedule.next_batch`)."""
        seen: list[tuple[_Entry, QueuedSequence]] = []

        def waiting() -> Iterator[QueuedSequence]:
            for entry in self._entries:
                for sequence in entry.sequences:
                    seen.append((entry, sequence))
                    yield sequence

        taken = [seen[place] for place in next_batch(waiting(), budget, oversized=oversized)]
        gone = {(id(sequence.job), sequence.index) for _, sequence in taken}
        for entry in {id(entry): entry for entry, _ in taken}.values():
            entry.sequences = [s for s in entry.sequences if (id(s.job), s.index) not in gone]
            entry.tokens = sum(s.tokens for s in entry.sequences)
        self._entries = [entry for entry in self._entries if entry.sequences]
        self._count()
        return [sequence for _, sequence in taken]

    def drop(self, future: Future[Any]) -> None:
        """Take the sequences of the job that has this future off the queue."""
        self._entries = [entry for entry in self._entries if entry.job.future is not future]
        self._count()

    def clear(self) -> list[Job]:
        """The jobs that waited, none of which does any more."""
        jobs = [entry.job for entry in self._entries]
        self._entries = []
        self._count()
        return jobs

    def _count(self) -> None:
        self.tokens = sum(entry.tokens for entry in self._entries)
        self._sequences = sum(len(entry.sequences) for entry in self._entries)
