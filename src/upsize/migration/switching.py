"""Before a switch: bring a generation up to date in a bounded time, then keep writes out until the switch is made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from upsize.errors import Refused
from upsize.index.index import Index
from upsize.index.state import Generation
from upsize.migration.catch_up import CatchUpProgress, catch_up

TAIL = 2000
"""Documents that a switch embeds itself; it refuses at once where the backlog is longer."""
CATCH_UP_SECONDS = 10.0
"""Seconds for which a switch works off the backlog while writes go on."""
LONGEST_CATCH_UP_SECONDS = 30.0
"""The same, where the measured rates say that it ends within this time."""
PAUSE_SECONDS = 5.0
"""Seconds for which writes wait at most while the last documents are embedded."""


@contextmanager
def up_to_date(index: Index, generation: Generation, *, require_none_refused: bool) -> Iterator[None]:
    """While the context is open nobody writes, and the generation has no backlog.

    Writes go on while most of the backlog is worked off, and wait for the rest, PAUSE_SECONDS at most. Raises Refused
    with the measured rates, within LONGEST_CATCH_UP_SECONDS + PAUSE_SECONDS, where more is written than the model
    embeds; with `require_none_refused` also where the model cannot embed a text.
    """

    def enough(progress: CatchUpProgress) -> bool:  # the rest takes half of the pause at most
        return bool(progress.embedded) and progress.missing <= progress.embedded_per_second * PAUSE_SECONDS / 2

    progress = catch_up(index, generation, enough, most=TAIL, seconds=CATCH_UP_SECONDS)
    longer = LONGEST_CATCH_UP_SECONDS - CATCH_UP_SECONDS
    if progress.missing <= TAIL and not enough(progress) and progress.done_within(longer):
        progress = catch_up(index, generation, enough, most=TAIL, seconds=longer)
    backlog = progress.missing if progress.missing > TAIL and not progress.embedded else 0
    require_complete(index, generation, backlog, require_none_refused=require_none_refused)
    if progress.missing and not enough(progress):
        raise _too_slow(index, generation, progress)
    with index.paused_writes():
        last = catch_up(index, generation, lambda _: False, most=TAIL, seconds=PAUSE_SECONDS)
        if last.missing:
            raise _too_slow(index, generation, replace(progress, missing=last.missing))
        require_complete(index, generation, 0, require_none_refused=require_none_refused)
        yield


def require_complete(index: Index, generation: Generation, backlog: int, *, require_none_refused: bool = True) -> None:
    """Raise Refused where documents are missing in the generation, or its model refused some."""
    if backlog:
        raise Refused(
            f"{backlog:,} of {index.documents.count():,} documents are still missing in {generation.model}. Wait for "
            f"the backfill (upsize evolve status {index.name}), or use --force: searches then do not find them yet."
        )
    refused, examples = index.documents.refused(generation.id, 1)
    if refused and require_none_refused:
        raise Refused(
            f"{generation.model} cannot embed {refused:,} of the documents, for example {examples[0]['id']!r}: "
            f"{examples[0]['reason']} Delete or shorten them, or use --force: searches then do not find them."
        )


def _too_slow(index: Index, generation: Generation, progress: CatchUpProgress) -> Refused:
    trouble = f" The last error of the backfill: {index.reconciler.trouble}" if index.reconciler.trouble else ""
    return Refused(
        f"{progress.missing:,} documents are still missing in {generation.model} and it does not catch up: "
        f"{progress.written_per_second:.1f} documents/s are written, and it embeds "
        f"{progress.embedded_per_second:.1f}/s beside them (over {progress.seconds:.1f} s). Nothing was changed. "
        "Switch while less is written, or use --force: searches then do not find these documents until they are "
        f"embedded.{trouble}"
    )
