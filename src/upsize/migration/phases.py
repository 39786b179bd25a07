"""The state machine of a move: every step, the phases that allow it, and the phase that it leads to.

    start      no move                          → backfill
    resume     backfill, paused                 → backfill
    pause      backfill                         → paused
    switch     backfill, paused, rolled back    → switched       the new generation answers
    rollback   switched                         → rolled back    the old generation answers
    finish     switched, rolled back            → no move        the generation that does not answer is dropped
               backfill, paused, by force       → no move

The phase changes here and nowhere else: `check` refuses a step that the phase does not allow, and `changes` gives the
fields of `index.json` that the step replaces, all in one write.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from upsize.errors import Refused
from upsize.index.state import Move, Phase, State

Step = Literal["start", "resume", "pause", "tune", "switch", "rollback", "finish"]


@dataclass(frozen=True)
class Transition:
    """One step of a move."""

    allowed: frozenset[Phase]
    """Phases in which the step is allowed; empty for `start`, which needs that no move is under way."""
    to: Phase | None = None
    """The phase that follows; None where the step keeps the phase, or ends the move."""
    forced: frozenset[Phase] = frozenset()
    """Phases in which the step is allowed only by force."""
    answers: Literal["source", "target"] | None = None
    """The generation that answers from then on; None where that does not change."""


TRANSITIONS: Mapping[Step, Transition] = {
    "start": Transition(frozenset(), to="backfill"),
    "resume": Transition(frozenset({"backfill", "paused"}), to="backfill"),
    "pause": Transition(frozenset({"backfill"}), to="paused"),
    "tune": Transition(frozenset({"backfill", "paused", "switched", "rolled back"})),
    "switch": Transition(frozenset({"backfill", "paused", "rolled back"}), to="switched", answers="target"),
    "rollback": Transition(frozenset({"switched"}), to="rolled back", answers="source"),
    "finish": Transition(frozenset({"switched", "rolled back"}), forced=frozenset({"backfill", "paused"})),
}


def check(state: State, step: Step, *, force: bool = False) -> None:
    """Raise Refused, with what to do instead, unless the step is allowed now."""
    transition, move = TRANSITIONS[step], state.move
    if step == "start":
        if move is not None:
            raise Refused(_refusal(state, move, step))
        return
    if move is None:
        raise Refused(f"{state.name!r} is not on a move. Start one: upsize evolve start {state.name} --to MODEL.")
    allowed = transition.allowed | (transition.forced if force else frozenset())
    if move.phase not in allowed:
        raise Refused(_refusal(state, move, step))


def changes(state: State, step: Step, **settings: Any) -> dict[str, Any]:
    """Fields of the state that an allowed step of the move under way replaces.

    `settings` are fields of the move. `finish` ends the move; its caller drops the generation that does not answer.
    """
    move, transition = state.move, TRANSITIONS[step]
    assert move is not None, "check comes first"
    if step == "finish":
        return {"move": None}
    move = msgspec.structs.replace(move, phase=transition.to or move.phase, **settings)
    if transition.answers is None:
        return {"move": move}
    return {"move": move, "active": move.target if transition.answers == "target" else move.source}


def _refusal(state: State, move: Move, step: Step) -> str:
    name = state.name
    if step == "start":
        target = state.generation(move.target)
        advice = {
            "switched": "finish it, or roll back",
            "rolled back": "finish it, or switch again",
        }.get(move.phase, "switch and finish it, or give it up: finish --force")
        return (
            f"{name!r} is on a move already, to {target.model} at {target.dimension} dimensions ({move.phase}): "
            f"{advice}."
        )
    if step == "switch":
        return f"{name!r} has been switched already. To go back: upsize evolve rollback {name}."
    if step == "rollback":
        return f"{name!r} has not been switched; there is nothing to roll back."
    if step == "finish":
        return (
            f"{name!r} has not been switched: finish would drop what was made of the new generation. Switch first, or "
            "give the move up with --force."
        )
    return f"The move of {name!r} is {move.phase}; there is no backfill to {step}."
