"""Catch-up: embed the backlog of a generation while writes continue, within a bounded time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from upsize.engine import Priority
from upsize.index.index import Index
from upsize.index.state import Generation

STEP = 16
"""Documents that are embedded together: fewer documents keep the end closer to the bound (chosen)."""
ROUND = 4 * STEP
"""Documents between two checks of the progress."""


@dataclass(frozen=True)
class CatchUpProgress:
    """Progress of a catch-up."""

    missing: int
    """Documents of the backlog that are left."""
    seconds: float
    written: int
    """Entries that were appended to the journal meanwhile."""
    embedded: int

    @property
    def embedded_per_second(self) -> float:
        """Documents embedded per second."""
        return self.embedded / max(self.seconds, 1e-3)

    @property
    def written_per_second(self) -> float:
        """Documents written and deleted per second."""
        return self.written / max(self.seconds, 1e-3)

    def done_within(self, seconds: float) -> bool:
        """Whether the backlog will be empty in so many seconds at these rates, while writes continue."""
        gain = self.embedded_per_second - self.written_per_second
        return self.missing == 0 or (gain > 0 and self.missing <= gain * seconds)


def catch_up(
    index: Index, generation: Generation, enough: Callable[[CatchUpProgress], bool], *, most: int, seconds: float
) -> CatchUpProgress:
    """Embed the backlog of a generation until it is `enough`, longer than `most`, or `seconds` have passed. The
    reconciler's backfill pauses meanwhile."""
    started, first = time.monotonic(), index.journal.end

    def in_time() -> bool:
        return time.monotonic() < started + seconds

    def measure(embedded: int) -> CatchUpProgress:
        missing = index.documents.backlog_size(generation.id)
        return CatchUpProgress(missing, time.monotonic() - started, index.journal.end - first, embedded)

    progress = measure(0)
    if not progress.missing and not index.documents.tombstones(generation.id, 1):
        return progress
    with index.reconciler.backfill_paused(seconds) as paused:
        index.generations.apply_tombstones(generation, in_time)
        while paused and in_time() and 0 < progress.missing <= most and not enough(progress):
            done = index.generations.embed_backlog(generation, Priority.INTERACTIVE, in_time, most=ROUND, shard=STEP)
            progress = measure(progress.embedded + done)
    return progress
