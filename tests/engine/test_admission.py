"""The queue is bounded in seconds, and a client that retries at its promised time is admitted."""

from __future__ import annotations

import heapq
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upsize.engine.admission import GRACE, LONGEST, LOW, PROMISED_LIMIT, Admission


def simulated(load: float, honouring: float, seconds: float, *, error: float = 1.0) -> dict[str, float]:
    """An open loop of requests of 0.2 s each, on a machine that does one second of work a second. A share of the
    clients retries once at its promised time; the others not at all. `error`: predicted over true seconds."""
    draw, admission = random.Random(7), Admission(30.0)
    arrivals = [(t, i, 0.0) for i, t in enumerate(iter_times(draw, load / 0.2, seconds))]
    heapq.heapify(arrivals)
    queue, last, busy, most = 0.0, 0.0, 0.0, 0.0
    retries = held = refused = 0
    while arrivals:
        now, key, came_back = heapq.heappop(arrivals)
        worked = min(queue, now - last)
        queue, busy, last = queue - worked, busy + worked, now
        after = admission.wait(key, 0.2 * error, queue * error, now)
        if came_back and now < seconds:
            retries, held = retries + 1, held + (after is None)
        if after is None:
            queue += 0.2
            most = max(most, queue)
        elif not came_back:
            refused += 1
            if draw.random() < honouring:
                heapq.heappush(arrivals, (now + int(after) + 1, key, now))
    return {"held": held / max(retries, 1), "retries": retries, "busy": busy / last, "most": most, "refused": refused}


def iter_times(draw: random.Random, rate: float, seconds: float) -> list[float]:
    times, now = [], 0.0
    while (now := now + draw.expovariate(rate)) < seconds:
        times.append(now)
    return times


@pytest.mark.parametrize("load", [1.5, 5.0])
@pytest.mark.parametrize("honouring", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("error", [0.7, 1.0, 1.4])
def test_a_retry_at_its_time_is_let_in_and_the_machine_stays_busy(load: float, honouring: float, error: float) -> None:
    found = simulated(load, honouring, 400.0, error=error)
    assert found["refused"] > 200
    assert found["retries"] > 50
    assert found["held"] > (0.9 if error >= 1 else 0.8)
    assert found["busy"] > 0.9
    assert found["most"] <= PROMISED_LIMIT * 30 / error + 0.3


def test_with_room_nobody_is_sent_away() -> None:
    assert simulated(0.9, 1.0, 400.0)["refused"] == 0


def test_who_comes_in_time_has_a_place_and_who_comes_late_has_none() -> None:
    admission = Admission(10.0)
    assert admission.wait("a", 1.0, 10.0, 0.0) is None
    assert admission.wait("b", 1.0, 14.0, 0.0) == pytest.approx(7.0)
    assert admission.wait("c", 1.0, 9.8, 4.0) is not None, "the room is promised"
    assert admission.wait("c", 1.0, 2.0, 4.0) is None, "a queue that runs empty takes anybody"
    assert admission.wait("b", 1.0, 14.0, 6.9) is None
    assert admission.wait("d", 1.0, 14.0, 10.0) is not None
    assert admission.wait("d", 1.0, 14.0, 30.0 + GRACE) is not None


def test_several_of_equal_content_have_a_place_each() -> None:
    admission = Admission(10.0)
    waits = [admission.wait("same", 1.0, 14.0, 0.0) for _ in range(4)]
    assert waits == sorted(waits, key=float)  # type: ignore[arg-type]
    for after in waits:
        assert after is not None
        assert admission.wait("same", 1.0, 14.0, after) is None
    assert admission.wait("same", 1.0, 14.0, 9.0) is not None


@given(st.lists(st.tuples(st.integers(0, 20), st.floats(0, 50), st.floats(0, 200), st.floats(0, 5)), max_size=60))
def test_answers_are_sane_whatever_comes(calls: list[tuple[int, float, float, float]]) -> None:
    admission, now = Admission(30.0), 0.0
    for key, seconds, waiting, later in calls:
        now += later
        after = admission.wait(key, seconds, waiting, now)
        if waiting <= LOW * 30:
            assert after is None
        if waiting > PROMISED_LIMIT * 30:
            assert after is not None
        assert after is None or 0 < after <= LONGEST
        assert 0 <= admission.kept <= 1
        assert admission.promised >= 0
