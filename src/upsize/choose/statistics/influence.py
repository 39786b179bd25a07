"""One value a unit whose mean is the metric, for any metric: so that one set of statistics serves them all.

A mean is its own values. For any other smooth statistic (Spearman, V-measure, macro-F1) the values are the jackknife's
(Tukey 1958; Efron and Tibshirani 1993, chapter 11): how far the statistic moves when a unit is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.integer]
Columns = Mapping[str, NDArray[Any]]

GROUPS = 1000
"""Units are left out one by one up to so many, beyond it in so many random groups: the statistic is computed anew for
each. The variance from G groups is itself good to 1 in sqrt(G / 2), about 4 %."""


class Statistic(Protocol):
    """A metric over chosen units of columns."""

    @property
    def mean(self) -> bool:
        """Whether it is the mean of one column."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it reads; of a mean, the one."""

    def __call__(self, columns: Columns, chosen: Indices) -> float:
        """Its value."""


@dataclass(frozen=True)
class Sample:
    """What the statistics start from: independent units × candidates."""

    values: Floats
    """(independent units, candidates). The mean of a column is the candidate's estimate."""
    seeds: Floats | None = None
    """(seeds, candidates): the statistic of each of the algorithm's seeds, where there are several."""

    @property
    def estimates(self) -> Floats:
        """(candidates,)."""
        means: Floats = self.values.mean(axis=0)
        return means


def sample_of(
    candidates: Sequence[Sequence[Columns]],
    statistic: Statistic,
    clusters: Sequence[str] | None = None,
    chosen: Indices | None = None,
    seed: int = 0,
) -> Sample:
    """The sample of candidates (for each, its columns of each seed), over the `chosen` units (None: all).

    Units of one cluster count as one independent unit: a document's questions, a user's queries.
    """
    length = len(next(iter(candidates[0][0].values())))
    units = np.arange(length) if chosen is None else chosen
    group = _groups(units, clusters, statistic.mean, seed)
    columns = [
        np.mean([_values(columns, statistic, units, group) for columns in seeds], axis=0) for seeds in candidates
    ]
    several = len(candidates[0]) > 1
    scores = np.array([[statistic(c, units) for c in seeds] for seeds in candidates]).T if several else None
    return Sample(np.stack(columns, axis=1), scores)


def _groups(units: Indices, clusters: Sequence[str] | None, mean: bool, seed: int) -> Indices:
    """The group of each unit: its own, its cluster's, or where a jackknife would take too long one of GROUPS."""
    if clusters is None:
        group = np.arange(len(units))
    else:
        _, group = np.unique(np.asarray(clusters)[units], return_inverse=True)
    count = int(group.max()) + 1
    if mean or count <= GROUPS:
        return group
    shuffled = np.random.default_rng(seed).permutation(count)
    joined: Indices = (shuffled % GROUPS)[group]
    return joined


def _values(columns: Columns, statistic: Statistic, units: Indices, group: Indices) -> Floats:
    """(groups,) values with the statistic over `units` as their mean."""
    count = int(group.max()) + 1
    if statistic.mean:
        value = np.asarray(columns[statistic.columns[0]], np.float64)[units]
        if count == len(units):
            return value
        # Of a ratio of sums over clusters, linearised: sizes differ.
        around = np.bincount(group, value - value.mean(), minlength=count)
        linear: Floats = value.mean() + around * count / len(units)
        return linear
    whole = statistic(columns, units)
    order = np.argsort(group, kind="stable")
    edges = np.searchsorted(group[order], np.arange(count + 1))
    without = np.empty(count)
    for g in range(count):
        keep = np.concatenate((order[: edges[g]], order[edges[g + 1] :]))
        without[g] = statistic(columns, units[keep])
    moved = (count - 1) * (whole - without)
    values: Floats = whole + moved - moved.mean()
    return values
