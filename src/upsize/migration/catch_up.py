"""Catching up: a generation is brought in step with the writes, in a time that has a bound."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from upsize.engine import Priority
from upsize.index.state import Generation

if TYPE_CHECKING:
    from upsize.index.index import Index

STEP = 16
"""Documents that are embedded together: the fewer, the closer the end is to the bound."""
ROUND = 4 * STEP
"""Documents between two looks at how far it is."""


@dataclass(frozen=True)
class CatchUpProgress:
    """How far a generation has caught up."""

    missing: int
    seconds: float
    written: int
    """Entries that came into the journal meanwhile."""
    embedded: int

    @property
    def embedded_per_second(self) -> float:
        """Documents."""
        return self.embedded / max(self.seconds, 1e-3)

    @property
    def written_per_second(self) -> float:
        """Documents written and deleted."""
        return self.written / max(self.seconds, 1e-3)

    def done_within(self, seconds: float) -> bool:
        """Whether it will be in step in so many seconds at these rates, with writes going on."""
        gain = self.embedded_per_second - self.written_per_second
        return self.missing == 0 or (gain > 0 and self.missing <= gain * seconds)


def catch_up(
    index: Index, generation: Generation, enough: Callable[[CatchUpProgress], bool], *, most: int, seconds: float
) -> CatchUpProgress:
    """Embed what the generation lacks until it is `enough`, more than `most` are missing, or the time is over. The
    index's own thread gives way meanwhile."""
    begun, first = time.monotonic(), index.journal.end

    def in_time() -> bool:
        return time.monotonic() < begun + seconds

    def look(embedded: int) -> CatchUpProgress:
        missing = index.documents.backlog_size(generation.id)
        return CatchUpProgress(missing, time.monotonic() - begun, index.journal.end - first, embedded)

    progress = look(0)
    if not progress.missing and not index.documents.tombstones(generation.id, 1):
        return progress
    with index.reconciler.backfill_paused(seconds) as alone:
        index.generations.apply_tombstones(generation, in_time)
        while alone and in_time() and 0 < progress.missing <= most and not enough(progress):
            done = index.generations.embed_backlog(generation, Priority.INTERACTIVE, in_time, most=ROUND, shard=STEP)
            progress = look(progress.embedded + done)
    return progress
