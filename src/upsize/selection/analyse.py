"""Stage 4 of a choice: from measurements to the verdict. Pure: the same measurements and seed give the same verdict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upsize.evaluation.statistics import FEWEST_EFFECTIVE, RESAMPLES, Sample, sample_of
from upsize.evaluation.tasks import Task
from upsize.selection.comparison import CONFIDENCE, Analysis, SliceAnalysis, compare_candidates, compare_slices
from upsize.selection.feasibility import estimated_memory
from upsize.selection.latency_checks import (
    broken_limit,
    disturbed_embedding_notes,
    disturbed_latency_notes,
    query_cost,
)
from upsize.selection.types import (
    CandidateMeasurement,
    EstimatedChoice,
    MeasuredChoice,
    PreparedChoice,
)
from upsize.selection.verdict import (
    CandidateReport,
    Difference,
    Interval,
    Memory,
    SliceVerdict,
    TaskFacts,
    Verdict,
)
from upsize.selection.wording import metric_text, reason_text, runner_up, what_would_change_it

SMALLEST_SLICE = 20
"""Independent units below which a slice is not judged; chosen."""
UNITS = {
    "sts": "pair",
    "pair classification": "pair",
    "bitext": "pair",
    "classification": "text",
    "clustering": "text",
}
"""Task → what its unit is called; others have queries."""


def analyse(
    prepared: PreparedChoice,
    estimated: EstimatedChoice,
    measured: MeasuredChoice,
    *,
    resamples: int = RESAMPLES,
    **conditions: Any,
) -> Verdict:
    """Paired bootstrap, simultaneous intervals, decision. `conditions` are the verdict's machine, versions, date and
    command."""
    task, delta, seed = prepared.task, prepared.settings.delta, prepared.settings.seed
    columns = [m.run.columns for m in measured.candidates]
    names = [m.candidate.id for m in measured.candidates]
    limits = prepared.settings.slo
    broken = [broken_limit(m.latency, limits) for m in measured.candidates]
    feasible = [i for i, clause in enumerate(broken) if clause is None]
    units, unit = len(task.units), UNITS.get(task.name, "query")
    repeats = task.grouping.repeats
    distinct = units if repeats is None else len(np.unique(repeats))
    sample = _sample(task, columns, seed)
    analysis = compare_candidates(
        sample, delta, seed=seed, feasible=feasible, units=distinct, decidable=task.decidable, resamples=resamples
    )
    decided = analysis.decided
    qualities = _intervals(analysis.quality.estimate, analysis.quality.lower, analysis.quality.upper)
    reports = [
        _report(prepared, estimated, m, quality, clause)
        for m, quality, clause in zip(measured.candidates, qualities, broken, strict=True)
    ]
    slices = [] if decided is None else _slices(task, columns, names, decided.choice, feasible, delta, seed, resamples)
    following = runner_up(analysis, feasible)
    reason = reason_text(analysis, names, task.metric.name, distinct, unit, delta, feasible)
    return Verdict(
        decision="cannot_tell" if decided is None else decided.decision,
        choice=None if decided is None else names[decided.choice],
        settled=decided is not None and decided.settled,
        reason=reason + _slice_exceptions(slices),
        runner_up=None if following is None else names[following],
        what_would_change_it=tuple(
            what_would_change_it(analysis, reports, estimated.infeasible, delta, task.metric.name)
        ),
        queries_needed=analysis.more,
        sample_size=analysis.size,
        delta=delta,
        confidence=CONFIDENCE,
        candidates=tuple(reports),
        refused=estimated.infeasible,
        differences=tuple(_differences(analysis, names)),
        slices=tuple(slices),
        task=TaskFacts(task.name, task.metric.name, unit, units, len(sample.values), len(columns[0])),
        dataset=_dataset_facts(prepared),
        seed=seed,
        resamples=resamples,
        too_few=analysis.too_few,
        limits=dict(limits),
        notes=(
            *prepared.notes,
            *estimated.notes,
            *_disturbance_notes(measured),
            *task.lint,
            *_chance_notes(task, columns, analysis),
        ),
        **conditions,
    )


def _report(
    prepared: PreparedChoice,
    estimated: EstimatedChoice,
    measurement: CandidateMeasurement,
    quality: Interval,
    why_not: str | None,
) -> CandidateReport:
    candidate, workload = measurement.candidate, prepared.workload
    device = estimated.capacity.device
    embedding = measurement.embedding
    tokens_per_second = embedding.tokens / embedding.seconds if embedding.seconds else None
    backfill = workload.document_tokens / tokens_per_second if tokens_per_second else None
    estimated_bytes = sum(estimated_memory(model, workload, device) for model in candidate.models)
    return CandidateReport(
        id=candidate.id,
        model=candidate.model.name,
        dimension=candidate.dimension,
        precision=candidate.model.precision,
        reranker=candidate.reranker.name if candidate.reranker else None,
        depth=candidate.depth,
        fingerprint=candidate.fingerprint.id,
        feasible=why_not is None,
        why_not=why_not,
        quality=quality,
        flops_a_query=candidate.flops_per_query(workload.query_tokens, workload.pair_tokens),
        bytes_a_vector=candidate.bytes_per_vector,
        memory=Memory(candidate.weight_bytes, estimated_bytes, measurement.peak_memory),
        tokens_per_second=tokens_per_second,
        backfill_seconds=backfill,
        latency=measurement.latency,
        money=query_cost(prepared.settings.price, measurement.latency, backfill),
        run=f"runs/{measurement.run.folder}",
    )


def _differences(analysis: Analysis, names: Sequence[str]) -> Iterator[Difference]:
    found = analysis.differences
    figures = zip(found.estimate, found.lower, found.upper, analysis.p, analysis.p_adjusted, found.sd, strict=True)
    for (smaller, larger), row in zip(combinations(names, 2), figures, strict=True):
        yield Difference(smaller, larger, *map(float, row))


def _dataset_facts(prepared: PreparedChoice) -> dict[str, Any]:
    data, context = prepared.dataset, prepared.models[0].checkpoint.context
    groups = {}
    for name, group in prepared.groups.items():
        lengths = prepared.tokens[prepared.models[0]][name].lengths(context)
        groups[name] = {
            "texts": len(group.texts),
            "mean_tokens": round(float(lengths.mean()), 1),
            "longest_tokens": int(lengths.max()),
        }
    return {
        "path": str(prepared.settings.data),
        "name": data.name,
        "kind": data.kind.value,
        "digest": prepared.digest,
        "rows_left_out": len(data.row_errors),
        "groups": groups,
    }


def _disturbance_notes(measured: MeasuredChoice) -> list[str]:
    shares = {m.candidate.model: m.embedding.busy for m in measured.candidates}
    return [
        *disturbed_embedding_notes([(model.name, share) for model, share in shares.items()]),
        *disturbed_latency_notes([(m.candidate.id, m.latency) for m in measured.candidates]),
    ]


def _sample(
    task: Task, columns: Sequence[Sequence[Mapping[str, Any]]], seed: int, rows: NDArray[np.int64] | None = None
) -> Sample:
    g = task.grouping
    return sample_of(columns, task.metric, g.clusters, rows, seed, repeats=g.repeats, kept=g.kept)


def _chance_notes(task: Task, columns: Sequence[Sequence[Mapping[str, Any]]], analysis: Analysis) -> list[str]:
    """A note where no candidate is shown to be better than a random answer."""
    if analysis.too_few or not task.decidable:
        return []
    best = int(np.argmax(analysis.quality.estimate))
    chance = task.chance(columns[best][0])
    shown = analysis.quality.lower if task.metric.mean else analysis.quality.estimate
    if (shown > chance).any():
        return []
    random = "of a random answer is" if task.metric.mean else "of 97.5 % of random answers is at most"
    best_text = metric_text(float(analysis.quality.estimate[best]))
    return [
        f"No candidate is shown to be better than chance: {task.metric.name} {random} {metric_text(chance)}, "
        f"of the best {best_text}. Are labels and ids right, and the texts readable?"
    ]


def _intervals(estimate: Any, lower: Any, upper: Any) -> list[Interval]:
    return [Interval(*map(float, bounds)) for bounds in zip(estimate, lower, upper, strict=True)]


def _slice_exceptions(slices: Sequence[SliceVerdict]) -> str:
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
    """One verdict for each slice of the task, in the task's order."""
    sizes = {name: int(mask.sum()) for name, mask in task.slices.items()}
    samples: dict[str, Sample] = {}
    for name, mask in task.slices.items():
        if sizes[name] >= SMALLEST_SLICE:
            sample = _sample(task, columns, seed, np.flatnonzero(mask))
            if len(sample.values) >= SMALLEST_SLICE and sample.effective >= FEWEST_EFFECTIVE:
                samples[name] = sample
    analyses = {s.name: s for s in compare_slices(samples, choice, feasible, seed=seed, resamples=resamples)}
    return [
        _slice_verdict(analyses[name], size, names, delta)
        if name in analyses
        else SliceVerdict(name, size, "too_few", None, None, None)
        for name, size in sizes.items()
    ]


def _slice_verdict(analysis: SliceAnalysis, units: int, names: Sequence[str], delta: float) -> SliceVerdict:
    found = analysis.differences
    better = bool((found.lower > delta).any())
    possible = np.flatnonzero(found.upper > delta)
    # As for all units: the smallest with a sure gain than which no other is surely better by more than delta.
    sure = np.flatnonzero((found.lower > 0) & (found.lower.max() - found.upper <= delta))
    shown = sure if better else possible
    decision = "go_up" if better else "cannot_tell" if len(possible) else "as_all"
    index = int(shown[0]) if len(shown) else int(np.argmax(found.estimate))
    (difference,) = _intervals(*([bound[index]] for bound in (found.estimate, found.lower, found.upper)))
    candidate = names[analysis.others[index]] if len(shown) else None
    return SliceVerdict(analysis.name, units, decision, analysis.quality, candidate, difference)  # type: ignore[arg-type]
