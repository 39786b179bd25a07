"""Who runs next: pure functions of what waits. No clock, no lock, no input or output.

A request's deadline is its arrival, plus its lane's delay, plus the time that it will itself take. The earliest
deadline runs first. So a short query passes a long document that came a little before it, bulk work passes nothing
that came within its lane's delay, and whatever waits gets its turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from upsize.engine.nouns import Lane

LANE_DELAY = {Lane.INTERACTIVE: 0.0, Lane.BULK: 10.0, Lane.SHADOW: 60.0}
"""Seconds by which a lane's requests stand back."""

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


def deadline(arrival: float, lane: Lane, tokens: int, tokens_per_second: float) -> float:
    """When a request of that many tokens should have run."""
    return arrival + LANE_DELAY[lane] + tokens / tokens_per_second


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


def overtaking_budget(running_tokens: int, budget: int, ahead: bool, computed: float, overtaken: float) -> int:
    """Tokens that may run in front of a batch that has begun, at one of its pauses; 0 for none.

    Only much smaller batches may: a quarter at most. They may as long as an earlier deadline waits (`ahead`). Where a
    text longer than the budget runs, they may after that for as much time as it has had itself, so that neither stands
    still; other batches are over soon, and to cut what follows them into quarters would only cost throughput.
    """
    if ahead or (running_tokens > budget and overtaken < computed):
        return min(budget, running_tokens // 4)
    return 0
