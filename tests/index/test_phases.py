"""The state machine of a move: every step in every phase."""

from __future__ import annotations

import itertools
from typing import get_args

import msgspec
import pytest

from tests.index.test_state import STATE
from upsize.errors import Refused
from upsize.index.state import Move, Phase, State
from upsize.migration import phases

ALLOWED = {
    "backfill": {"resume", "pause", "tune", "switch"},
    "paused": {"resume", "tune", "switch"},
    "switched": {"tune", "rollback", "finish"},
    "rolled back": {"tune", "switch", "finish"},
}
AFTER = {"resume": "backfill", "pause": "paused", "switch": "switched", "rollback": "rolled back"}


def moving(phase: Phase) -> State:
    second = msgspec.structs.replace(STATE.serving, id="g2", model="demo-s")
    active = "g2" if phase == "switched" else "g1"
    move = Move("g1", "g2", phase, "2026-01-01T00:00:00Z", canary=0.5)
    return STATE.replace(generations=(STATE.serving, second), active=active, move=move)


@pytest.mark.parametrize(("phase", "step"), list(itertools.product(get_args(Phase), get_args(phases.Step))))
def test_each_phase_allows_its_steps_and_refuses_the_others(phase: Phase, step: phases.Step) -> None:
    state = moving(phase)
    if step not in ALLOWED[phase]:
        with pytest.raises(Refused, match="'a'"):
            phases.check(state, step)
        return
    phases.check(state, step)
    changed = state.replace(**phases.changes(state, step))
    assert state.move is not None
    if step == "finish":
        assert (changed.move, changed.active) == (None, state.active)
        return
    assert changed.move == msgspec.structs.replace(state.move, phase=AFTER.get(step, phase))
    assert changed.active == {"switch": "g2", "rollback": "g1"}.get(step, state.active)


@pytest.mark.parametrize("step", get_args(phases.Step))
def test_without_a_move_only_start_is_allowed(step: phases.Step) -> None:
    if step == "start":
        phases.check(STATE, step)
    else:
        with pytest.raises(Refused, match="not on a move"):
            phases.check(STATE, step)


@pytest.mark.parametrize("phase", ["backfill", "paused"])
def test_only_finish_may_be_forced_before_a_switch(phase: Phase) -> None:
    for step in get_args(phases.Step):
        if step == "finish" or step in ALLOWED[phase]:
            phases.check(moving(phase), step, force=True)
        else:
            with pytest.raises(Refused):
                phases.check(moving(phase), step, force=True)
