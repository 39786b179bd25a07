"""From a sample to what is known of it: bounds, tests, decision, the sample that would settle it. Pure, no words."""

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

Why = Literal["margin", "seeds", "far", "order"]


@dataclass(frozen=True)
class Analysis:
    """Of candidates in order of size."""

    quality: QualityBounds
    """Of each candidate, for it alone."""
    differences: Bounds
    """Of each pair, later minus earlier, for all at once."""
    p: Floats
    p_adjusted: Floats
    lower: Floats
    """(candidates, candidates): of quality[j] − quality[i] at [i, j]."""
    upper: Floats
    decided: DecisionResult | None
    """Among the feasible, in places of all candidates; None where none is feasible."""
    size: SampleSize | None
    too_few: bool = False
    """Whether there are too few independent units to tell candidates apart by."""
    independent: int = 0
    effective: float = 0.0
    """Clusters of equal size that would tell as much as those there are."""
    more: int | None = None
    """Units to label beyond those there are: to settle it, or where there are too few, to be judged at all. None where
    settled, and where no number would do."""
    why_no_number: Why | None = None
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
    """All that the sample says. `units` is how many there are where the independent ones are clusters of them;
    `decidable` is False where judgements allow no two models to differ, which no number of such units changes."""
    independent, m = sample.values.shape
    able = list(range(m) if feasible is None else feasible)
    matrix = contrasts(m)
    found = bounds(sample, matrix, seed=seed, confidence=CONFIDENCE, resamples=resamples)
    quality = quality_bounds(sample, CONFIDENCE)
    p, adjusted = randomisation(sample, matrix, seed=seed, resamples=resamples)
    lower, upper = bound_matrices(m, found.lower, found.upper)
    decided = size = None
    too_few = len(able) > 1 and sample.too_few
    all_units = units or independent
    more: int | None = None
    why: Why | None = None
    if able and not decidable:
        decided, why = DecisionResult("cannot_tell", able[0], False, ()), "order"
    elif too_few:
        decided = DecisionResult("cannot_tell", able[0], False, ())
        if independent < FEWEST:
            more = math.ceil((FEWEST - independent) * all_units / independent)
    elif able:
        inner = decide(lower[np.ix_(able, able)], upper[np.ix_(able, able)], delta)
        pairs = tuple((able[i], able[j]) for i, j in inner.open)
        decided = DecisionResult(inner.decision, able[inner.choice], inner.settled, pairs)
        size = sample_size_to_settle(found, pairs, m, delta, independent, all_units) if pairs else None
        more = size.more if size else None
        why = _why_no_number(found, pairs, m, delta, independent, all_units) if pairs and size is None else None
    return Analysis(
        quality, found, p, adjusted, lower, upper, decided, size, too_few, independent, sample.effective, more, why
    )


def sample_size_to_settle(
    found: Bounds, pairs: Sequence[tuple[int, int]], m: int, delta: float, independent: int, units: int
) -> SampleSize | None:
    """Units at which all `pairs` (i, j) are told to be better by more than delta or not. `found` is of all pairs of `m`
    candidates. Without a margin it is planned for the differences observed. None where no number does."""
    place = {pair: k for k, pair in enumerate(combinations(range(m), 2))}
    totals: list[int | None] = []
    observed: list[int | None] = []
    sds = []
    for i, j in pairs:
        k = place[min(i, j), max(i, j)]
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
) -> Why:
    """Why `sample_size_to_settle` gives no number: the variance of the seeds alone is too large, the margin is 0 for
    equal candidates, or it would take more units than anybody labels."""
    without_seeds = replace(found, error_seeds=np.zeros_like(found.error_seeds))
    if found.error_seeds.any() and sample_size_to_settle(without_seeds, pairs, m, delta, independent, units):
        return "seeds"
    return "far" if delta else "margin"


def _most(numbers: Sequence[int | None], each: float) -> int | None:
    """The greatest, in units. None where one is."""
    known = [n for n in numbers if n is not None]
    if len(known) < len(numbers):
        return None
    return math.ceil(max(known) * each)


def _rounded(units: int) -> int:
    """Up to two figures: it is a plan."""
    step = int(10 ** max(len(str(units)) - 2, 0))
    return -(-units // step) * step


def _sd(found: Bounds, k: int, n: int) -> float:
    """Of one unit's difference, the imagined units included: where all tie, their variance is not taken as zero."""
    return float(np.sqrt((found.error[k] ** 2 - found.error_seeds[k] ** 2) * n))


@dataclass(frozen=True)
class SliceAnalysis:
    """The choice against every other candidate on a part of the units."""

    name: str
    quality: float
    others: tuple[int, ...]
    differences: Bounds
    """Other minus choice."""


def compare_slices(
    parts: Mapping[str, Sample], choice: int, feasible: Sequence[int], *, seed: int, resamples: int = RESAMPLES
) -> list[SliceAnalysis]:
    """Bounds for all slices and all comparisons with the choice at once."""
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
