"""Who runs next: pure functions of what waits. No clock, no lock, no input or output.

Lanes run in their order: bulk and shadow work runs while no interactive request waits, and now and then beside them, so
that it never stands still. Within a lane the earliest deadline runs first, which is a request's arrival plus the time
that it will itself take: a short query passes a long document that came a little before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from upsize.engine.nouns import Lane

STANDS_BACK = {Lane.INTERACTIVE: 0, Lane.BULK: 9, Lane.SHADOW: 99}
"""How many times its own time a batch of a lane lets the lanes before it have: bulk work gets a tenth at least."""

LOOK_AHEAD = 256
"""Waiting sequences that are looked at beyond the first that does not fit."""


class Waiting(Protocol):
    """A sequence in the queue."""

    @property
    def tokens(self) -> int:
        """Its length."""

    @property
    def deadline(self) -> float:
        """When it should have run, on the arrival's clock."""


def deadline(arrival: float, tokens: int, tokens_per_second: float) -> float:
    """When a request of that many tokens should have run."""
    return arrival + tokens / tokens_per_second


def lane_order(due: Mapping[Lane, float], now: float) -> list[Lane]:
    """The order in which lanes may run; `due`: those in which something waits, and when each is owed a turn.

    They go by rank, but one that is owed a turn goes before all others, the longest owed first.
    """
    return sorted(due, key=lambda lane: (0, due[lane]) if due[lane] <= now and lane else (1, lane))


def lane_due(lane: Lane, since: float, batch_seconds: float) -> float:
    """When a lane is owed a turn that waits, or last ran, `since` then, and whose next batch will take so long."""
    return since + STANDS_BACK[lane] * batch_seconds


def next_batch(waiting: Sequence[Waiting], budget: int, *, oversized: bool = True) -> list[int]:
    """Places in `waiting`, which is sorted by deadline, of the sequences to run together.

    Takes in order what fits into `budget` tokens. The first is taken even where it alone is larger, unless
    `oversized` is false.
    """
    taken: list[int] = []
    room, passed = budget, 0
    for place, sequence in enumerate(waiting):
        if sequence.tokens <= room or (oversized and place == 0):
            taken.append(place)
            room -= sequence.tokens
        else:
            passed += 1
        if room <= 0 or passed > LOOK_AHEAD:
            break
    return taken


def overtaking_budget(
    running_tokens: int, lane: Lane, budget: int, earlier: bool, computed: float, overtaken: float
) -> int:
    """Tokens of interactive work that may run in front of a batch that has begun, at one of its pauses; 0 for none.

    Only much smaller batches may: a quarter at most. In front of bulk and shadow work they may for STANDS_BACK times
    the time that it has had itself. In front of interactive work they may as long as an earlier deadline waits
    (`earlier`), and where a text longer than the budget runs, for as much time as it has had itself, so that neither
    stands still; other batches are over soon, and to cut what follows them into quarters would only cost throughput.
    """
    if lane is Lane.INTERACTIVE:
        may = earlier or (running_tokens > budget and overtaken < computed)
    else:
        may = overtaken < STANDS_BACK[lane] * computed
    return min(budget, running_tokens // 4) if may else 0
