"""Unjudged: a corpus and queries, and nobody has said what is relevant.

What can then be told is how far two models agree, and which queries are worth a label: where their first ten documents
are the same, no judgement can make a difference in nDCG@10, so it is 0 there without any work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from upsize.evaluation.metrics import Columns, Mean, Metric
from upsize.evaluation.tasks.base import Ranking
from upsize.evaluation.tasks.unit_task import QueryTask

FIRST = 10
"""Documents that a reader sees: overlap@10, and what is pooled for labelling."""
PERSISTENCE = 0.9
"""How surely a reader goes on to the next document: the first ten then have 86 % of the weight."""


@dataclass(frozen=True)
class ToLabel:
    """A query worth a label."""

    unit: int
    """Its place among the units."""
    agreement: float
    """Rank-biased overlap of the two models that agree least about it."""
    documents: tuple[int, ...]
    """Places of all models' first ten: judging these makes the models comparable."""


class UnjudgedTask(QueryTask):
    """Queries against a corpus without judgements. Not a `Task`: one model alone gives nothing to observe."""

    metric: ClassVar[Metric] = Mean("overlap@10")
    also: ClassVar[tuple[Metric, ...]] = (Mean("rank-biased overlap", "rank-biased overlap"),)

    def agree(self, one: Ranking, other: Ranking) -> Columns:
        """How far two models agree about each query: `value` (overlap@10) and `rank-biased overlap`, both 0 to 1."""
        first = min(FIRST, one.shape[1])
        there = np.maximum((one[:, :first] >= 0).sum(axis=1), 1)
        overlap = shared(one[:, :first], other[:, :first])[:, -1] / there
        return {"value": overlap, "rank-biased overlap": rank_biased_overlap(one, other)}

    def label_first(self, rankings: Sequence[Ranking]) -> list[ToLabel]:
        """Queries worth a label, those of least agreement first; where all models' first ten are the same, none is.

        The mean over the first of them overstates the difference of all queries: for that, label them all, or some
        drawn by chance, and count the queries that are not here as 0.
        """
        least = np.min([rank_biased_overlap(a, b) for i, a in enumerate(rankings) for b in rankings[i + 1 :]], axis=0)
        first = [ranking[:, :FIRST] for ranking in rankings]
        differs = np.any([(ranking != first[0]).any(axis=1) for ranking in first], axis=0)
        return [
            ToLabel(int(unit), float(least[unit]), _pooled(np.stack(first)[:, unit]))
            for unit in np.argsort(least, kind="stable")
            if differs[unit]
        ]


def _pooled(rankings: Ranking) -> tuple[int, ...]:
    """Documents of (models, depth), the first of all models first, each once."""
    return tuple(dict.fromkeys(place for place in rankings.T.ravel().tolist() if place >= 0))


def shared(one: Ranking, other: Ranking) -> NDArray[np.float64]:
    """(queries, depth): how many documents the first 1, 2, … of both have in common."""
    counts = np.empty(one.shape)
    for row, (a, b) in enumerate(zip(one, other, strict=True)):
        where = {document: place for place, document in enumerate(b.tolist())}
        # A document is shared from the depth at which it has been seen in both.
        depths = [max(place, where[d]) for place, d in enumerate(a.tolist()) if d in where and d >= 0]
        counts[row] = np.bincount(depths, minlength=len(a)).cumsum()
    return counts


def rank_biased_overlap(one: Ranking, other: Ranking) -> NDArray[np.float64]:
    """(queries,): extrapolated rank-biased overlap (Webber, Moffat and Zobel 2010), p = 0.9."""
    depth = np.arange(1, one.shape[1] + 1)
    there = np.maximum((one >= 0).sum(axis=1, keepdims=True), 1)
    agreement = shared(one, other) / np.minimum(depth, there)
    weights = (1 - PERSISTENCE) / PERSISTENCE * PERSISTENCE**depth
    return np.asarray(agreement @ weights + agreement[:, -1] * PERSISTENCE ** one.shape[1])
