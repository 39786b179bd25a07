"""Bounds of contrasts by the paired, studentised bootstrap (Hall 1988; Efron and Tibshirani 1993, chapter 12).

Each resample draws units with replacement, the same units for all candidates, so what two candidates have in common
cancels. The deviation of a resample is divided by its own standard error. For a family of contrasts the bootstrap takes
the greatest such ratio over all contrasts (max-t; Westfall and Young 1993; Romano and Wolf 2005), so all bounds hold
simultaneously at the stated confidence. docs/choose.md reports their coverage. Plain percentile intervals of few,
skewed values cover far less.

A bootstrap knows only the values in the sample. Where the sample shows little variation, `distribution_free` gives the
bounds, which hold for every distribution on the metric's range. In between, the bounds are a weighted mean of the two.
All bounds lie within that range.
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
"""Resamples. The 95th percentile of 4,000 is accurate to 0.35 percentage points of coverage (standard error)."""
EXTRA = 4.0
"""Pseudo-units with the typical difference that are added where all units tie, as in "plus four" (Agresti and Caffo
2000). With 20 units of which 2 differ, a resample without the 2 would otherwise have no variance at all."""
CARRIERS = (3, 8)
"""Units that carry a difference: those farther from the median than 0.1 of the greatest distance. Up to the first
number the bounds are distribution-free, from the second on they are the bootstrap's. From simulation
(docs/choose.md)."""
SPREAD = (0.5, 2.0)
"""The same thresholds for the sum of squared distances from the median, in squares of half the range. Below 1, a single
difference as great as the range allows would outweigh the whole sample. From simulation (docs/choose.md)."""
_BLOCK = 1 << 22
"""Bootstrap weights that are drawn at once: 32 MB. Chosen."""


@dataclass(frozen=True)
class Bounds:
    """Estimates and bounds of contrasts. Every field has the shape (contrasts,)."""

    estimate: Floats
    lower: Floats
    upper: Floats
    error: Floats
    """Standard error of the estimate."""
    error_seeds: Floats
    """The part of `error` that comes from the algorithm's seeds. More units do not reduce it."""
    sd: Floats
    """Standard deviation of the independent units' values."""
    critical: Floats
    """Standard errors from the estimate to a bound of the bootstrap."""
    allowance: Floats
    """How much farther from the estimate the farther of the two bounds lies than the bootstrap's."""


def contrasts(candidates: int) -> Floats:
    """All pairwise differences, later minus earlier: (pairs, candidates) of −1, 0 and 1, in the order of
    `combinations`."""
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
    """Simultaneous two-sided bounds of the contrasts `matrix` (contrasts, candidates) @ estimates.

    The bounds of a sample of one unit are the range of the metric.
    """
    moments = Moments(sample, matrix)
    if moments.n < 2:
        return moments.unknown()
    far = moments.draw(seed, resamples)
    return moments.bounds(critical(far, 1, confidence), tail(confidence, len(matrix)))


def bounds_of_parts(
    parts: Sequence[Sample], matrix: Floats, *, seed: int, confidence: float = 0.95, resamples: int = RESAMPLES
) -> list[Bounds]:
    """Bounds of the same contrasts in several samples, simultaneous over contrasts and samples.

    The samples are resampled independently. Samples that share units vary together, so their bounds are conservative.
    """
    moments = [Moments(part, matrix) for part in parts]
    far = np.concatenate([m.draw(seed, resamples, part) for part, m in enumerate(moments)], axis=1)
    common = critical(far, 1, confidence)[: len(matrix)]
    return [m.bounds(common, tail(confidence, len(parts) * len(matrix))) for m in moments]


def tail(confidence: float, family: int) -> float:
    """Error probability of one bound so that all bounds of a family hold at `confidence` (Bonferroni)."""
    return (1 - confidence) / 2 / max(family, 1)


