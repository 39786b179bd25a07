"""The decision: stay, go up, or cannot tell, from simultaneous bounds of all differences. Pure. Candidates are indices,
smallest first.

    j is surely better than i      lower bound of (quality of j − quality of i) > delta
    i is surely not enough         another is surely better than it
    i is surely good enough        upper bound of (quality of j − quality of i) ≤ delta for every other j

    stay         the smallest is surely good enough
    go up        the smallest is surely not enough. The choice is the smallest other candidate that is not surely not
                 enough itself, and surely has a gain over the smallest, however little
    cannot tell  neither

The bounds hold for all differences at once, so at their confidence everything called sure is true together. At 95 %
confidence, going up where no candidate is better by more than delta happens in at most 2.5 % of choices.

A larger margin never chooses a larger candidate. The bounds do not depend on the margin. As it grows, fewer candidates
are surely not enough, and a sure gain stays one; so the set that is chosen from only grows, and its smallest member can
only become smaller.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from upsize.evaluation.statistics.sample import Floats
from upsize.selection.verdict import Decision


@dataclass(frozen=True)
class DecisionResult:
    """The chosen candidate, as an index in the order of sizes."""

    decision: Decision
    choice: int
    settled: bool
    """Whether the choice is surely good enough, and everything smaller surely is not."""
    open: tuple[tuple[int, int], ...]
    """Pairs (i, j) that keep it from being settled: is j better than i by more than delta?"""


def decide(lower: Floats, upper: Floats, delta: float) -> DecisionResult:
    """Decide from (m, m) bounds of quality[j] − quality[i] at [i, j]; the diagonals are ignored."""
    m = len(lower)
    better = lower > delta
    np.fill_diagonal(better, False)
    beaten = np.asarray(better.any(axis=1))
    if (upper[0, 1:] <= delta).all():
        return DecisionResult("stay", 0, True, ())
    if not beaten[0]:
        return DecisionResult("cannot_tell", 0, False, tuple(_open(0, better, upper, delta)))
    left = np.flatnonzero(~beaten & (_transitive(lower)[0] > 0))
    choice = int(left[0]) if len(left) else m - 1
    pairs = tuple(_open(choice, better, upper, delta))
    return DecisionResult("go_up", choice, not pairs, pairs)


def _transitive(lower: Floats) -> Floats:
    """Lower bounds closed under addition: if k is better than j and j than i, k is better than i by the sum. These hold
    where all bounds hold. A chain of sure gains ends, because nothing surely beats the best by estimate."""
    closed = lower.copy()
    np.fill_diagonal(closed, 0.0)
    for k in range(len(closed)):
        closed = np.maximum(closed, closed[:, k, None] + closed[None, k])
    return closed


def _open(choice: int, better: NDArray[np.bool_], upper: Floats, delta: float) -> Iterator[tuple[int, int]]:
    """Open pairs of the choice: others that may be better by more than delta, and smaller ones that may be enough."""
    for other in range(len(upper)):
        if other < choice and not better[other].any():
            yield other, choice
        elif other != choice and upper[choice, other] > delta:
            yield choice, other


def bound_matrices(candidates: int, lower: Floats, upper: Floats) -> tuple[Floats, Floats]:
    """Bounds of pairs, in the order of `contrasts`, as the (m, m) matrices that `decide` takes."""
    low, high = np.zeros((candidates, candidates)), np.zeros((candidates, candidates))
    for (i, j), below, above in zip(combinations(range(candidates), 2), lower, upper, strict=True):
        low[i, j], high[i, j] = below, above
        low[j, i], high[j, i] = -above, -below
    return low, high
