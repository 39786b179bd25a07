"""How similar two rankings are. Similarity says nothing of quality: neither ranking is a judgement of the other."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

PERSISTENCE = 0.9
"""The `p` of Webber, Moffat and Zobel (2010): a reader goes on to the next document with this probability, so the first
ten documents carry 86 % of the weight."""


def overlap(first: Sequence[Hashable], second: Sequence[Hashable], k: int) -> float:
    """Overlap@k: the share of the first k documents that both rankings have, |A ∩ B| / k, from 0 to 1.

    k is at most the length of the longer ranking. Two empty rankings have an overlap of 1.
    """
    depth = min(k, max(len(first), len(second)))
    return len({*first[:k]} & {*second[:k]}) / depth if depth else 1.0


def rank_biased_overlap(first: Sequence[Hashable], second: Sequence[Hashable], p: float = PERSISTENCE) -> float:
    """Rank-biased overlap (RBO) from 0 to 1, extrapolated from the depth of the shorter ranking.

    Webber, Moffat and Zobel 2010, equation 30. The rankings are distinct ids, best first. The RBO of two empty rankings
    is 1.
    """
    depth = min(len(first), len(second))
    if depth == 0:
        return float(len(first) == len(second))
    seen_first: set[Hashable] = set()
    seen_second: set[Hashable] = set()
    total, common = 0.0, 0
    for rank in range(1, depth + 1):
        one, other = first[rank - 1], second[rank - 1]
        common += (one == other) + (one in seen_second) + (other in seen_first)
        seen_first.add(one)
        seen_second.add(other)
        total += common / rank * p**rank
    return common / depth * p**depth + (1 - p) / p * total
