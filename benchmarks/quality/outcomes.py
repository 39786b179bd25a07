"""Outcomes: what a model did on a task, as one value a unit whose mean is the metric, as `upsize choose` has them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap

from upsize.evaluation.metrics import Columns
from upsize.evaluation.statistics.sample import sample_of
from upsize.evaluation.tasks import Task

Floats = NDArray[np.float64]
SEED, RESAMPLES, TOGETHER = 20, 10_000, 500


@dataclass(frozen=True)
class Outcome:
    """The values of independent units or groups of them, and how many units there were."""

    values: Floats
    units: int

    def __call__(self) -> float:
        """The metric."""
        return float(self.values.mean())


def mean(values: Floats) -> Outcome:
    """The mean over units."""
    return Outcome(values, len(values))


def outcomes(task: Task, observed: Sequence[Columns], names: Sequence[str]) -> Iterator[tuple[str, Outcome]]:
    """Name of a metric, and it, averaged over what each seed observed; of the metrics in `names`."""
    for metric in (task.metric, *task.also):
        if metric.name in names:
            yield metric.name, Outcome(sample_of([observed], metric).values[:, 0], len(task.units))


def interval(outcome: Outcome) -> dict[str, Any]:
    """The metric and its 95 % percentile interval over resampled units."""
    drawn = bootstrap(
        (outcome.values,),
        np.mean,
        n_resamples=RESAMPLES,
        batch=TOGETHER,
        method="percentile",
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    rounded = {"value": outcome(), "low": float(drawn.low), "high": float(drawn.high)}
    return {name: round(value, 4) for name, value in rounded.items()} | {"n": outcome.units}


def difference(ours: Outcome, theirs: Outcome) -> dict[str, Any]:
    """Our metric minus theirs, both over the same resampled units, with the 95 % interval of that difference."""
    assert ours.units == theirs.units
    return interval(Outcome(ours.values - theirs.values, ours.units))
