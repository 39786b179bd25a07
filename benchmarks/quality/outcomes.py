"""Outcomes: what a model did on one task, as a statistic over units that can be drawn again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap

Chosen = NDArray[np.int64]
SEED, RESAMPLES = 20, 1000


@dataclass(frozen=True)
class Outcome:
    """A figure that can be computed again over any units (queries, pairs or texts) of its task."""

    units: int
    statistic: Callable[[Chosen], float]


def mean(values: NDArray[np.float64]) -> Outcome:
    """The mean over units."""
    return Outcome(len(values), lambda chosen: float(values[chosen].mean()))


def interval(outcome: Outcome) -> dict[str, Any]:
    """The figure and its 95 % percentile interval over resampled units."""
    return _interval(outcome.units, outcome.statistic)


def difference(ours: Outcome, theirs: Outcome) -> dict[str, Any]:
    """Our figure minus theirs, both over the same resampled units, with the 95 % interval of that difference."""
    assert ours.units == theirs.units
    return _interval(ours.units, lambda chosen: ours.statistic(chosen) - theirs.statistic(chosen))


def _interval(units: int, statistic: Callable[[Chosen], float]) -> dict[str, Any]:
    everyone = np.arange(units)
    drawn = bootstrap(
        (everyone,),
        lambda chosen: statistic(chosen.astype(np.int64)),
        n_resamples=RESAMPLES,
        vectorized=False,
        method="percentile",
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    low, high = float(drawn.low), float(drawn.high)
    return {"value": round(statistic(everyone), 4), "low": round(low, 4), "high": round(high, 4), "n": units}
