"""The interval of each candidate's own quality.

Readers compare these intervals with one another, so they must not contradict the values: where a candidate is at least
as good on every unit, neither of its bounds is lower. Bounds that measure the spread, as Student's and the bootstrap's
do, break that: nine values of 0.5 have a higher lower bound than eight and a 1. So the bounds are those of `bounded` at
every size: they hold for every distribution on the range, and rise with each value.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from upsize.evaluation.statistics.distribution_free import lower_bounds, upper_bounds
from upsize.evaluation.statistics.sample import Floats, Sample


@dataclass(frozen=True)
class QualityBounds:
    """Of each candidate (candidates,)."""

    estimate: Floats
    lower: Floats
    upper: Floats


def quality_bounds(sample: Sample, confidence: float = 0.95) -> QualityBounds:
    """Two-sided bounds of each candidate's quality, for each alone, within the range of the metric.

    A cluster is one value, `Sample.clusters` says of which weight. The error of the algorithm's seeds is added as that
    of a normal sample's mean.
    """
    values, shapes = sample.clusters()
    least, greatest = sample.range or (min(0.0, float(values.min())), max(1.0, float(values.max())))
    alpha, m = (1 - confidence) / 2, values.shape[1]
    estimate, columns = sample.estimates, values.T
    weights = np.broadcast_to(shapes, columns.shape)
    lower = lower_bounds(columns, np.full(m, least), alpha, weights, exact=True)
    upper = upper_bounds(columns, np.full(m, greatest), alpha, weights, exact=True)
    if sample.seeds is not None:
        seeds = len(sample.seeds)
        error = special.stdtrit(seeds - 1, 1 - alpha) * sample.seeds.std(axis=0, ddof=1) / np.sqrt(seeds)
        lower, upper = estimate - np.hypot(estimate - lower, error), estimate + np.hypot(upper - estimate, error)
    return QualityBounds(estimate, np.clip(lower, least, estimate), np.clip(upper, estimate, greatest))
