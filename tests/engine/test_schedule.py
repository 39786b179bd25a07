"""The scheduler's pure functions, as properties."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upsize.engine import Priority
from upsize.engine.scheduler import (
    LOOK_AHEAD,
    deadline,
    fair_share_due,
    next_batch,
    preempting_classes,
    preemption_budget,
    queue_class,
    run_order,
)
from upsize.engine.types import QueueClass


@dataclass(frozen=True)
class Piece:
    tokens: int
    deadline: float = 0.0


queues = st.lists(st.builds(Piece, st.integers(1, 100)), max_size=20)
budgets = st.integers(1, 120)


@given(queues, budgets, st.booleans())
def test_a_batch_is_in_order_and_within_the_budget(queue: list[Piece], budget: int, oversized: bool) -> None:
    places = next_batch(queue, budget, oversized=oversized)
    assert places == sorted(set(places))
    tokens = sum(queue[p].tokens for p in places)
    assert tokens <= budget or (oversized and places == [0])


@given(queues.filter(bool), budgets)
def test_the_first_is_always_taken(queue: list[Piece], budget: int) -> None:
    assert next_batch(queue, budget)[0] == 0


@given(queues, budgets)
def test_without_oversized_nothing_above_the_budget_is_taken(queue: list[Piece], budget: int) -> None:
    places = next_batch(queue, budget, oversized=False)
    assert all(queue[p].tokens <= budget for p in places)
    assert bool(places) == any(piece.tokens <= budget for piece in queue)


@given(queues, budgets)
def test_what_was_passed_over_did_not_fit(queue: list[Piece], budget: int) -> None:
    places = set(next_batch(queue, budget, oversized=False))
    room = budget
    for place, piece in enumerate(queue):
        if place in places:
            room -= piece.tokens
        else:
            assert piece.tokens > room


@given(queues, budgets)
def test_batch_after_batch_every_piece_runs_once(queue: list[Piece], budget: int) -> None:
    waiting, ran = list(enumerate(queue)), []
    while waiting:
        places = next_batch([piece for _, piece in waiting], budget)
        ran += [waiting[p][0] for p in places]
        waiting = [w for p, w in enumerate(waiting) if p not in places]
    assert sorted(ran) == list(range(len(queue)))


def test_it_looks_only_so_far_ahead() -> None:
    queue = [Piece(1), *[Piece(100)] * LOOK_AHEAD, Piece(1), Piece(100), Piece(1)]
    assert next_batch(queue, 50) == [0, LOOK_AHEAD + 1]


times = st.floats(0, 1e6)
rates = st.floats(1, 1e6)


@given(times, st.integers(1, 10**6), rates, st.floats(0.001, 1e3), st.integers(1, 10**6))
def test_a_deadline_grows_with_arrival_and_size(
    arrival: float, tokens: int, rate: float, later: float, more: int
) -> None:
    due = deadline(arrival, tokens, rate)
    assert due >= arrival
    assert deadline(arrival + later, tokens, rate) > due
    assert deadline(arrival, tokens + more, rate) >= due
    assert deadline(arrival, tokens, rate * 2) <= due


priorities = st.dictionaries(st.sampled_from(QueueClass), times)


@given(priorities, times)
def test_classes_run_by_rank_but_for_those_past_their_fair_share(due: dict[QueueClass, float], now: float) -> None:
    ordered = run_order(due, now)
    assert sorted(ordered) == sorted(due)
    overdue = [p for p in ordered if p is not QueueClass.SHORT and due[p] <= now]
    assert ordered[: len(overdue)] == sorted(overdue, key=lambda p: due[p])
    assert ordered[len(overdue) :] == sorted(ordered[len(overdue) :])


@pytest.mark.parametrize(
    ("waits", "share"), [(QueueClass.LONG, 1 / 2), (QueueClass.BULK, 1 / 10), (QueueClass.SHADOW, 1 / 100)]
)
def test_beside_short_requests_without_end_a_class_has_its_fair_share(waits: QueueClass, share: float) -> None:
    now, last, ran, batch = 0.0, 0.0, 0.0, 0.02
    while now < 200:
        due = {QueueClass.SHORT: now, waits: fair_share_due(waits, last, batch)}
        first = run_order(due, now)[0]
        now += batch if first is waits else 0.001
        if first is waits:
            ran, last = ran + batch, now
    assert ran / now == pytest.approx(share, rel=0.05)


def test_short_requests_have_half_beside_long_ones_without_end() -> None:
    now, last, had = 0.0, 0.0, {QueueClass.SHORT: 0.0, QueueClass.LONG: 0.0}
    while now < 100:
        first = run_order({QueueClass.SHORT: now, QueueClass.LONG: fair_share_due(QueueClass.LONG, last, 0.1)}, now)[0]
        now += (spent := 0.1 if first is QueueClass.LONG else 0.01)
        had[first] += spent
        last = now if first is QueueClass.LONG else last
    assert had[QueueClass.SHORT] / now == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("priority", "tokens", "expected"),
    [
        (Priority.INTERACTIVE, 256, QueueClass.SHORT),
        (Priority.INTERACTIVE, 257, QueueClass.LONG),
        (Priority.BULK, 1, QueueClass.BULK),
        (Priority.SHADOW, 9999, QueueClass.SHADOW),
    ],
)
def test_a_request_is_short_if_it_fits_into_half_a_batch(priority: Priority, tokens: int, expected: QueueClass) -> None:
    assert queue_class(priority, tokens, 512) is expected


def test_a_short_query_is_due_before_a_long_text_that_came_a_little_before_it() -> None:
    long, short = deadline(0.0, 30000, 1000), deadline(5.0, 20, 1000)
    assert short < long
    assert deadline(29.99, 20, 1000) > long, "but not before one that is about to be due"


BOTH, SHORT = [QueueClass.SHORT, QueueClass.LONG], [QueueClass.SHORT]


@pytest.mark.parametrize(
    ("running", "earlier", "oversized", "computed", "preempted", "expected"),
    [
        (QueueClass.SHORT, True, False, 0.0, 5.0, BOTH),
        (QueueClass.SHORT, False, False, 1.0, 0.0, []),
        (QueueClass.LONG, True, True, 0.0, 5.0, BOTH),
        (QueueClass.LONG, False, True, 1.0, 0.5, BOTH),
        (QueueClass.LONG, False, False, 1.0, 0.5, SHORT),
        (QueueClass.LONG, False, True, 1.0, 1.0, []),
        (QueueClass.LONG, False, False, 0.0, 0.0, []),
        (QueueClass.BULK, False, False, 1.0, 8.9, BOTH),
        (QueueClass.BULK, True, False, 1.0, 9.0, []),
        (QueueClass.SHADOW, False, False, 1.0, 98.9, BOTH),
        (QueueClass.SHADOW, True, True, 1.0, 99.0, []),
    ],
)
def test_preemption_ends_when_neither_urgent_nor_within_the_fair_share(
    running: QueueClass,
    earlier: bool,
    oversized: bool,
    computed: float,
    preempted: float,
    expected: list[QueueClass],
) -> None:
    assert preempting_classes(running, computed, preempted, earlier=earlier, oversized=oversized) == expected


@given(st.integers(1, 10**5), st.integers(1, 10**5))
def test_only_much_smaller_work_preempts(running: int, budget: int) -> None:
    assert 0 <= preemption_budget(running, budget) <= min(budget, running / 4)
