"""The metric of a model that knows nothing. Meaningless labels and mixed-up ids give no more than that."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from upsize.evaluation.metrics import Columns, Metric

PERMUTATIONS, OF_MANY = 200, 40
"""Permutations up to MANY units, and beyond. Chosen: the 97.5th percentile is good enough for a warning."""
MANY, MOST = 2_000, 50_000
"""Units from which fewer permutations are made, and units that are sampled where there are more. Chosen: seconds at
most."""
FIRST = 10
"""Ranks that nDCG@10 and MRR@10 look at."""


def random_order(grades: Sequence[int], documents: int, reciprocal: bool) -> float:
    """Expected nDCG@10 of a random order of `documents` documents with these `grades`; with `reciprocal`, MRR@10."""
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
    """The 97.5th percentile of a metric of two columns, where the first column is permuted at random."""
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
