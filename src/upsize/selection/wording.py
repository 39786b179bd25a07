"""The verdict in words. Pure: sentences of what was found, each with its figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from upsize.evaluation.statistics import FARTHEST, FEWEST, FEWEST_EFFECTIVE
from upsize.number_format import short
from upsize.selection.comparison import Analysis
from upsize.selection.verdict import CandidateReport, InfeasibleCandidate

PLURAL = {"query": "queries", "pair": "pairs", "text": "texts"}


def metric_text(value: float) -> str:
    """A quality or a difference: three decimals, with a true minus."""
    return f"{value:.3f}".replace("-", "−") if abs(value) >= 0.0005 else "0.000"


def reason_text(
    judged: Analysis, names: Sequence[str], metric: str, units: int, unit: str, delta: float, feasible: Sequence[int]
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
    if judged.why_no_number == "order":
        return (
            f"Cannot tell: every order of the documents is as good as another for each of the {units:,} "
            f"{PLURAL[unit]}, so {metric} is the same for every model, however many are labelled so. Judge which "
            f"documents answer them and which do not. Meanwhile use {names[choice]}, the smallest."
        )
    if decided.decision == "stay":
        best = max((j for j in feasible if j != choice), key=lambda j: judged.upper[choice, j])
        return (
            f"Stay with {names[choice]}: {on} no other candidate is better by more than {margin}; the one that comes "
            f"nearest to it, {names[best]}, differs by {_gain(judged, choice, best)}."
        )
    if judged.too_few:
        return f"{too_few_text(judged, units, unit)} Meanwhile use {names[choice]}, the smallest."
    smallest = feasible[0]
    if decided.decision == "go_up":
        more = "" if decided.settled else "; whether another pays still more, or a smaller one does, is open"
        judge = choice
        if judged.lower[smallest, choice] <= delta:  # good enough to be chosen, its own gain not yet sure
            judge = max(feasible, key=lambda j: judged.lower[smallest, j])
            sure = judged.upper[choice, judge] <= delta
            below = f"at most {margin} below it" if sure else f"not shown to be more than {margin} below it"
            more = f", and {names[choice]} is {below}{more}"
        return (
            f"Go up to {names[choice]}: {names[judge]} gains {_gain(judged, smallest, judge)} over {names[smallest]} "
            f"{on}, surely more than {margin}{more}."
        )
    best = max((j for j in feasible if j != choice), key=lambda j: judged.quality.estimate[j])
    return (
        f"Cannot tell whether more than {names[choice]} pays: {names[best]} differs from it by "
        f"{_gain(judged, choice, best)}, which neither reaches beyond {margin} for sure nor stays below it; "
        f"{_needed(judged, unit, delta)}."
    )


def _needed(judged: Analysis, unit: str, delta: float) -> str:
    """How many more units would tell, or why no number would."""
    if judged.more is not None:
        needed = f"label about {judged.more:,} more {PLURAL[unit]}"
        return needed if delta else f"with no margin, and differences as observed, {needed}"
    return {
        "seeds": "more of them would not tell, for the algorithm's own seeds vary too much",
        "margin": "with a margin of 0, candidates that are alike cannot be told apart by any number; set --delta 0.01",
        "far": f"more than {FARTHEST:,} more would be needed for so small a margin",
    }.get(judged.why_no_number or "far", "more of the same labels would not tell")


def too_few_text(judged: Analysis, units: int, unit: str) -> str:
    """That nothing is judged by so few units, and how many are."""
    told = f"Too few to judge: {units:,} {unit if units == 1 else PLURAL[unit]}"
    if judged.independent < units:
        told += f" that come in {judged.independent:,} independent group{'s' * (judged.independent > 1)}"
    if judged.independent >= FEWEST:
        return (
            f"{told}, most of them in a few large ones, which tell as much as {judged.effective:.1f} equal ones; "
            f"{FEWEST_EFFECTIVE:g} are the fewest that are judged."
        )
    if judged.independent == units:
        return f"{told}, and {FEWEST} are the fewest that are judged; label about {judged.more:,} more."
    return (
        f"{told}, and {FEWEST} groups are the fewest that are judged; label about {judged.more:,} more, in groups of "
        "their own."
    )


def _gain(judged: Analysis, i: int, j: int) -> str:
    estimate = float(judged.quality.estimate[j] - judged.quality.estimate[i])
    return f"{metric_text(estimate)} ({metric_text(judged.lower[i, j])} to {metric_text(judged.upper[i, j])})"


def _of(judged: Analysis, i: int) -> str:
    quality = judged.quality
    return f"{metric_text(quality.estimate[i])} ({metric_text(quality.lower[i])} to {metric_text(quality.upper[i])})"


def runner_up(judged: Analysis, feasible: Sequence[int]) -> int | None:
    """The best of the other feasible ones."""
    decided = judged.decided
    if decided is None or len(feasible) < 2:
        return None
    rest = [j for j in feasible if j != decided.choice]
    return max(rest, key=lambda j: float(judged.quality.estimate[j]))


def what_would_change_it(
    judged: Analysis,
    reports: Sequence[CandidateReport],
    refused: Sequence[InfeasibleCandidate],
    delta: float,
    metric: str,
) -> Iterator[str]:
    """Another margin, another limit, more labels, more memory."""
    decided = judged.decided
    able = [i for i, r in enumerate(reports) if r.feasible]
    if judged.why_no_number == "order":
        yield "Judgements that tell documents apart: some that answer a query beside some that do not."
    elif decided is not None and len(able) > 1 and judged.too_few:
        yield "More labels: nothing is judged by so few."
    elif decided is not None and len(able) > 1:
        smallest = able[0]
        others = [j for j in able if j != smallest]
        most, least = (max(float(m[smallest, j]) for j in others) for m in (judged.upper, judged.lower))
        if decided.decision == "stay":
            if most > 0:
                yield f"A margin below {metric_text(most)} {metric}: staying is shown down to there."
        elif decided.decision == "go_up":
            yield f"A margin of {metric_text(least)} {metric} or more: going up is shown below that."
        else:
            yield (
                f"A margin of {metric_text(most)} {metric} or more would make it a stay"
                + (f", one below {metric_text(least)} a go-up." if least > 0 else ".")
            )
        if judged.size is not None:
            unless = "unless the truth is nearer to the margin" if delta else "if the differences are as observed"
            size = judged.size
            yield f"About {size.more:,} more labels: they settle it with a chance of {size.power:.0%}, {unless}."
    best = max(able, key=lambda i: reports[i].quality.estimate, default=None)
    for place, report in enumerate(reports):
        if not report.feasible and (best is None or judged.lower[best, place] > delta):
            gain = "" if best is None else f", for its {metric} is better by {_gain(judged, best, place)}"
            yield f"Limits that {report.id} keeps ({report.why_not}){gain}."
    for refusal in refused:
        yield f"A machine for {refusal.id}: {refusal.reason}."
