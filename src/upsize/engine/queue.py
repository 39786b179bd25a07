"""Queue: the sequences that wait for one model in one lane. Not thread-safe: the runner's lock guards it."""

from __future__ import annotations

from bisect import bisect_right
from concurrent.futures import Future
from typing import Any

from upsize.engine.job import Job, QueuedSequence
from upsize.engine.schedule import next_batch


class Queue:
    """What waits, the earliest deadline first."""

    def __init__(self) -> None:
        self._waiting: list[QueuedSequence] = []
        self.tokens = 0
        """Of all that wait; a running total, for an admission must not cost more the longer the queue is."""

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def first(self) -> QueuedSequence:
        """What is due first of at least one."""
        return self._waiting[0]

    def put(self, job: Job, due: float) -> None:
        """All sequences of a job, behind those that are due at the same time."""
        place = bisect_right(self._waiting, due, key=lambda s: s.deadline)
        self._waiting[place:place] = [QueuedSequence(job, i, e.ids, due) for i, e in enumerate(job.encoded)]
        self.tokens += job.tokens

    def take(self, budget: int, *, oversized: bool) -> list[QueuedSequence]:
        """The sequences of the next batch, off the queue (`schedule.next_batch`)."""
        places = next_batch(self._waiting, budget, oversized=oversized)
        taken = [self._waiting[place] for place in places]
        for place in reversed(places):
            del self._waiting[place]
        self.tokens -= sum(s.tokens for s in taken)
        return taken

    def drop(self, future: Future[Any]) -> None:
        """Take the sequences of the job that has this future off the queue."""
        self._waiting = [s for s in self._waiting if s.job.future is not future]
        self.tokens = sum(s.tokens for s in self._waiting)

    def clear(self) -> list[Job]:
        """The jobs that waited, none of which does any more."""
        jobs = {id(s.job): s.job for s in self._waiting}
        self._waiting, self.tokens = [], 0
        return list(jobs.values())
