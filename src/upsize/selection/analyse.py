"""From runs and measurements to the verdict. Pure: the same runs and seed give the same verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upsize.evaluation.statistics import FEWEST_EFFECTIVE, RESAMPLES, Sample, sample_of
from upsize.evaluation.tasks import Task
from upsize.selection.comparison import CONFIDENCE, Analysis, SliceAnalysis, compare_candidates, compare_slices
from upsize.selection.run import Run
from upsize.selection.verdict import (
    CandidateReport,
    Difference,
    InfeasibleCandidate,
    Interval,
    SliceVerdict,
    TaskFacts,
    Verdict,
)
from upsize.selection.wording import metric_text, reason_text, runner_up, what_would_change_it

SMALLEST_SLICE = 20
"""Independent units below which a slice is not judged."""
UNITS = {
    "sts": "pair",
    "pair classification": "pair",
    "bitext": "pair",
    "classification": "text",
    "clustering": "text",
}


def conclude(
    task: Task,
    runs: Sequence[Run],
    reports: Sequence[CandidateReport],
    refused: Sequence[InfeasibleCandidate],
    *,
    delta: float,
    seed: int,
    dataset: Mapping[str, Any],
    notes: Sequence[str] = (),
    resamples: int = RESAMPLES,
    **conditions: Any,
) -> Verdict:
    """Judge candidates, smallest first, by their runs. `reports` come without quality, which is filled in here;
    `conditions` are the verdict's limits, machine, versions, date and command."""
    columns = [run.columns for run in runs]
    grouping = task.grouping
    sample = _sample(task, columns, seed)
    names = [report.id for report in reports]
    feasible = [i for i, report in enumerate(reports) if report.feasible]
    units, unit = len(task.units), UNITS.get(task.name, "query")
    distinct = units if grouping.repeats is None else len(np.unique(grouping.repeats))
    judged = compare_candidates(
        sample, delta, seed=seed, feasible=feasible, units=distinct, decidable=task.decidable, resamples=resamples
    )
    quality = _intervals(judged.quality.estimate, judged.quality.lower, judged.quality.upper)
    reports = [replace(report, quality=q) for report, q in zip(reports, quality, strict=True)]
    decided = judged.decided
    differences = tuple(
        Difference(names[i], names[j], *map(float, figures))
        for (i, j), *figures in zip(
            combinations(range(len(names)), 2),
            judged.differences.estimate,
            judged.differences.lower,
            judged.differences.upper,
            judged.p,
            judged.p_adjusted,
            judged.differences.sd,
            strict=True,
        )
    )
    following = runner_up(judged, feasible)
    slices = (
        ()
        if decided is None
        else tuple(_slices(task, columns, names, decided.choice, feasible, delta, seed, resamples))
    )
    return Verdict(
        decision="cannot_tell" if decided is None else decided.decision,
        choice=None if decided is None else names[decided.choice],
        settled=decided is not None and decided.settled,
        reason=reason_text(judged, names, task.metric.name, distinct, unit, delta, feasible) + _except(slices),
        runner_up=None if following is None else names[following],
        what_would_change_it=tuple(what_would_change_it(judged, reports, refused, delta, task.metric.name)),
        queries_needed=judged.more,
        sample_size=judged.size,
        delta=delta,
        confidence=CONFIDENCE,
        candidates=tuple(reports),
        refused=tuple(refused),
        differences=differences,
        slices=slices,
        task=TaskFacts(task.name, task.metric.name, unit, units, len(sample.values), len(runs[0].columns)),
        dataset=dataset,
        seed=seed,
        resamples=resamples,
        too_few=judged.too_few,
        notes=(*notes, *task.lint, *_chance(task, columns, judged)),
        **conditions,
    )


def _sample(
    task: Task, columns: Sequence[Sequence[Mapping[str, Any]]], seed: int, chosen: NDArray[np.int64] | None = None
) -> Sample:
    g = task.grouping
    return sample_of(columns, task.metric, g.clusters, chosen, seed, repeats=g.repeats, kept=g.kept)


def _chance(task: Task, columns: Sequence[Sequence[Mapping[str, Any]]], judged: Analysis) -> list[str]:
    """A note where no candidate is shown to know more than a random answer does."""
    if judged.too_few or not task.decidable:
        return []
    best = int(np.argmax(judged.quality.estimate))
    chance = task.chance(columns[best][0])
    shown = judged.quality.lower if task.metric.mean else judged.quality.estimate
    if (shown > chance).any():
        return []
    random = "of a random answer is" if task.metric.mean else "of 97.5 % of random answers is at most"
    best_text = metric_text(float(judged.quality.estimate[best]))
    return [
        f"No candidate is shown to be better than chance: {task.metric.name} {random} {metric_text(chance)}, "
        f"of the best {best_text}. Are labels and ids right, and the texts readable?"
    ]


def _intervals(estimate: Any, lower: Any, upper: Any) -> list[Interval]:
    return [Interval(*map(float, three)) for three in zip(estimate, lower, upper, strict=True)]


def _except(slices: Sequence[SliceVerdict]) -> str:
    """Stay, except Arabic."""
    other = [f"{s.name} ({s.candidate})" for s in slices if s.decision == "go_up"]
    return f" Except for {', '.join(other)}, where another is surely better." if other else ""


def _slices(
    task: Task,
    columns: Sequence[Sequence[Mapping[str, Any]]],
    names: Sequence[str],
    choice: int,
    feasible: Sequence[int],
    delta: float,
    seed: int,
    resamples: int,
) -> list[SliceVerdict]:
    """A line for each slice that the task tells, in its order."""
    sizes = {name: int(mask.sum()) for name, mask in task.slices.items()}
    parts: dict[str, Sample] = {}
    for name, mask in task.slices.items():
        if sizes[name] >= SMALLEST_SLICE:
            part = _sample(task, columns, seed, np.flatnonzero(mask))
            if len(part.values) >= SMALLEST_SLICE and part.effective >= FEWEST_EFFECTIVE:
                parts[name] = part
    judged = {j.name: j for j in compare_slices(parts, choice, feasible, seed=seed, resamples=resamples)}
    return [
        _slice(judged[name], sizes[name], names, delta)
        if name in judged
        else SliceVerdict(name, size, "too_few", None, None, None)
        for name, size in sizes.items()
    ]


def _slice(judged: SliceAnalysis, units: int, names: Sequence[str], delta: float) -> SliceVerdict:
    found = judged.differences
    surely = bool((found.lower > delta).any())
    perhaps = np.flatnonzero(found.upper > delta)
    # As for all units: the smallest that gains for sure, and that no other is surely better than by more than delta.
    shown = np.flatnonzero((found.lower > 0) & (found.lower.max() - found.upper <= delta)) if surely else perhaps
    decision = "go_up" if surely else "cannot_tell" if len(perhaps) else "as_all"
    place = int(shown[0]) if len(shown) else int(np.argmax(found.estimate))
    (difference,) = _intervals(*([b[place]] for b in (found.estimate, found.lower, found.upper)))
    candidate = names[judged.others[place]] if len(shown) else None
    return SliceVerdict(judged.name, units, decision, judged.quality, candidate, difference)  # type: ignore[arg-type]
