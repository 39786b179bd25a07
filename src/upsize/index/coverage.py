"""Coverage: how much of an index a generation holds, and whether searches may be asked of it.

A generation under a move is rarely complete to the last document: writes follow a moment later, and some texts its
model may refuse. It answers its share of searches, and is compared, without the few that it lacks, which are told.
"""

from __future__ import annotations

from dataclasses import dataclass

from upsize.index.documents import Documents

BACKFILL = 0.01
"""Share of the documents that the backfill may still have to fill, one at least, for its generation to be asked."""
LAG = 10_000
"""Documents, and at most half of all, that it may lack in all: fresh writes and refused ones count too."""


@dataclass(frozen=True)
class Coverage:
    """What a generation holds of an index."""

    documents: int
    missing: int
    """Still to be embedded."""
    refused: int
    """That its model cannot embed."""
    ready: bool
    """Whether searches may be asked of it."""

    def note(self, generation: str) -> str | None:
        """What it means for searches that are asked of the generation; None of a complete one."""
        lacking = self.missing + self.refused
        if not lacking:
            return None
        told = (
            f"{generation} lacks {lacking:,} of {self.documents:,} documents "
            f"({self.missing:,} still to be embedded, {self.refused:,} refused by its model)"
        )
        if self.ready:
            return f"{told}: its canary answers leave them out, and comparisons in the shadow too."
        return f"{told}: until nearly all are there it gets no canary searches and is not compared."


def coverage(documents: Documents, generation: str) -> Coverage:
    """Counts of a generation, all documents counted."""
    refused, _ = documents.refused(generation, 1)
    missing = documents.missing_count(generation)
    return Coverage(documents.count(), missing, refused, ready(documents, generation))


def ready(documents: Documents, generation: str) -> bool:
    """Whether searches may be asked of a generation. Cheap enough to look at every search."""
    total = documents.rough_count()
    if documents.backfill_left(generation, max(1, int(BACKFILL * total))):
        return False
    return not documents.lacks_more_than(generation, min(LAG, total // 2))
