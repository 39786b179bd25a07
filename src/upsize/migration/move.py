"""The steps of a move: start, resume, pause, tune, switch, rollback, finish.

`upsize.migration.phases` says which phase allows which step. From the start on, except during a pause, both
generations are kept up to date: writes and deletes reach both, whichever answers. A switch is one replacement of
`index.json`, and so is a rollback. `finish` drops the generation that does not answer.

Every step holds `Index.exclusive_step`, so that it sees the state that the step before left.
"""

from __future__ import annotations

from typing import Any, Literal

from upsize.errors import Refused
from upsize.index.coverage import coverage
from upsize.index.index import Index
from upsize.index.state import Generation, Move, now
from upsize.migration import phases
from upsize.migration.plan import MovePlan
from upsize.migration.switching import up_to_date


def start(index: Index, plan: MovePlan, *, shadow: float = 0.05, canary: float = 0.0, force: bool = False) -> Move:
    """Begin to fill the generation of the plan's model beside the one that answers.

    Raises Refused while a move is under way, and for what the plan found that will not fit, unless `force`; DiskFull
    where the disk has no room for the backlog's rows, whatever `force`.
    """
    with index.exclusive_step():
        state = index.state
        phases.check(state, "start")
        if plan.problems and not force:
            raise Refused(
                f"The move to {plan.wanted.model} will not fit: {' '.join(plan.problems)} (--force starts it anyway.)"
            )
        index.require_room_for_backlog()
        target = _target(index, plan)
        index.documents.order_by_popularity(target.id)
        index.shadows.clear()
        move = Move(state.active, target.id, "backfill", now(), shadow, canary)
        index.change(move=move)
    index.reconciler.wake()
    return move


def resume(
    index: Index, to: str | None, dimension: int | None, shadow: float | None, canary: float | None
) -> Move | None:
    """Continue a backfill that is under way or paused, with other shares where they are given.

    None where no such move leads to this model (None: to any) and dimension.
    """
    with index.exclusive_step():
        move = index.state.move
        if move is None or move.phase not in phases.TRANSITIONS["resume"].allowed:
            return None
        target = index.state.generation(move.target)
        if (to is not None and index.models.path(to) != target.model) or dimension not in (None, target.dimension):
            return None
        move = _step(index, "resume", **_shares(move, shadow, canary))
    index.reconciler.wake()
    return move


def _target(index: Index, plan: MovePlan) -> Generation:
    """The generation to fill: one that rescoring has begun, with its vectors as a head start, or a new one."""
    for generation in index.state.generations:
        if generation.id != index.state.active and generation.fingerprint == plan.fingerprint:
            return generation
    return index.add_generation(plan.wanted)


def pause(index: Index) -> Move:
    """Stop the backfill until `resume`."""
    with index.exclusive_step():
        phases.check(index.state, "pause")
        return _step(index, "pause")


def tune(index: Index, *, shadow: float | None = None, canary: float | None = None) -> Move:
    """Change the shares of searches that are shadow reads, and that the new generation answers."""
    with index.exclusive_step():
        phases.check(index.state, "tune")
        move = _under_way(index)
        if canary and move.phase == "switched":
            raise Refused(f"{index.name!r} has been switched: the new generation answers all searches.")
        return _step(index, "tune", **_shares(move, shadow, canary))


def record_verdict(index: Index, judged: Move, verdict: dict[str, Any]) -> None:
    """Keep the verdict of a comparison with the move that was judged. Refused where that move has ended meanwhile."""
    with index.exclusive_step():
        move = index.state.move
        if move is None or (move.source, move.target, move.started) != (judged.source, judged.target, judged.started):
            raise Refused(
                f"The move of {index.name!r} was ended while it was compared; the verdict was: {verdict['reason']}"
            )
        _step(index, "tune", verdict=verdict)


def switch(index: Index, *, force: bool = False) -> Move:
    """Let the new generation answer.

    Raises Refused while documents are missing in it, and while it was judged worse on labelled queries, unless
    `force`.
    """
    with index.exclusive_step():
        phases.check(index.state, "switch")
        move = _under_way(index)
        if move.verdict and move.verdict["worse"] and not force:
            raise Refused(
                f"The new generation was judged worse: {move.verdict['reason']} (--force switches to it anyway.)"
            )
        return _switch_to(index, move.target, "switch", force)


def rollback(index: Index, *, force: bool = False) -> Move:
    """Let the old generation answer again. Texts that only the new model can embed do not prevent it."""
    with index.exclusive_step():
        phases.check(index.state, "rollback")
        return _switch_to(index, _under_way(index).source, "rollback", force)


def _switch_to(index: Index, to: str, step: Literal["switch", "rollback"], force: bool) -> Move:
    complete = up_to_date(index, index.state.generation(to), require_none_refused=step == "switch")
    with index.paused_writes() if force else complete:
        switched = _step(index, step, canary=0.0)
    index.try_or_retry_later(index.reconciler.publish_alias)
    return switched


def finish(index: Index, *, force: bool = False) -> str:
    """End the move and drop the generation that does not answer; its id. Before a switch only by `force`: the move is
    then given up."""
    with index.exclusive_step():
        phases.check(index.state, "finish", force=force)
        state, move = index.state, _under_way(index)
        if not force:
            with up_to_date(index, state.serving, require_none_refused=True):
                pass
        other = move.source if state.active == move.target else move.target
        rescore = state.rescore if state.rescore and state.rescore.generation not in (other, state.active) else None
        index.drop_generation(state.generation(other), rescore=rescore, **phases.changes(state, "finish"))
        return other


def _step(index: Index, step: phases.Step, **settings: Any) -> Move:
    changed = index.change(**phases.changes(index.state, step, **settings)).move
    assert changed is not None
    return changed


def _shares(move: Move, shadow: float | None, canary: float | None) -> dict[str, float]:
    return {
        "shadow": move.shadow if shadow is None else shadow,
        "canary": move.canary if canary is None else canary,
    }


def _under_way(index: Index) -> Move:
    move = index.state.move
    assert move is not None, "phases.check comes first"
    return move


def status(index: Index) -> dict[str, Any]:
    """Progress of the move: phase, documents, rate, time left, last error, and how alike the generations answer."""
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
        "behind": {g.id: index.documents.backlog_size(g.id) for g in index.state.kept_current},
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
