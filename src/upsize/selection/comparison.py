"""The statistical analysis of a sample: bounds, tests, decision, and the sample size that would settle it. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from typing import Literal

import numpy as np

from upsize.evaluation.statistics import (
    FEWEST,
    POWER,
    RESAMPLES,
    Bounds,
    QualityBounds,
    Sample,
    bounds,
    bounds_of_parts,
    contrasts,
    quality_bounds,
    randomisation,
    units_needed,
    upper_sd,
)
from upsize.evaluation.statistics.sample import Floats
from upsize.selection.decision import DecisionResult, bound_matrices, decide
from upsize.selection.verdict import SampleSize

CONFIDENCE = 0.95

NoSizeReason = Literal["margin", "seeds", "far", "order"]


@dataclass(frozen=True)
class Analysis:
    """Comparison of all candidates, in order of size."""

    quality: QualityBounds
    """Bounds of each candidate's own quality, each at the full confidence."""
    differences: Bounds
    """Simultaneous bounds of each pair, larger minus smaller."""
    p: Floats
    p_adjusted: Floats
    lower: Floats
    """(candidates, candidates) lower bounds of quality[j] − quality[i] at [i, j]; `upper` likewise."""
    upper: Floats
    decided: DecisionResult | None
    """The decision among the feasible, in indices of all candidates; None where none is feasible."""
    size: SampleSize | None
    too_few: bool = False
    """Whether there are too few independent units to tell candidates apart by."""
    independent: int = 0
    effective: float = 0.0
    """Effective number of clusters: so many of equal size carry the same information."""
    more: int | None = None
    """Units to label in addition, to settle it or, where there are too few, to judge at all. None where it is settled,
    or where no number would do."""
    no_size_reason: NoSizeReason | None = None
    """Why `more` is None although it is not settled."""


def compare_candidates(
    sample: Sample,
    delta: float,
    *,
    seed: int,
    feasible: Sequence[int] | None = None,
    units: int | None = None,
    decidable: bool = True,
    resamples: int = RESAMPLES,
) -> Analysis:
    """Analyse a sample. `units` is their number where the independent ones are clusters; `decidable` is False where the
    judgements allow no two models to differ, however many there are."""
    independent, m = sample.values.shape
    feasible_indices = list(range(m) if feasible is None else feasible)
    matrix = contrasts(m)
    found = bounds(sample, matrix, seed=seed, confidence=CONFIDENCE, resamples=resamples)
    quality = quality_bounds(sample, CONFIDENCE)
    p, adjusted = randomisation(sample, matrix, seed=seed, resamples=resamples)
    lower, upper = bound_matrices(m, found.lower, found.upper)
    decided = size = None
    too_few = len(feasible_indices) > 1 and sample.too_few
    all_units = units or independent
    more: int | None = None
    why: NoSizeReason | None = None
    if feasible_indices and not decidable:
        decided, why = DecisionResult("cannot_tell", feasible_indices[0], False, ()), "order"
    elif too_few:
        decided = DecisionResult("cannot_tell", feasible_indices[0], False, ())
        if independent < FEWEST:
            more = math.ceil((FEWEST - independent) * all_units / independent)
    elif feasible_indices:
        inner = decide(
            lower[np.ix_(feasible_indices, feasible_indices)], upper[np.ix_(feasible_indices, feasible_indices)], delta
        )
        pairs = tuple((feasible_indices[i], feasible_indices[j]) for i, j in inner.open)
        decided = DecisionResult(inner.decision, feasible_indices[inner.choice], inner.settled, pairs)
        size = sample_size_to_settle(found, pairs, m, delta, independent, all_units) if pairs else None
        more = size.more if size else None
        why = _why_no_number(found, pairs, m, delta, independent, all_units) if pairs and size is None else None
    return Analysis(
        quality, found, p, adjusted, lower, upper, decided, size, too_few, independent, sample.effective, more, why
    )


