"""Scheduling as pure functions: which queue class runs next, which sequences form a batch, what may preempt it.

No clock, no lock, no input or output: callers pass in the times. Queue classes run in the order of `QueueClass`: short
requests, long requests, bulk work, shadow work. Each class has a fair share beside the classes before it, so none
starves: long requests get at least half of the time, bulk work a tenth, shadow work a hundredth. Within a class the
earliest deadline runs first. A deadline is a request's arrival plus the time that the request itself takes, so a small
request passes a large one that arrived a little earlier.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from upsize.engine.types import Priority, QueueClass

FAIR_SHARE = {QueueClass.SHORT: 0, QueueClass.LONG: 1, QueueClass.BULK: 9, QueueClass.SHADOW: 99}
"""Seconds that the classes before this one may run for each second of its own. With 1, long requests get at least half
of the machine. The values are a choice: bulk work has no deadline but must progress; shadow work must not be felt."""

SHORT_DIVISOR = 2
"""A request is short if its tokens are at most the batch budget divided by this. Such a request waits for one running
batch at most, and takes less than one batch itself."""

LOOK_AHEAD = 256
"""Waiting sequences that `next_batch` examines after the first one that does not fit. It bounds the cost of a call."""

PREEMPTION_DIVISOR = 4
"""A batch that preempts another has at most a quarter of its tokens: one yield point then costs little."""


class Waiting(Protocol):
    """A sequence in a queue."""

    @property
    def tokens(self) -> int:
        """Tokens of the sequence."""

    @property
    def deadline(self) -> float:
        """Seconds on the clock of arrivals."""


def queue_class(priority: Priority, tokens: float, budget: int) -> QueueClass:
    """The queue class of a request with this many tokens, on a model whose batches hold `budget` tokens."""
    if priority is Priority.INTERACTIVE:
        return QueueClass.SHORT if tokens <= budget / SHORT_DIVISOR else QueueClass.LONG
    return QueueClass.BULK if priority is Priority.BULK else QueueClass.SHADOW


def deadline(arrival: float, tokens: float, tokens_per_second: float) -> float:
    """The time by which a request should have run: its arrival plus its own compute time, in seconds."""
    return arrival + tokens / tokens_per_second


def run_order(due: Mapping[QueueClass, float], now: float) -> list[QueueClass]:
    """The order in which queue classes may run.

    `due` holds the classes in which something waits, and when each has waited for its fair share
    (`fair_share_due`). A class that is past this time runs before all others, the longest overdue first. The others
    run in the order of `QueueClass`.
    """
    return sorted(due, key=lambda one: (0, due[one]) if due[one] <= now and one else (1, one))


def fair_share_due(queue_class: QueueClass, since: float, batch_seconds: float) -> float:
    """When a class must run to keep its fair share.

    `since` is when the class last ran, or when its first request began to wait. `batch_seconds` is the time of its
    next batch.
    """
    return since + FAIR_SHARE[queue_class] * batch_seconds


def next_batch(waiting: Iterable[Waiting], budget: int, *, oversized: bool = True) -> list[int]:
    """Positions in `waiting` of the sequences to run together, at most `budget` tokens.

    `waiting` is ordered by deadline. Sequences are taken in this order where they fit. The first one is taken even
    where it alone exceeds the budget, unless `oversized` is false.
    """
    taken: list[int] = []
    free, skipped = budget, 0
    for position, sequence in enumerate(waiting):
        if sequence.tokens <= free or (oversized and position == 0):
            taken.append(position)
            free -= sequence.tokens
        else:
            skipped += 1
        if free <= 0 or skipped > LOOK_AHEAD:
            break
    return taken


def preempting_classes(
    running: QueueClass, computed: float, preempted: float, *, earlier: bool, oversized: bool
) -> list[QueueClass]:
    """Queue classes that may preempt a batch of class `running` at one of its yield points.

    `computed`: seconds that the batch has run. `preempted`: seconds that others ran within it. `earlier`: a waiting
    request has an earlier deadline. `oversized`: the batch exceeds the budget.

    All interactive classes preempt bulk and shadow work, and short requests preempt long ones, while the running class
    keeps its fair share. A request with an earlier deadline preempts an interactive batch in any case. An oversized
    batch is preempted for at most as long as it has run. Other short batches are over soon and are not preempted.
    """
    interactive = [QueueClass.SHORT, QueueClass.LONG]
    within_share = preempted < FAIR_SHARE[running] * computed
    if running > QueueClass.LONG:
        return interactive if within_share else []
    if earlier or (oversized and preempted < computed):
        return interactive
    return [QueueClass.SHORT] if within_share else []


def preemption_budget(running_tokens: int, budget: int) -> int:
    """Tokens of the largest batch that may preempt a batch of `running_tokens` at one yield point."""
    return min(budget, running_tokens // PREEMPTION_DIVISOR)
