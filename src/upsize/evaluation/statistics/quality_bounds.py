"""The confidence interval of each candidate's own quality.

Readers compare these intervals with each other, so the intervals must not contradict the values: where a candidate is
at least as good on every unit, neither of its bounds may be lower. Student's and the bootstrap's bounds break this
rule, because they depend on the spread: nine values of 0.5 have a higher lower bound than eight such values and a 1. So
the bounds come from `distribution_free` at every sample size. They hold for every distribution on the range, and never
fall when a value rises.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from upsize.evaluation.statistics.distribution_free import lower_bounds, upper_bounds
from upsize.evaluation.statistics.sample import Floats, Sample


@dataclass(frozen=True)
class QualityBounds:
    """Estimates and bounds of candidates. Every field has the shape (candidates,)."""

    estimate: Floats
    lower: Floats
    upper: Floats


def quality_bounds(sample: Sample, confidence: float = 0.95) -> QualityBounds:
    """Two-sided bounds of each candidate's quality, within the range of the metric. They are not simultaneous.

    A cluster is one value with the weight that `Sample.clusters` gives it. The error of the algorithm's seeds is added
    as the error of the mean of a normal sample.
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