def sample_size_to_settle(
    found: Bounds, pairs: Sequence[tuple[int, int]], m: int, delta: float, independent: int, units: int
) -> SampleSize | None:
    """The number of units that settles, for all `pairs` (i, j), whether j is better than i by more than delta. `found`
    has the bounds of all pairs of `m` candidates. With a margin of 0 the plan assumes the observed differences. None
    where no number settles it."""
    pair_index = {pair: k for k, pair in enumerate(combinations(range(m), 2))}
    totals: list[int | None] = []
    observed: list[int | None] = []
    sds = []
    for i, j in pairs:
        k = pair_index[min(i, j), max(i, j)]
        beyond = float(found.estimate[k]) * (1 if i < j else -1) - delta
        sd = upper_sd(_sd(found, k, independent), independent)
        plan = partial(
            units_needed,
            independent,
            beyond,
            sd,
            critical=float(found.critical[k]),
            comparisons=len(pairs),
            error_seeds=float(found.error_seeds[k]),
            allowance=float(found.allowance[k]),
        )
        totals.append(plan((-delta, delta) if delta else (beyond,)))
        observed.append(plan((beyond,)))
        sds.append(sd)
    # Without a margin, candidates that gave the same on every unit are never told apart; the others may be.
    total = _most(totals if delta else [n for n in totals if n is not None] or totals, units / independent)
    if total is None:
        return None
    more = _rounded(total - units)
    if_as_observed = _most(observed, units / independent)
    return SampleSize(units + more, more, None if if_as_observed is None else _rounded(if_as_observed), POWER, max(sds))


def _why_no_number(
    found: Bounds, pairs: Sequence[tuple[int, int]], m: int, delta: float, independent: int, units: int
) -> NoSizeReason:
    """Why `sample_size_to_settle` gives no number: the variance of the seeds alone is too large, the margin is 0 for
    equal candidates, or it would take more units than anybody labels."""
    without_seeds = replace(found, error_seeds=np.zeros_like(found.error_seeds))
    if found.error_seeds.any() and sample_size_to_settle(without_seeds, pairs, m, delta, independent, units):
        return "seeds"
    return "far" if delta else "margin"


def _most(numbers: Sequence[int | None], each: float) -> int | None:
    """The greatest number, times `each` units. None where one is None."""
    known = [n for n in numbers if n is not None]
    if len(known) < len(numbers):
        return None
    return math.ceil(max(known) * each)


def _rounded(units: int) -> int:
    """Rounded up to two significant digits."""
    step = int(10 ** max(len(str(units)) - 2, 0))
    return -(-units // step) * step


def _sd(found: Bounds, k: int, n: int) -> float:
    """Standard deviation of one unit's difference. The bootstrap's pseudo-units keep it above zero where all tie."""
    return float(np.sqrt((found.error[k] ** 2 - found.error_seeds[k] ** 2) * n))


@dataclass(frozen=True)
class SliceAnalysis:
    """Every other candidate against the choice on one slice."""

    name: str
    quality: float
    others: tuple[int, ...]
    differences: Bounds
    """Simultaneous bounds of other minus choice."""


def compare_slices(
    parts: Mapping[str, Sample], choice: int, feasible: Sequence[int], *, seed: int, resamples: int = RESAMPLES
) -> list[SliceAnalysis]:
    """Simultaneous bounds for all slices and all comparisons with the choice."""
    others = tuple(i for i in feasible if i != choice)
    if not parts or not others:
        return []
    m = next(iter(parts.values())).values.shape[1]
    matrix = np.eye(m)[list(others)] - np.eye(m)[choice]
    found = bounds_of_parts(list(parts.values()), matrix, seed=seed, confidence=CONFIDENCE, resamples=resamples)
    return [
        SliceAnalysis(name, float(part.estimates[choice]), others, b)
        for (name, part), b in zip(parts.items(), found, strict=True)
    ]
