"""Who runs next: pure functions of what waits. No clock, no lock, no input or output.

Priorities run in their order: short requests first, then long ones, then bulk and shadow work. Each has its share
beside those before it, so that none stands still: long requests half of the time at least, bulk work a tenth, shadow
work a hundredth. Within a priority the earliest deadline runs first, which is a request's arrival plus the time that it
will itself take: a small request passes a large one that came a little before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from upsize.engine.types import Priority, QueueClass

FAIR_SHARE = {QueueClass.SHORT: 0, QueueClass.LONG: 1, QueueClass.BULK: 9, QueueClass.SHADOW: 99}
"""How many times its own time a batch lets the priorities before it have: long requests get half at least."""

SHORT_PART = 2
"""A request is short if it fits into this part of a batch: a half. It then waits for one batch, and takes less."""

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


def queue_class(priority: Priority, tokens: float, budget: int) -> QueueClass:
    """Of a request of so many tokens to a model with batches of `budget`."""
    if priority is Priority.INTERACTIVE:
        return QueueClass.SHORT if tokens <= budget / SHORT_PART else QueueClass.LONG
    return QueueClass.BULK if priority is Priority.BULK else QueueClass.SHADOW


def deadline(arrival: float, tokens: float, tokens_per_second: float) -> float:
    """When a request of that many tokens should have run."""
    return arrival + tokens / tokens_per_second


def order(due: Mapping[QueueClass, float], now: float) -> list[QueueClass]:
    """The order in which priorities may run; `due`: those in which something waits, and when each is owed a turn.

    They go by rank, but one that is owed a turn goes before all others, the longest owed first.
    """
    return sorted(due, key=lambda p: (0, due[p]) if due[p] <= now and p else (1, p))


def fair_share_due(queue_class: QueueClass, since: float, batch_seconds: float) -> float:
    """When a priority is owed a turn that waits, or last ran, `since` then, and whose next batch takes so long."""
    return since + FAIR_SHARE[queue_class] * batch_seconds


def next_batch(waiting: Iterable[Waiting], budget: int, *, oversized: bool = True) -> list[int]:
    """Places in `waiting`, which comes by deadline, of the sequences to run together.

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


def preempting_classes(
    running: QueueClass, computed: float, overtaken: float, *, earlier: bool, oversized: bool
) -> list[QueueClass]:
    """Priorities that may preempt a batch at one of its yield points. It has had `computed` seconds, and those that
    preempted it `overtaken`.

    Bulk and shadow work is preempted by all interactive requests, a long request by short ones, as long as it keeps its
    share. A request whose deadline is `earlier` preempts an interactive one in any case; and one that runs for longer
    than a batch (`oversized`) is preempted for as much time as it has had itself. Other short batches are over soon.
    """
    interactive, within = [QueueClass.SHORT, QueueClass.LONG], overtaken < FAIR_SHARE[running] * computed
    if running > QueueClass.LONG:
        return interactive if within else []
    if earlier or (oversized and overtaken < computed):
        return interactive
    return [QueueClass.SHORT] if within else []


def preemption_budget(running_tokens: int, budget: int) -> int:
    """Tokens that preempt a batch at one yield point: only much smaller batches do, of a quarter at most."""
    return min(budget, running_tokens // 4)
