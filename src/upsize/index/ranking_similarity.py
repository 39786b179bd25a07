"""How alike two rankings are. Agreement says nothing of quality: the smaller model's ranking is no judgement."""

from __future__ import annotations

from collections.abc import Sequence

PERSISTENCE = 0.9
"""Webber, Moffat and Zobel's p: a reader goes on to the next document with this probability, so the first ten carry
86 % of the weight."""


def overlap(first: Sequence[str], second: Sequence[str], k: int) -> float:
    """Share of the first k that both have: |A ∩ B| / k, with k at most as long as the longer list; 1 of two empty."""
    depth = min(k, max(len(first), len(second)))
    return len({*first[:k]} & {*second[:k]}) / depth if depth else 1.0


def rank_biased_overlap(first: Sequence[str], second: Sequence[str], p: float = PERSISTENCE) -> float:
    """RBO, extrapolated from the shorter list's depth (Webber, Moffat and Zobel 2010, equation 30): 0 to 1.

    Lists of ids without repetition, best first. 1 of two empty ones.
    """
    depth = min(len(first), len(second))
    if depth == 0:
        return float(len(first) == len(second))
    seen_first: set[str] = set()
    seen_second: set[str] = set()
    total, common = 0.0, 0
    for rank in range(1, depth + 1):
        one, other = first[rank - 1], second[rank - 1]
        common += (one == other) + (one in seen_second) + (other in seen_first)
        seen_first.add(one)
        seen_second.add(other)
        total += common / rank * p**rank
    return common / depth * p**depth + (1 - p) / p * total
