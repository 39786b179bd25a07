"""The move of an index from one model to another: start, pause, switch, roll back, finish.

    start → backfill ⇄ paused → switched ⇄ rolled back → finish

From the start on, but for a pause, both generations are kept in step: writes and deletes reach both, whichever answers.
A switch is one replacement of `index.json`; so is the way back. `finish` drops the generation that does not answer.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Concatenate, ParamSpec, TypeVar

from upsize.errors import Refused
from upsize.index.coverage import coverage
from upsize.index.index import Index
from upsize.index.state import Generation, Move, Phase, now
from upsize.migration.catch_up import CatchUpProgress, catch_up
from upsize.migration.plan import MovePlan

TAIL = 2000
"""Documents that a switch embeds itself; with more missing it is refused at once."""
WITHIN, LONGEST, HOLD = 10.0, 30.0, 5.0
"""Seconds for which a switch works off the backlog while writes go on, for which it does so where it will then be done,
and for which writes wait for the last documents."""

P = ParamSpec("P")
R = TypeVar("R")


def _alone(step: Callable[Concatenate[Index, P], R]) -> Callable[Concatenate[Index, P], R]:
    """One step of an index at a time: each looks at the state that the one before left."""

    def alone(index: Index, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with index.moving:
            return step(index, *args, **kwargs)

    functools.update_wrapper(alone, step)
    return alone


@_alone
def start(index: Index, plan: MovePlan, *, shadow: float = 0.05, canary: float = 0.0, force: bool = False) -> Move:
    """Begin to fill the generation of the plan's model beside the one that answers.

    Refused while a move is under way, or for what the plan found that will not fit, unless `force`; DiskFull where the
    disk has no room for its entries, whatever `force`.
    """
    state = index.state
    if state.move:
        target = state.generation(state.move.target)
        otherwise = "switch and finish it, or give it up: finish --force"
        then = {"switched": "finish it, or roll back", "rolled back": "finish it, or switch again"}
        raise Refused(
            f"{index.name!r} is on a move already, to {target.model} at {target.dimension} dimensions "
            f"({state.move.phase}): {then.get(state.move.phase, otherwise)}."
        )
    if plan.problems and not force:
        raise Refused(
            f"The move to {plan.wanted.model} will not fit: {' '.join(plan.problems)} (--force starts it all the same.)"
        )
    index.require_room_for_entries()  # also with force
    target = _target(index, plan)
    index.documents.order_by_popularity(target.id)
    index.shadows.clear()
    move = Move(state.active, target.id, "backfill", now(), shadow, canary)
    index.change(move=move)
    index.reconciler.wake()
    return move


@_alone
def resume(
    index: Index, to: str | None, dimension: int | None, shadow: float | None, canary: float | None
) -> Move | None:
    """Go on with the backfill that is under way, or paused, if it is one to this model (None: to whichever) and
    dimension; with other shares, where they are given. None where there is no such move."""
    move = index.state.move
    if move is None or move.phase not in ("backfill", "paused"):
        return None
    target = index.state.generation(move.target)
    if (to is not None and index.models.path(to) != target.model) or dimension not in (None, target.dimension):
        return None
    tune(index, shadow=shadow, canary=canary)
    move = index.change_move(phase="backfill")
    index.reconciler.wake()
    return move


def _target(index: Index, plan: MovePlan) -> Generation:
    """The generation to fill: one that rescoring has begun, with its vectors as a head start, or a new one."""
    for generation in index.state.generations:
        if generation.id != index.state.active and generation.fingerprint == plan.fingerprint:
            return generation
    return index.add_generation(plan.wanted)


@_alone
def pause(index: Index) -> Move:
    """Fill no further until it is started again."""
    move = _under_way(index)
    if move.phase != "backfill":
        raise Refused(f"The move of {index.name!r} is {move.phase}; there is no backfill to pause.")
    return index.change_move(phase="paused")


@_alone
def tune(index: Index, *, shadow: float | None = None, canary: float | None = None) -> Move:
    """Change the shares of searches that are compared in the shadow, and that the new generation answers."""
    move = _under_way(index)
    if canary and move.phase == "switched":
        raise Refused(f"{index.name!r} has been switched: the new generation answers all searches.")
    return index.change_move(
        shadow=move.shadow if shadow is None else shadow, canary=move.canary if canary is None else canary
    )


@_alone
def switch(index: Index, *, force: bool = False) -> Move:
    """Let the new generation answer. Refused while documents are missing in it, or while it was judged worse on
    labelled queries, unless `force`; one with documents missing is then switched to all the same."""
    move = _under_way(index)
    if move.phase == "switched":
        raise Refused(f"{index.name!r} has been switched already. The way back: upsize evolve rollback {index.name}.")
    if move.verdict and move.verdict["worse"] and not force:
        raise Refused(f"The new generation was judged worse: {move.verdict['reason']} (--force switches all the same.)")
    return _turn(index, move.target, "switched", force)


@_alone
def rollback(index: Index, *, force: bool = False) -> Move:
    """Let the old generation answer again. Texts that came since and that the old model cannot embed do not keep it."""
    move = _under_way(index)
    if move.phase != "switched":
        raise Refused(f"{index.name!r} has not been switched; there is nothing to roll back.")
    return _turn(index, move.source, "rolled back", force)


def _turn(index: Index, to: str, phase: Phase, force: bool) -> Move:
    complete = _in_step(index, index.state.generation(to), also_refused=phase == "switched")
    with index.paused_writes() if force else complete:
        turned = index.change_move(phase=phase, canary=0.0, active=to)
    index.beside_the_answer(index.reconciler.publish_alias)
    return turned


@contextmanager
def _in_step(index: Index, generation: Generation, *, also_refused: bool) -> Iterator[None]:
    """While this holds nobody writes, and the generation lacks nothing.

    Writes go on while the backlog is worked off, and wait for its end, HOLD seconds at most. Where more is written than
    the model embeds there is no such end: Refused with the rates, within LONGEST + HOLD seconds. `also_refused`: also
    where the model cannot embed a text.
    """

    def enough(progress: CatchUpProgress) -> bool:  # for what is left to be embedded while writes wait
        return bool(progress.embedded) and progress.missing <= progress.embedded_per_second * HOLD / 2

    progress = catch_up(index, generation, enough, most=TAIL, seconds=WITHIN)
    if progress.missing <= TAIL and not enough(progress) and progress.done_within(LONGEST - WITHIN):
        progress = catch_up(index, generation, enough, most=TAIL, seconds=LONGEST - WITHIN)
    far = progress.missing if progress.missing > TAIL and not progress.embedded else 0
    _require_complete(index, generation, far, also_refused=also_refused)
    if progress.missing and not enough(progress):
        raise _too_slow(index, generation, progress)
    with index.paused_writes():
        last = catch_up(index, generation, lambda _: False, most=TAIL, seconds=HOLD)
        if last.missing:
            raise _too_slow(index, generation, replace(progress, missing=last.missing))
        _require_complete(index, generation, 0, also_refused=also_refused)
        yield


def _too_slow(index: Index, generation: Generation, progress: CatchUpProgress) -> Refused:
    trouble = f" Its last trouble: {index.reconciler.trouble}" if index.reconciler.trouble else ""
    return Refused(
        f"{progress.missing:,} documents are still missing in {generation.model} and it does not catch up: "
        f"{progress.written_per_second:.1f} documents/s are written, and it embeds "
        f"{progress.embedded_per_second:.1f}/s beside them (over {progress.seconds:.1f} s). Nothing was changed. "
        f"Switch while less is written, or --force, and searches will not find them until they are embedded.{trouble}"
    )


def _require_complete(index: Index, generation: Generation, missing: int, *, also_refused: bool = True) -> None:
    if missing:
        raise Refused(
            f"{missing:,} of {index.documents.count():,} documents are still missing in {generation.model}. Wait for "
            f"the backfill (upsize evolve status {index.name}), or --force, and searches will not find them yet."
        )
    refused, examples = index.documents.refused(generation.id, 1)
    if refused and also_refused:
        raise Refused(
            f"{generation.model} cannot embed {refused:,} of the documents, for example {examples[0]['id']!r}: "
            f"{examples[0]['reason']} Delete or shorten them, or --force, and searches will not find them."
        )


@_alone
def finish(index: Index, *, force: bool = False) -> str:
    """Drop the generation that does not answer; the move is over. Before a switch only by `force`: the move is then
    given up. Gives the id of what was dropped."""
    move = _under_way(index)
    if move.phase in ("backfill", "paused") and not force:
        raise Refused(
            f"{index.name!r} has not been switched: finish would drop what was made of the new generation. "
            "Switch first, or --force to give the move up."
        )
    state = index.state
    if not force:
        with _in_step(index, state.serving, also_refused=True):
            pass
    other = move.source if state.active == move.target else move.target
    dropped = state.generation(other)
    rescore = state.rescore if state.rescore and state.rescore.generation not in (other, state.active) else None
    index.drop_generation(dropped, move=None, rescore=rescore)
    return other


def status(index: Index) -> dict[str, Any]:
    """How far it is: documents, rate, time left, what troubles it; how alike the generations answer."""
    move = index.state.move
    if move is None:
        return {"index": index.name, "phase": "none", "active": index.state.active, "ready": False, "missing": 0}
    target = index.state.generation(move.target)
    covered = coverage(index.documents, target.id)
    missing, refused, total = covered.missing, covered.refused, covered.documents
    rate = index.reconciler.documents_per_second.get(target.id, 0.0)
    _, examples = index.documents.refused(target.id)
    return {
        "index": index.name,
        "phase": move.phase,
        "ready": not missing and not refused,
        "active": index.state.active,
        "source": {"generation": move.source, "model": index.state.generation(move.source).model},
        "target": {"generation": move.target, "model": target.model, "dimension": target.dimension},
        "started": move.started,
        "documents": total,
        "embedded": total - missing - refused,
        "missing": missing,
        "refused": refused,
        "refused_examples": examples,
        "documents_per_second": rate,
        "seconds_left": missing / rate if missing and rate and move.phase == "backfill" else (None if missing else 0.0),
        "behind": {g.id: index.documents.missing_count(g.id) for g in index.state.filled},
        "shadow": move.shadow,
        "canary": move.canary,
        "canary_active": move.canary > 0 and covered.ready and move.phase == "backfill",
        "canary_answered": index.follow_ups.canary_answers[target.id],
        "canary_failed": index.follow_ups.canary_failed[target.id],
        "shadow_active": move.shadow > 0 and covered.ready,
        "incomplete": covered.note(target.id) or coverage(index.documents, move.source).note(move.source),
        "agreement": index.shadows.summary(),
        "verdict": move.verdict,
        "trouble": index.reconciler.trouble,
    }


def _under_way(index: Index) -> Move:
    move = index.state.move
    if move is None:
        raise Refused(f"{index.name!r} is not on a move. Start one: upsize evolve start {index.name} --to MODEL.")
    return move
