"""Bounds of contrasts by the paired, studentised bootstrap (Hall 1988; Efron and Tibshirani 1993, chapter 12).

Units are drawn with replacement, the same ones for all candidates, so what two candidates share cancels. Each draw's
deviation is divided by the standard error of that very draw. For a family the greatest of these over all contrasts is
taken (max-t; Westfall and Young 1993; Romano and Wolf 2005), so all bounds hold at once at the stated confidence.
docs/choose.md says how well they cover; plain percentile intervals of few, skewed values cover far less.

A bootstrap knows only what was seen. Where little was, the bounds are those of `bounded`, which hold for every
distribution on the metric's range; in between, a weighted mean of the two. All bounds lie within that range.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import special

from upsize.evaluation.statistics.distribution_free import lower_bounds, upper_bounds
from upsize.evaluation.statistics.sample import Floats, Sample

RESAMPLES = 4000
"""The 95th percentile of so many draws is good to 0.35 percentage points of coverage."""
EXTRA = 4.0
"""Units of the typical difference that are imagined where all units tie, as in "plus four" (Agresti and Caffo 2000):
with 20 units and 2 that differ, a draw of none that differ would say there is no variance at all."""
CARRIERS = (3, 8)
"""Units that carry a difference (more than 0.1 of the greatest away from the median): up to the first number the bounds
that hold for every distribution stand alone, from the second on the bootstrap does."""
SPREAD = (0.5, 2.0)
"""The same of the sum of squared distances from the median, in squares of half the range: below 1, a single event as
great as the range allows would outweigh all that was seen. Both pairs come from simulation (docs/choose.md)."""
_BLOCK = 1 << 22
"""Weights drawn at once: 32 MB."""


@dataclass(frozen=True)
class Bounds:
    """Of each contrast (contrasts,)."""

    estimate: Floats
    lower: Floats
    upper: Floats
    error: Floats
    """Standard error."""
    error_seeds: Floats
    """What of it the algorithm's seeds bring, which more units do not lessen."""
    sd: Floats
    """Of the independent units' values."""
    critical: Floats
    """Standard errors from the estimate to a bound of the bootstrap."""
    allowance: Floats
    """How much farther the farther bound lies, for what was not seen."""


def contrasts(candidates: int) -> Floats:
    """All differences, later minus earlier: (pairs, candidates) of −1, 0, 1, in the order of `combinations`."""
    pairs = list(combinations(range(candidates), 2))
    matrix = np.zeros((len(pairs), candidates))
    for row, (first, second) in enumerate(pairs):
        matrix[row, first], matrix[row, second] = -1, 1
    return matrix


def bounds(
    sample: Sample,
    matrix: Floats,
    *,
    seed: int,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
) -> Bounds:
    """Two-sided bounds of `matrix` (contrasts, candidates) @ estimates, which hold for all of them at once; of a single
    unit, the range of the metric."""
    moments = Moments(sample, matrix)
    if moments.n < 2:
        return moments.unknown()
    far = moments.draw(seed, resamples)
    return moments.bounds(critical(far, 1, confidence), tail(confidence, len(matrix)))


def bounds_of_parts(
    parts: Sequence[Sample], matrix: Floats, *, seed: int, confidence: float = 0.95, resamples: int = RESAMPLES
) -> list[Bounds]:
    """Of the same contrasts in several samples, for all of them at once. The samples are drawn from independently:
    those that share units vary together, and their bounds are wider than they need be."""
    moments = [Moments(part, matrix) for part in parts]
    far = np.concatenate([m.draw(seed, resamples, part) for part, m in enumerate(moments)], axis=1)
    common = critical(far, 1, confidence)[: len(matrix)]
    return [m.bounds(common, tail(confidence, len(parts) * len(matrix))) for m in moments]


def tail(confidence: float, family: int) -> float:
    """Error of one bound such that all of a family hold at `confidence` (Bonferroni)."""
    return (1 - confidence) / 2 / max(family, 1)


