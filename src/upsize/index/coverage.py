"""Coverage: how much of an index a generation holds, and whether it may answer searches.

During a move a generation is rarely complete to the last document: writes reach it a moment later, and its model may
refuse some texts. It still answers its share of searches and is compared, and the replies name what it lacks.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from upsize.index.documents import Documents
from upsize.index.state import Generation

LARGEST_BACKFILL = 0.01
"""Share of the documents that the backfill may still lack, but at least one document, for `ready` (chosen)."""
LARGEST_LAG = 10_000
"""Documents that a generation may lack in all, recent writes and refused ones included, and at most half of all
documents, for `ready` (chosen)."""
MAX_COUNTED = 10_000
"""Backlog up to which a search reports its exact size, so that counting does not slow the search (chosen)."""


@dataclass(frozen=True)
class Coverage:
    """How much of an index a generation holds."""

    documents: int
    """Documents of the index."""
    missing: int
    """Backlog: documents still to be embedded."""
    refused: int
    """Documents that its model cannot embed."""
    ready: bool
    """Whether it may answer searches."""

    def note(self, generation: str) -> str | None:
        """What its incompleteness means for searches; None where it is complete."""
        absent = self.missing + self.refused
        if not absent:
            return None
        counts = (
            f"{generation} lacks {absent:,} of {self.documents:,} documents "
            f"({self.missing:,} still to be embedded, {self.refused:,} refused by its model)"
        )
        if self.ready:
            return f"{counts}: its canary answers and shadow reads leave them out."
        return f"{counts}: until nearly all are there it gets no canary searches and is not compared."


def coverage(documents: Documents, generation: str) -> Coverage:
    """Exact counts of a generation."""
    refused, _ = documents.refused(generation, 1)
    missing = documents.backlog_size(generation)
    return Coverage(documents.count(), missing, refused, ready(documents, generation))


def ready(documents: Documents, generation: str) -> bool:
    """Whether a generation may answer searches. Cheap enough for every search."""
    total = documents.approximate_count()
    if documents.backfill_longer_than(generation, max(1, int(LARGEST_BACKFILL * total))):
        return False
    return not documents.lacks_more_than(generation, min(LARGEST_LAG, total // 2))


class UncommittedWrites:
    """Counts the documents of writes that are in the backlog and not acknowledged yet. Thread-safe."""

    def __init__(self, documents: Documents) -> None:
        self._documents, self._lock, self._number = documents, threading.Lock(), 0

    @contextmanager
    def count(self, number: int) -> Iterator[None]:
        """Count so many documents while the context is open."""
        with self._lock:
            self._number += number
        try:
            yield
        finally:
            with self._lock:
                self._number -= number

    def unsearchable(self, generation: Generation) -> tuple[int, int]:
        """Documents that searches of a generation do not find: its backlog without uncommitted writes (MAX_COUNTED at
        most), and those that its model refused."""
        before = self._number
        backlog = self._documents.backlog_size(generation.id, MAX_COUNTED + before)
        uncommitted = max(before, self._number)  # a write may start or end meanwhile
        return max(backlog - uncommitted, 0), self._documents.refused(generation.id, 0)[0]
