"""Outcomes: what a model did on one task, as a statistic over units that can be drawn again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap

from upsize.measure.metrics import Columns
from upsize.measure.tasks import Task

Chosen = NDArray[np.int64]
SEED, RESAMPLES = 20, 1000


@dataclass(frozen=True)
class Outcome:
    """A figure that can be computed again over any units (queries, pairs or texts) of its task."""

    units: int
    statistic: Callable[[Chosen], float]

    def __call__(self) -> float:
        """Over every unit once."""
        return self.statistic(np.arange(self.units))


def mean(values: NDArray[np.float64]) -> Outcome:
    """The mean over units."""
    return Outcome(len(values), lambda chosen: float(values[chosen].mean()))


def outcomes(task: Task, observed: Sequence[Columns], names: Sequence[str]) -> Iterator[tuple[str, Outcome]]:
    """Name of a metric, and it, averaged over what each seed observed; of the metrics in `names`."""
    for metric in (task.metric, *task.also):
        if metric.name in names:

            def statistic(chosen: Chosen, metric: Callable[[Columns, Chosen], float] = metric) -> float:
                return float(np.mean([metric(columns, chosen) for columns in observed]))

            yield metric.name, Outcome(len(task.units), statistic)


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
