"""The decision: from bounds of all differences to stay, go up, or cannot tell. Pure, of indices; smallest first.

    j is surely better than i      lower bound of (quality of j − quality of i) > delta
    i is surely good enough        upper bound of (quality of j − quality of i) ≤ delta for every other j

    stay         the smallest is surely good enough
    go up        another is surely better than the smallest: to the smallest that is surely good enough; where none is,
                 from the smallest on to the smallest that is surely better, and again from there
    cannot tell  neither

The bounds hold for all differences at once, so all that is called sure is true together, at the bounds' confidence:
going up where no candidate is better by more than delta happens at most in half of what is left of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from upsize.choose.statistics.influence import Floats
from upsize.choose.verdict import Decision


@dataclass(frozen=True)
class Decided:
    """Which candidate, by its place in the order of sizes."""

    decision: Decision
    choice: int
    settled: bool
    """Whether the choice is surely good enough, and everything smaller surely is not."""
    open: tuple[tuple[int, int], ...]
    """Pairs (i, j) to know better before it is settled: is j better than i by more than delta?"""


def decide(lower: Floats, upper: Floats, delta: float) -> Decided:
    """From bounds (m, m) of quality[j] − quality[i] at [i, j]; the diagonal is not looked at."""
    m = len(lower)
    off = ~np.eye(m, dtype=bool)
    better = (lower > delta) & off
    enough = ((upper <= delta) | ~off).all(axis=1)
    good = np.flatnonzero(enough)
    if len(good) and good[0] == 0:
        return Decided("stay", 0, True, ())
    if not better[0].any():
        return Decided("cannot_tell", 0, False, tuple(_open(0, better, upper, delta)))
    choice = int(good[0]) if len(good) else _climb(better)
    pairs = tuple(_open(choice, better, upper, delta))
    return Decided("go_up", choice, not pairs, pairs)


def _climb(better: NDArray[np.bool_]) -> int:
    """From the smallest to the smallest that is surely better, and again from there."""
    at = 0
    while better[at].any():
        at = int(np.flatnonzero(better[at])[0])
    return at


def _open(choice: int, better: NDArray[np.bool_], upper: Floats, delta: float) -> Iterator[tuple[int, int]]:
    """What is not known of the choice: which others may be better by more, which smaller ones may do."""
    for other in range(len(upper)):
        if other < choice and not better[other].any():
            yield other, choice
        elif other != choice and upper[choice, other] > delta:
            yield choice, other


def matrices(candidates: int, lower: Floats, upper: Floats) -> tuple[Floats, Floats]:
    """Bounds of pairs, in the order of `contrasts`, as the matrices that `decide` takes."""
    low, high = np.zeros((candidates, candidates)), np.zeros((candidates, candidates))
    for (i, j), below, above in zip(combinations(range(candidates), 2), lower, upper, strict=True):
        low[i, j], high[i, j] = below, above
        low[j, i], high[j, i] = -above, -below
    return low, high
