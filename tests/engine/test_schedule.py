"""Who runs next, as properties of pure functions."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upsize.engine import Lane
from upsize.engine.schedule import LOOK_AHEAD, deadline, lane_due, lane_order, next_batch, overtaking_budget


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


lanes = st.dictionaries(st.sampled_from(Lane), times)


@given(lanes, times)
def test_lanes_go_by_rank_but_for_those_that_are_owed_a_turn(due: dict[Lane, float], now: float) -> None:
    order = lane_order(due, now)
    assert sorted(order) == sorted(due)
    owed = [lane for lane in order if lane is not Lane.INTERACTIVE and due[lane] <= now]
    assert order[: len(owed)] == sorted(owed, key=lambda lane: due[lane])
    assert order[len(owed) :] == sorted(order[len(owed) :])


@pytest.mark.parametrize(("lane", "share"), [(Lane.BULK, 1 / 10), (Lane.SHADOW, 1 / 100)])
def test_beside_interactive_work_without_end_a_lane_has_its_share(lane: Lane, share: float) -> None:
    now, last, ran, batch = 0.0, 0.0, 0.0, 0.02
    while now < 1000:
        due = {Lane.INTERACTIVE: now, lane: lane_due(lane, last, batch)}
        first = lane_order(due, now)[0]
        now += batch if first is lane else 0.001
        if first is lane:
            ran, last = ran + batch, now
    assert ran / now == pytest.approx(share, rel=0.05)


def test_a_short_query_is_due_before_a_long_text_that_came_a_little_before_it() -> None:
    long, short = deadline(0.0, 30000, 1000), deadline(5.0, 20, 1000)
    assert short < long
    assert deadline(29.99, 20, 1000) > long, "but not before one that is about to be due"


@pytest.mark.parametrize(
    ("running", "lane", "earlier", "computed", "overtaken", "expected"),
    [
        (1000, Lane.INTERACTIVE, True, 0.0, 5.0, 250),
        (1000, Lane.INTERACTIVE, False, 1.0, 0.5, 250),
        (1000, Lane.INTERACTIVE, False, 1.0, 1.0, 0),
        (1000, Lane.INTERACTIVE, False, 0.0, 0.0, 0),
        (512, Lane.INTERACTIVE, True, 0.0, 5.0, 128),
        (512, Lane.INTERACTIVE, False, 1.0, 0.0, 0),
        (512, Lane.BULK, False, 1.0, 8.9, 128),
        (512, Lane.BULK, True, 1.0, 9.0, 0),
        (512, Lane.SHADOW, False, 1.0, 98.9, 128),
        (1000, Lane.SHADOW, True, 1.0, 99.0, 0),
    ],
)
def test_overtaking_ends_when_neither_urgent_nor_owed(
    running: int, lane: Lane, earlier: bool, computed: float, overtaken: float, expected: int
) -> None:
    assert overtaking_budget(running, lane, 512, earlier, computed, overtaken) == expected


@given(st.integers(1, 10**5), st.sampled_from(Lane), st.integers(1, 10**5), st.booleans(), times, times)
def test_only_much_smaller_work_overtakes(
    running: int, lane: Lane, budget: int, earlier: bool, computed: float, overtaken: float
) -> None:
    room = overtaking_budget(running, lane, budget, earlier, computed, overtaken)
    assert 0 <= room <= min(budget, running / 4)
