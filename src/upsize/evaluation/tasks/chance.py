"""What a model that knows nothing would reach: labels that say nothing, or ids that were mixed up, give no more."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from upsize.evaluation.metrics import Columns, Metric

PERMUTATIONS, OF_MANY = 200, 40
"""Of the judged column against the other, and of more than MANY units; their 97.5th percentile is compared with."""
MANY, MOST = 2_000, 50_000
"""Units; beyond the second number, so many of them stand for all."""
FIRST = 10
"""Places that nDCG@10 and MRR@10 look at."""


def random_order(grades: Sequence[int], documents: int, reciprocal: bool) -> float:
    """Expected nDCG@10, or reciprocal rank within 10, of a random order of so many documents, judged by `grades`."""
    gains = np.sort([grade for grade in grades if grade > 0])[::-1].astype(np.float64)
    places = np.arange(1, min(FIRST, documents) + 1)
    if not len(gains):
        return 0.0
    if not reciprocal:
        discount = 1 / np.log2(places + 1)
        ideal = gains[: len(places)] @ discount[: len(gains)]
        return float(gains.sum() / documents * discount.sum() / ideal)
    others, expected, none_before = documents - len(gains), 0.0, 1.0
    for place in places.tolist():
        left = documents - place + 1
        expected += none_before * len(gains) / left / place
        none_before *= max(others - place + 1, 0) / left
    return expected


def permuted(metric: Metric, columns: Columns, seed: int = 0) -> float:
    """The 97.5th percentile of the metric where what was judged is dealt out at random: the first of two columns."""
    rng = np.random.default_rng(seed)
    judged, other = metric.columns
    units = np.arange(len(columns[judged]))
    if len(units) > MOST:
        units = rng.choice(units, MOST, replace=False)
    columns = {judged: columns[judged][units], other: columns[other][units]}
    units = np.arange(len(units))
    values = [
        metric({judged: columns[judged][rng.permutation(units)], other: columns[other]}, units)
        for _ in range(PERMUTATIONS if len(units) <= MANY else OF_MANY)
    ]
    return float(np.quantile(values, 0.975))