def critical(far: Floats, families: int, confidence: float) -> Floats:
    """(contrasts,) standard errors from an estimate to its bounds, from resampled distances `far` (draws, contrasts).

    The contrasts form `families` consecutive families of equal size. Bounds are simultaneous within a family.
    """
    draws, count = far.shape
    if not count:  # a single candidate has no difference
        return np.empty(0)
    greatest = far.reshape(draws, families, -1).max(axis=2)
    # The order statistic for which the draws and the estimate are exchangeable.
    rank = min(int(np.ceil(confidence * (draws + 1))), draws) - 1
    found = np.partition(greatest, rank, axis=0)[rank]
    # Where all units tie, no draw moves. The bounds of the pseudo-units are then the normal distribution's.
    values: Floats = np.repeat(np.maximum(found, special.ndtri((1 + confidence) / 2)), count // families)
    return values


class Moments:
    """Contrasts of one sample, their standard errors, and resamples of them."""

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
        """Values and weights of the independent units where these are too few to estimate a spread; None otherwise."""
        if sample.too_few:
            clusters, shapes = sample.clusters()
            self.too_few = clusters @ matrix.T, shapes
        self.error = np.sqrt((self.n * self.sd**2 + self.extra) / self.n**2 + error_seeds**2)

    def draw(self, seed: int, resamples: int, stream: int = 0) -> Floats:
        """(resamples, contrasts): for each resample, the distance from the estimate in its own standard errors."""
        rng = np.random.default_rng([seed, self.n, stream])
        return np.concatenate([self._far(rng, draws) for draws in blocks(resamples, self.n)])

    def bounds(self, critical: Floats, alpha: float) -> Bounds:
        """Bounds at `critical` standard errors from the estimates, widened where the sample shows little variation.

        `alpha` is the error probability of a distribution-free bound.
        """
        half, seeds = critical * self.error, critical * self.error_seeds
        below, above = half.copy(), half.copy()
        if self.too_few is not None:
            values, shapes = self.too_few
            every = np.ones_like(half, dtype=bool)
            below, above = self._distribution_free(values, np.broadcast_to(shapes, values.T.shape), alpha, seeds, every)
        else:
            count = self._count() / len(self.units)
            share = _distribution_free_weight(self.units, count, (self.high - self.low) / 2)
            few = share > 0
            shapes = np.broadcast_to(count[few, None], (few.sum(), len(self.units)))
            down, up = self._distribution_free(self.units, shapes, alpha, seeds, few)
            if len(self.units) > self.n:  # `count` is an estimate from the clusters: never narrower than they say
                down, up = np.maximum(down, half[few]), np.maximum(up, half[few])
            below[few] += share[few] * (down - half[few])
            above[few] += share[few] * (up - half[few])
        lower, upper = np.maximum(self.estimate - below, self.low), np.minimum(self.estimate + above, self.high)
        allowance = np.maximum(np.maximum(below, above) - half, 0.0)
        return Bounds(self.estimate, lower, upper, self.error, self.error_seeds, self.sd, critical, allowance)

    def _distribution_free(
        self, values: Floats, shapes: Floats, alpha: float, seeds: Floats, of: NDArray[np.bool_]
    ) -> tuple[Floats, Floats]:
        """Distances from the estimates down and up to the distribution-free bounds of the contrasts in the mask `of`.

        Each of the `values` (units, contrasts) stands for `shapes` (masked contrasts, units) independent values.
        """
        values, estimate = values.T[of], self.estimate[of]
        down = estimate - lower_bounds(values, self.low[of], alpha, shapes)
        up = upper_bounds(values, self.high[of], alpha, shapes) - estimate
        return np.hypot(down, seeds[of]), np.hypot(up, seeds[of])

    def unknown(self) -> Bounds:
        """The whole range: a single unit says nothing."""
        nothing = np.zeros_like(self.estimate)
        return Bounds(self.estimate, self.low, self.high, self.error, self.error_seeds, self.sd, nothing, nothing)

    def _count(self) -> Floats:
        """(contrasts,) the number of independent units that would have the clusters' standard error."""
        units = len(self.units)
        if units == self.n:
            return np.full_like(self.estimate, units)
        variance, error = self.units.var(axis=0, ddof=1), self.sd**2 / self.n
        count: Floats = np.clip(variance / np.maximum(error, 1e-24), self.n, units)
        return count

    def _far(self, rng: np.random.Generator, draws: int) -> Floats:
        """(draws, contrasts): the distance of each resample from the estimate, in its own standard errors."""
        n = self.n
        weights = resampled(rng, draws, n)
        moved = weights @ self.around / n
        square = np.maximum(weights @ self.around**2 / n - moved**2, 0.0) * n / (n - 1)
        error = (n * square + self.extra) / n**2
        if self.seeds is not None:
            # With few seeds resampling is too coarse, so their mean and variance are drawn as a normal sample's.
            s = len(self.seeds)
            moved = moved + rng.standard_normal((draws, s)) @ self.seeds / (s * (s - 1)) ** 0.5
            error = error + self.error_seeds**2 * rng.chisquare(s - 1, (draws, 1)) / (s - 1)
        still = np.abs(moved) <= 1e-12
        far: Floats = np.where(still, 0.0, np.abs(moved) / np.sqrt(np.maximum(error, 1e-24)))
        return far


def resampled(rng: np.random.Generator, draws: int, n: int) -> Floats:
    """(draws, n): how often each of n units occurs in each draw of n units with replacement."""
    flat = rng.integers(0, n, (draws, n)) + np.arange(draws)[:, None] * n
    counts: Floats = np.bincount(flat.ravel(), minlength=draws * n).reshape(draws, n).astype(np.float64)
    return counts


def _extra(values: Floats) -> Floats:
    """(contrasts,) the pseudo-units' addition to the sum of squares.

    It is EXTRA × (share of units at the median) × (mean squared distance of the others from the median). Where all
    units have one value it is EXTRA × 1, the range of a metric.
    """
    away = values - np.median(values, axis=0)
    other = np.abs(away) > 1e-12
    count = other.sum(axis=0)
    typical = np.where(count > 0, (away**2).sum(axis=0) / np.maximum(count, 1), 1.0)
    tied = len(values) - count
    extra: Floats = np.where(tied > 1, EXTRA * tied / len(values) * typical, 0.0)
    return extra


def _distribution_free_weight(values: Floats, each: Floats, scale: Floats) -> Floats:
    """(contrasts,) the weight of the distribution-free bounds, from 0 to 1.

    `each` is the number of independent units that one unit stands for, `scale` half the range of the contrast.
    """
    away = np.abs(values - np.median(values, axis=0))
    greatest = away.max(axis=0)
    carriers = ((away > 0.1 * greatest) & (away > 1e-12)).sum(axis=0) * each
    spread = (away**2).sum(axis=0) / scale**2 * each
    shares = [(last - seen) / (last - first) for seen, (first, last) in ((carriers, CARRIERS), (spread, SPREAD))]
    share: Floats = np.clip(np.maximum(*shares), 0.0, 1.0)
    return share


def blocks(resamples: int, n: int) -> Iterator[int]:
    """The number of resamples in each block of about _BLOCK weights."""
    size = max(_BLOCK // n, 1)
    for first in range(0, resamples, size):
        yield min(size, resamples - first)
