"""Turns any metric into one value for each unit whose mean is the metric, so that one set of statistics serves all.

A mean already has such values. Any other smooth metric (Spearman, V-measure, macro F1) gets the pseudo-values of the
jackknife (Tukey 1958; Efron and Tibshirani 1993, chapter 11): how far the metric moves when a unit is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from upsize.errors import InvalidInput
from upsize.evaluation.metrics import Columns, Indices, Metric

Floats = NDArray[np.float64]

GROUPS = 1000
"""Groups of the jackknife at most. Up to 1,000 units each is left out alone, beyond it units are left out in random
groups. The variance from G groups has a relative standard error of sqrt(2 / G), about 4 %."""

FEWEST = 10
"""Independent units below which candidates are not compared. docs/choose.md shows the coverage with fewer."""
FEWEST_EFFECTIVE = 8.0
"""The same limit for clusters of unequal size, as an effective number of equal ones: a document that most queries share
is one observation, however many other documents there are."""


@dataclass(frozen=True)
class Sample:
    """The values that the statistics start from: independent units × candidates."""

    values: Floats
    """(independent units, candidates). The mean of a column is the candidate's estimate."""
    seeds: Floats | None = None
    """(seeds, candidates): the metric for each of the algorithm's seeds, where there are several."""
    range: tuple[float, float] | None = None
    """Least and greatest value of the metric. None: 0 and 1, widened to the values in the sample."""
    units: Floats | None = None
    """(units, candidates): for a mean, the values of single units where `values` are those of clusters."""
    sizes: Floats | None = None
    """(independent units,): the number of units in each cluster. None: one each."""

    @property
    def estimates(self) -> Floats:
        """(candidates,) the metric of each candidate."""
        means: Floats = self.values.mean(axis=0)
        return means

    @property
    def effective(self) -> float:
        """The effective number of clusters (Kish 1965). Without clusters, the number of independent units."""
        if self.sizes is None:
            return float(len(self.values))
        return float(self.sizes.sum() ** 2 / (self.sizes**2).sum())

    @property
    def too_few(self) -> bool:
        """Whether there are too few independent units to compare candidates."""
        return len(self.values) < FEWEST or self.effective < FEWEST_EFFECTIVE

    def clusters(self) -> tuple[Floats, Floats]:
        """Values (independent units, candidates), and the number of independent values each stands for (independent
        units,).

        A cluster of units is one value, their mean. Its weight is its share of the units times the effective number of
        clusters. So the weighted mean is the mean of the units, and clusters of equal size have a weight of 1.
        """
        n = len(self.values)
        if (
            self.sizes is None or self.units is None
        ):  # without clusters, or for a jackknife, whose values are not means of units
            return self.values, np.full(n, self.effective / n)
        share = self.sizes / self.sizes.sum()
        return self.estimates + (self.values - self.estimates) / (n * share)[:, None], share * self.effective


def sample_of(
    candidates: Sequence[Sequence[Columns]],
    metric: Metric,
    clusters: Sequence[str] | None = None,
    chosen: Indices | None = None,
    seed: int = 0,
    *,
    repeats: Indices | None = None,
    kept: Indices | None = None,
) -> Sample:
    """The sample of candidates, each given by its columns for each seed, over the `chosen` units (None: all).

    Units of one cluster count as one independent unit: the questions of a document, the queries of a user. Units with
    the same number in `repeats` (units,) are one unit. A mean uses their average; any other metric uses only the units
    in `kept`, the indices of the units that repeat no other. Raises InvalidInput where a value is not finite.
    """
    length = len(next(iter(candidates[0][0].values())))
    units = np.arange(length) if chosen is None else chosen
    _require_finite(candidates, metric)
    if kept is not None and not metric.mean:
        units = np.intersect1d(units, kept)
    same = None
    if repeats is not None and metric.mean:
        _, first, same = np.unique(repeats[units], return_index=True, return_inverse=True)
    places = units if same is None else units[first]
    group = _groups(places, clusters, metric.mean, seed)
    single = [[_single(columns, metric, units, same) for columns in seeds] for seeds in candidates]
    columns = [
        np.mean([_values(c, metric, places, group, own) for c, own in zip(seeds, ones, strict=True)], axis=0)
        for seeds, ones in zip(candidates, single, strict=True)
    ]
    scores = None
    if len(candidates[0]) > 1:
        scores = np.array(
            [
                [metric(c, places) if own is None else own.mean() for c, own in zip(seeds, ones, strict=True)]
                for seeds, ones in zip(candidates, single, strict=True)
            ]
        ).T
    clustered = int(group.max()) + 1 < len(places)
    of_units = None
    if clustered and metric.mean:
        of_units = np.stack([np.mean([own for own in ones if own is not None], axis=0) for ones in single], axis=1)
    sizes = np.bincount(group).astype(np.float64) if clustered else None
    return Sample(np.stack(columns, axis=1), scores, metric.range, of_units, sizes)


def _require_finite(candidates: Sequence[Sequence[Columns]], metric: Metric) -> None:
    for place, seeds in enumerate(candidates):
        for columns in seeds:
            for name in metric.columns:
                if wrong := int((~np.isfinite(np.asarray(columns[name], np.float64))).sum()):
                    raise InvalidInput(
                        f"Candidate {place + 1} of {len(candidates)}: {wrong:,} of {len(columns[name]):,} values of "
                        f"{name!r} are not finite numbers, so its quality is unknown. Does the model give NaN?"
                    )


def _single(columns: Columns, metric: Metric, units: Indices, same: Indices | None) -> Floats | None:
    """The values of the distinct units for a mean, None for any other metric."""
    if not metric.mean:
        return None
    value = np.asarray(columns[metric.columns[0]], np.float64)[units]
    if same is None:
        return value
    average: Floats = np.bincount(same, value) / np.bincount(same)
    return average


def _groups(units: Indices, clusters: Sequence[str] | None, mean: bool, seed: int) -> Indices:
    """The group of each unit: its own, that of its cluster, or one of GROUPS where a jackknife would take too long."""
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


def _values(columns: Columns, metric: Metric, units: Indices, group: Indices, value: Floats | None) -> Floats:
    """(groups,) values whose mean is the metric over `units`. For a mean, `value` holds the values of the units."""
    count = int(group.max()) + 1
    if value is not None:
        if count == len(units):
            return value
        # Clusters differ in size, so the mean is a ratio of sums over clusters. It is linearised.
        around = np.bincount(group, value - value.mean(), minlength=count)
        linear: Floats = value.mean() + around * count / len(units)
        return linear
    whole = metric(columns, units)
    if count == 1:
        return np.array([whole])
    order = np.argsort(group, kind="stable")
    edges = np.searchsorted(group[order], np.arange(count + 1))
    without = np.empty(count)
    for g in range(count):
        keep = np.concatenate((order[: edges[g]], order[edges[g + 1] :]))
        without[g] = metric(columns, units[keep])
    moved = (count - 1) * (whole - without)
    values: Floats = whole + moved - moved.mean()
    return values
