"""The verdict in words. Pure: sentences of what was found, each with its figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from upsize.choose.judge import Judged
from upsize.choose.verdict import CandidateReport, Refusal
from upsize.figures import short

PLURAL = {"query": "queries", "pair": "pairs", "text": "texts"}


def number(value: float) -> str:
    """A quality or a difference: three decimals, with a true minus."""
    return f"{value:.3f}".replace("-", "−") if abs(value) >= 0.0005 else "0.000"


def reason(
    judged: Judged, names: Sequence[str], metric: str, units: int, unit: str, delta: float, feasible: Sequence[int]
) -> str:
    """One sentence: what to do, and the figures that say so."""
    decided = judged.decided
    if decided is None:
        return f"None of the {len(names)} candidates that were measured keeps the limits that were set."
    choice, margin, on = decided.choice, f"{short(delta)} {metric}", f"on {units:,} {PLURAL[unit]}"
    if len(feasible) == 1:
        others = (
            f"of {len(names)} measured it alone keeps the limits" if len(names) > 1 else "nothing else was compared"
        )
        return f"Use {names[choice]}: {others}; its {metric} is {_of(judged, choice)} on {units:,} {PLURAL[unit]}."
    if decided.decision == "stay":
        best = max((j for j in feasible if j != choice), key=lambda j: judged.upper[choice, j])
        return (
            f"Stay with {names[choice]}: {on} no other candidate is better by more than {margin}; the one that comes "
            f"nearest to it, {names[best]}, differs by {_gain(judged, choice, best)}."
        )
    smallest = feasible[0]
    if decided.decision == "go_up":
        more = "" if decided.settled else "; whether another pays still more, or a smaller one does, is open"
        judge = choice
        if judged.lower[smallest, choice] <= delta:  # good enough to be chosen, its own gain not yet sure
            judge = max(feasible, key=lambda j: judged.lower[smallest, j])
            more = f", and {names[choice]} is at most {margin} below it{more}"
        return (
            f"Go up to {names[choice]}: {names[judge]} gains {_gain(judged, smallest, judge)} over {names[smallest]} "
            f"{on}, surely more than {margin}{more}."
        )
    best = max((j for j in feasible if j != choice), key=lambda j: judged.quality.estimate[j])
    needed = (
        f"label about {judged.size.more:,} more {PLURAL[unit]}"
        if judged.size
        else "more of them would not tell, for the algorithm's own seeds vary too much"
    )
    return (
        f"Cannot tell whether more than {names[choice]} pays: {names[best]} differs from it by "
        f"{_gain(judged, choice, best)}, which neither reaches beyond {margin} for sure nor stays below it; {needed}."
    )


def _gain(judged: Judged, i: int, j: int) -> str:
    estimate = float(judged.quality.estimate[j] - judged.quality.estimate[i])
    return f"{number(estimate)} ({number(judged.lower[i, j])} to {number(judged.upper[i, j])})"


def _of(judged: Judged, i: int) -> str:
    quality = judged.quality
    return f"{number(quality.estimate[i])} ({number(quality.lower[i])} to {number(quality.upper[i])})"


def runner_up(judged: Judged, feasible: Sequence[int]) -> int | None:
    """The best of the other feasible ones."""
    decided = judged.decided
    if decided is None or len(feasible) < 2:
        return None
    rest = [j for j in feasible if j != decided.choice]
    return max(rest, key=lambda j: float(judged.quality.estimate[j]))


def what_would_change_it(
    judged: Judged, reports: Sequence[CandidateReport], refused: Sequence[Refusal], delta: float, metric: str
) -> Iterator[str]:
    """Another margin, another limit, more labels, more memory."""
    decided = judged.decided
    able = [i for i, r in enumerate(reports) if r.feasible]
    if decided is not None and len(able) > 1:
        smallest = able[0]
        others = [j for j in able if j != smallest]
        most, least = (max(float(m[smallest, j]) for j in others) for m in (judged.upper, judged.lower))
        if decided.decision == "stay":
            if most > 0:
                yield f"A margin below {number(most)} {metric}: staying is shown down to there."
        elif decided.decision == "go_up":
            yield f"A margin of {number(least)} {metric} or more: going up is shown below that."
        else:
            yield (
                f"A margin of {number(most)} {metric} or more would make it a stay"
                + (f", one below {number(least)} a go-up." if least > 0 else ".")
            )
        if judged.size is not None and judged.size.if_as_observed is not None:
            yield (
                f"{judged.size.total:,} labelled in all settle it with a chance of {judged.size.power:.0%}, unless the "
                f"truth is nearer to the margin; {judged.size.if_as_observed:,} if the differences are as observed."
            )
    best = max(able, key=lambda i: reports[i].quality.estimate, default=None)
    for place, report in enumerate(reports):
        if not report.feasible and (best is None or judged.lower[best, place] > delta):
            gain = "" if best is None else f", for its {metric} is better by {_gain(judged, best, place)}"
            yield f"Limits that {report.id} keeps ({report.why_not}){gain}."
    for refusal in refused:
        yield f"A machine for {refusal.id}: {refusal.reason}."
