"""The verdict in words: sentences with the figures that they rest on. Pure."""

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
    analysis: Analysis, names: Sequence[str], metric: str, units: int, unit: str, delta: float, feasible: Sequence[int]
) -> str:
    """One sentence: what to do, and the figures that say so."""
    decided = analysis.decided
    if decided is None:
        return f"None of the {len(names)} candidates that were measured keeps the limits that were set."
    choice, margin, on = decided.choice, f"{short(delta)} {metric}", f"on {units:,} {PLURAL[unit]}"
    if len(feasible) == 1:
        others = (
            f"of {len(names)} measured it alone keeps the limits" if len(names) > 1 else "nothing else was compared"
        )
        return f"Use {names[choice]}: {others}; its {metric} is {_of(analysis, choice)} on {units:,} {PLURAL[unit]}."
    if analysis.no_size_reason == "order":
        return (
            f"Cannot tell: every order of the documents is as good as another for each of the {units:,} "
            f"{PLURAL[unit]}, so {metric} is the same for every model, however many are labelled so. Judge which "
            f"documents answer them and which do not. Meanwhile use {names[choice]}, the smallest."
        )
    if decided.decision == "stay":
        best = max((j for j in feasible if j != choice), key=lambda j: analysis.upper[choice, j])
        return (
            f"Stay with {names[choice]}: {on} no other candidate is better by more than {margin}; the one that comes "
            f"nearest to it, {names[best]}, differs by {_gain(analysis, choice, best)}."
        )
    if analysis.too_few:
        return f"{too_few_text(analysis, units, unit)} Meanwhile use {names[choice]}, the smallest."
    smallest = feasible[0]
    if decided.decision == "go_up":
        more = "" if decided.settled else "; whether another pays still more, or a smaller one does, is open"
        decisive = choice
        if analysis.lower[smallest, choice] <= delta:  # good enough to be chosen, its own gain not yet sure
            decisive = max(feasible, key=lambda j: analysis.lower[smallest, j])
            sure = analysis.upper[choice, decisive] <= delta
            below = f"at most {margin} below it" if sure else f"not shown to be more than {margin} below it"
            more = f", and {names[choice]} is {below}{more}"
        return (
            f"Go up to {names[choice]}: {names[decisive]} gains {_gain(analysis, smallest, decisive)} over "
            f"{names[smallest]} {on}, surely more than {margin}{more}."
        )
    best = max((j for j in feasible if j != choice), key=lambda j: analysis.quality.estimate[j])
    return (
        f"Cannot tell whether more than {names[choice]} pays: {names[best]} differs from it by "
        f"{_gain(analysis, choice, best)}, which neither reaches beyond {margin} for sure nor stays below it; "
        f"{_needed(analysis, unit, delta)}."
    )


def _needed(analysis: Analysis, unit: str, delta: float) -> str:
    """How many more units would settle it, or why no number would."""
    if analysis.more is not None:
        needed = f"label about {analysis.more:,} more {PLURAL[unit]}"
        return needed if delta else f"with no margin, and differences as observed, {needed}"
    return {
        "seeds": "more of them would not settle it, because the algorithm's own seeds vary too much",
        "margin": "with a margin of 0, candidates that are alike cannot be told apart by any number; set --delta 0.01",
        "far": f"more than {FARTHEST:,} more would be needed for so small a margin",
    }.get(analysis.no_size_reason or "far", "more of the same labels would not tell")


def too_few_text(analysis: Analysis, units: int, unit: str) -> str:
    """A sentence: how many units there are, how many are needed, and how many more to label."""
    text = f"Too few to judge: {units:,} {unit if units == 1 else PLURAL[unit]}"
    if analysis.independent < units:
        text += f" that come in {analysis.independent:,} independent group{'s' * (analysis.independent > 1)}"
    if analysis.independent >= FEWEST:
        return (
            f"{text}, most of them in a few large ones, which tell as much as {analysis.effective:.1f} equal ones; "
            f"{FEWEST_EFFECTIVE:g} are the fewest that are judged."
        )
    if analysis.independent == units:
        return f"{text}, and {FEWEST} are the fewest that are judged; label about {analysis.more:,} more."
    return (
        f"{text}, and {FEWEST} groups are the fewest that are judged; label about {analysis.more:,} more, in groups of "
        "their own."
    )


def _gain(analysis: Analysis, i: int, j: int) -> str:
    estimate = float(analysis.quality.estimate[j] - analysis.quality.estimate[i])
    return f"{metric_text(estimate)} ({metric_text(analysis.lower[i, j])} to {metric_text(analysis.upper[i, j])})"


def _of(analysis: Analysis, i: int) -> str:
    quality = analysis.quality
    return f"{metric_text(quality.estimate[i])} ({metric_text(quality.lower[i])} to {metric_text(quality.upper[i])})"


def runner_up(analysis: Analysis, feasible: Sequence[int]) -> int | None:
    """Index of the best feasible candidate besides the choice."""
    decided = analysis.decided
    if decided is None or len(feasible) < 2:
        return None
    rest = [j for j in feasible if j != decided.choice]
    return max(rest, key=lambda j: float(analysis.quality.estimate[j]))


def what_would_change_it(
    analysis: Analysis,
    reports: Sequence[CandidateReport],
    infeasible: Sequence[InfeasibleCandidate],
    delta: float,
    metric: str,
) -> Iterator[str]:
    """Sentences: another margin, other limits, more labels, a larger machine."""
    decided = analysis.decided
    feasible = [i for i, r in enumerate(reports) if r.feasible]
    if analysis.no_size_reason == "order":
        yield "Judgements that tell documents apart: some that answer a query beside some that do not."
    elif decided is not None and len(feasible) > 1 and analysis.too_few:
        yield "More labels: nothing is judged by so few."
    elif decided is not None and len(feasible) > 1:
        smallest = feasible[0]
        others = [j for j in feasible if j != smallest]
        most, least = (max(float(m[smallest, j]) for j in others) for m in (analysis.upper, analysis.lower))
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
        if analysis.size is not None:
            unless = "unless the truth is nearer to the margin" if delta else "if the differences are as observed"
            size = analysis.size
            yield f"About {size.more:,} more labels: they settle it with a chance of {size.power:.0%}, {unless}."
    best = max(feasible, key=lambda i: reports[i].quality.estimate, default=None)
    for i, report in enumerate(reports):
        if not report.feasible and (best is None or analysis.lower[best, i] > delta):
            gain = "" if best is None else f", for its {metric} is better by {_gain(analysis, best, i)}"
            yield f"Limits that {report.id} keeps ({report.why_not}){gain}."
    for excluded in infeasible:
        yield f"A machine for {excluded.id}: {excluded.reason}."