def critical(far: Floats, families: int, confidence: float) -> Floats:
    """(contrasts,) standard errors from an estimate to its bounds, from draws (draws, contrasts) of that distance. The
    contrasts are so many `families`, one after the other and of one length; bounds hold for all of a family at once."""
    draws, count = far.shape
    if not count:  # a single candidate has no difference
        return np.empty(0)
    greatest = far.reshape(draws, families, -1).max(axis=2)
    # The order statistic at which the draws, and the estimate were it one of them, are exchangeable.
    rank = min(int(np.ceil(confidence * (draws + 1))), draws) - 1
    found = np.partition(greatest, rank, axis=0)[rank]
    # Where every unit ties, no draw moves; the bounds of the imagined units are then the normal's.
    values: Floats = np.repeat(np.maximum(found, special.ndtri((1 + confidence) / 2)), count // families)
    return values


class Moments:
    """Contrasts of one sample with their errors, and draws of them."""

    def __init__(self, sample: Sample, matrix: Floats) -> None:
        values = sample.values @ matrix.T
        self.n = len(values)
        self.estimate = values.mean(axis=0)
        self.sd = values.std(axis=0, ddof=1) if self.n > 1 else np.zeros_like(self.estimate)
        self.units = values if sample.units is None else sample.units @ matrix.T
        low, high = sample.range or (0.0, 1.0)
        self.low = np.where(matrix > 0, matrix * low, matrix * high).sum(axis=1)
        self.high = np.where(matrix > 0, matrix * high, matrix * low).sum(axis=1)
        if sample.range is None:
            self.low = np.minimum(self.low, self.units.min(axis=0))
            self.high = np.maximum(self.high, self.units.max(axis=0))
        self.around, self.extra = values - self.estimate, _extra(values)
        self.seeds: Floats | None = None
        error_seeds = np.zeros_like(self.estimate)
        if sample.seeds is not None:
            seeds = sample.seeds @ matrix.T
            self.seeds = seeds - seeds.mean(axis=0)
            error_seeds = np.sqrt((self.seeds**2).sum(axis=0) / (len(seeds) - 1) / len(seeds))
        self.error_seeds: Floats = error_seeds
        self.too_few: tuple[Floats, Floats] | None = None
        """Of so few independent units that their spread is hardly known: their values and weights."""
        if sample.too_few:
            clusters, shapes = sample.clusters()
            self.too_few = clusters @ matrix.T, shapes
        self.error = np.sqrt((self.n * self.sd**2 + self.extra) / self.n**2 + error_seeds**2)

    def draw(self, seed: int, resamples: int, stream: int = 0) -> Floats:
        """`far` of so many draws."""
        rng = np.random.default_rng([seed, self.n, stream])
        return np.concatenate([self._far(rng, draws) for draws in _blocks(resamples, self.n)])

    def bounds(self, critical: Floats, alpha: float) -> Bounds:
        """At so many errors from the estimate, or where little was seen, where the bounds of error `alpha` are that
        hold for every distribution."""
        half, seeds = critical * self.error, critical * self.error_seeds
        below, above = half.copy(), half.copy()
        if self.too_few is not None:
            values, shapes = self.too_few
            every = np.ones_like(half, dtype=bool)
            below, above = self._distribution_free(values, np.broadcast_to(shapes, values.T.shape), alpha, seeds, every)
        else:
            count = self._count() / len(self.units)
            share = _unseen(self.units, count, (self.high - self.low) / 2)
            few = share > 0
            shapes = np.broadcast_to(count[few, None], (few.sum(), len(self.units)))
            down, up = self._distribution_free(self.units, shapes, alpha, seeds, few)
            if len(self.units) > self.n:  # `count` is itself estimated, from the clusters: no narrower than these tell
                down, up = np.maximum(down, half[few]), np.maximum(up, half[few])
            below[few] += share[few] * (down - half[few])
            above[few] += share[few] * (up - half[few])
        lower, upper = np.maximum(self.estimate - below, self.low), np.minimum(self.estimate + above, self.high)
        allowance = np.maximum(np.maximum(below, above) - half, 0.0)
        return Bounds(self.estimate, lower, upper, self.error, self.error_seeds, self.sd, critical, allowance)

    def _distribution_free(
        self, values: Floats, shapes: Floats, alpha: float, seeds: Floats, of: NDArray[np.bool_]
    ) -> tuple[Floats, Floats]:
        """Distances from the estimates down and up to the bounds `of` some contrasts that hold for every distribution,
        from `values` (units, contrasts) that stand for `shapes` (those contrasts, units) independent ones each."""
        values, estimate = values.T[of], self.estimate[of]
        down = estimate - lower_bounds(values, self.low[of], alpha, shapes)
        up = upper_bounds(values, self.high[of], alpha, shapes) - estimate
        return np.hypot(down, seeds[of]), np.hypot(up, seeds[of])

    def unknown(self) -> Bounds:
        """Of a single unit, which says nothing: the whole range."""
        nothing = np.zeros_like(self.estimate)
        return Bounds(self.estimate, self.low, self.high, self.error, self.error_seeds, self.sd, nothing, nothing)

    def _count(self) -> Floats:
        """(contrasts,) independent units that the units stand for: as many as have the clusters' standard error."""
        units = len(self.units)
        if units == self.n:
            return np.full_like(self.estimate, units)
        variance, error = self.units.var(axis=0, ddof=1), self.sd**2 / self.n
        count: Floats = np.clip(variance / np.maximum(error, 1e-24), self.n, units)
        return count

    def _far(self, rng: np.random.Generator, draws: int) -> Floats:
        """(draws, contrasts): how many of its own standard errors each draw lies from the estimate."""
        n = self.n
        weights = resampled(rng, draws, n)
        moved = weights @ self.around / n
        square = np.maximum(weights @ self.around**2 / n - moved**2, 0.0) * n / (n - 1)
        error = (n * square + self.extra) / n**2
        if self.seeds is not None:
            # Few seeds: their mean and variance are drawn as a normal sample's; resampling five values is too coarse.
            s = len(self.seeds)
            moved = moved + rng.standard_normal((draws, s)) @ self.seeds / (s * (s - 1)) ** 0.5
            error = error + self.error_seeds**2 * rng.chisquare(s - 1, (draws, 1)) / (s - 1)
        still = np.abs(moved) <= 1e-12
        far: Floats = np.where(still, 0.0, np.abs(moved) / np.sqrt(np.maximum(error, 1e-24)))
        return far


def resampled(rng: np.random.Generator, draws: int, n: int) -> Floats:
    """(draws, n): how often each of n units is in each draw of n with replacement."""
    flat = rng.integers(0, n, (draws, n)) + np.arange(draws)[:, None] * n
    counts: Floats = np.bincount(flat.ravel(), minlength=draws * n).reshape(draws, n).astype(np.float64)
    return counts


def _extra(values: Floats) -> Floats:
    """(contrasts,) what is added to the sum of squares: EXTRA times the share of units at the median, times the
    typical square of the others' distance from it; of all at one value, EXTRA times 1, the range of a metric."""
    away = values - np.median(values, axis=0)
    other = np.abs(away) > 1e-12
    count = other.sum(axis=0)
    typical = np.where(count > 0, (away**2).sum(axis=0) / np.maximum(count, 1), 1.0)
    tied = len(values) - count
    extra: Floats = np.where(tied > 1, EXTRA * tied / len(values) * typical, 0.0)
    return extra


def _unseen(values: Floats, each: Floats, scale: Floats) -> Floats:
    """(contrasts,) from 0 to 1: how far the bounds have to allow for what was not seen. `each` is how many independent
    units one stands for, `scale` half the range."""
    away = np.abs(values - np.median(values, axis=0))
    greatest = away.max(axis=0)
    carriers = ((away > 0.1 * greatest) & (away > 1e-12)).sum(axis=0) * each
    spread = (away**2).sum(axis=0) / scale**2 * each
    shares = [(last - seen) / (last - first) for seen, (first, last) in ((carriers, CARRIERS), (spread, SPREAD))]
    share: Floats = np.clip(np.maximum(*shares), 0.0, 1.0)
    return share


def _blocks(resamples: int, n: int) -> Iterator[int]:
    """Draws of each block."""
    size = max(_BLOCK // n, 1)
    for first in range(0, resamples, size):
        yield min(size, resamples - first)
