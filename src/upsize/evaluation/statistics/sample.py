"""One value a unit whose mean is the metric, for any metric: so that one set of statistics serves them all.

A mean is its own values. For any other smooth statistic (Spearman, V-measure, macro-F1) the values are the jackknife's
(Tukey 1958; Efron and Tibshirani 1993, chapter 11): how far the statistic moves when a unit is left out.
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
"""Units are left out one by one up to so many, beyond it in so many random groups: the statistic is computed anew for
each. The variance from G groups is itself good to 1 in sqrt(G / 2), about 4 %."""

FEWEST = 10
"""Independent units below which nothing is judged (docs/choose.md says what fewer would show)."""
FEWEST_EFFECTIVE = 8.0
"""The same of clusters of unequal size, as a number of equal ones: one document that most queries share is one
observation, however many others there are."""


@dataclass(frozen=True)
class Sample:
    """What the statistics start from: independent units × candidates."""

    values: Floats
    """(independent units, candidates). The mean of a column is the candidate's estimate."""
    seeds: Floats | None = None
    """(seeds, candidates): the statistic of each of the algorithm's seeds, where there are several."""
    range: tuple[float, float] | None = None
    """Least and greatest value of the metric; None: 0 and 1, and differences as great as any that is there."""
    units: Floats | None = None
    """(units, candidates): of a mean, the values of the single units where `values` are those of clusters."""
    sizes: Floats | None = None
    """(independent units,): how many units each cluster has; None: one each."""

    @property
    def estimates(self) -> Floats:
        """(candidates,)."""
        means: Floats = self.values.mean(axis=0)
        return means

    @property
    def effective(self) -> float:
        """Clusters of equal size that tell as much (Kish 1965); the independent units where there are no clusters."""
        if self.sizes is None:
            return float(len(self.values))
        return float(self.sizes.sum() ** 2 / (self.sizes**2).sum())

    @property
    def too_few(self) -> bool:
        """Whether there are too few independent units to judge by."""
        return len(self.values) < FEWEST or self.effective < FEWEST_EFFECTIVE

    def clusters(self) -> tuple[Floats, Floats]:
        """(values (independent units, candidates), how many independent values each stands for (independent units,)).

        A cluster of units is one value, their mean. It weighs as many of the effective clusters as its share of the
        units, so that the weighted mean is that of the units, and clusters of one size count one each.
        """
        n = len(self.values)
        if (
            self.sizes is None or self.units is None
        ):  # no clusters, or a jackknife's values, which are no means of units
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
    """The sample of candidates (for each, its columns of each seed), over the `chosen` units (None: all).

    Units of one cluster count as one independent unit: a document's questions, a user's queries. Units with the same
    number in `repeats` (units,) are one unit: of a mean their average, of any other statistic those among `kept`, the
    places of the units that repeat no other. Raises InvalidInput where a value is not finite.
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
                        f"{name!r} are not finite numbers, so its quality is not known. Does the model give NaN?"
                    )


def _single(columns: Columns, metric: Metric, units: Indices, same: Indices | None) -> Floats | None:
    """Of a mean, the values of the distinct units; None of any other statistic."""
    if not metric.mean:
        return None
    value = np.asarray(columns[metric.columns[0]], np.float64)[units]
    if same is None:
        return value
    average: Floats = np.bincount(same, value) / np.bincount(same)
    return average


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


def _values(columns: Columns, metric: Metric, units: Indices, group: Indices, value: Floats | None) -> Floats:
    """(groups,) values with the statistic over `units` as their mean; of a mean, from the units' own `value`."""
    count = int(group.max()) + 1
    if value is not None:
        if count == len(units):
            return value
        # Of a ratio of sums over clusters, linearised: sizes differ.
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
