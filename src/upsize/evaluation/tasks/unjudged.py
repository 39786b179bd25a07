"""Unjudged retrieval: a corpus and queries without relevance judgements.

Without judgements, two models can only be compared by how similar their rankings are. The similarity also shows which
queries are worth labelling: where the first ten documents of two models are the same, nDCG@10 cannot differ, whatever
the labels would be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from upsize.evaluation.metrics import Columns, Mean, Metric
from upsize.evaluation.ranking_similarity import overlap, rank_biased_overlap
from upsize.evaluation.tasks.base import Ranking
from upsize.evaluation.tasks.unit_task import QueryTask

FIRST = 10
"""The k of overlap@k, and the documents of each model that are pooled for labelling: as far as nDCG@10 looks."""


@dataclass(frozen=True)
class ToLabel:
    """A query worth a label."""

    unit: int
    """Index of the query among the units."""
    similarity: float
    """Rank-biased overlap of the two rankings that are least similar."""
    documents: tuple[int, ...]
    """Indices of the first ten documents of all models. Labelling these makes the models comparable."""


class UnjudgedTask(QueryTask):
    """Queries against a corpus without judgements. Not a `Task`: the rankings of one model give nothing to observe."""

    metric: ClassVar[Metric] = Mean("overlap@10")
    also: ClassVar[tuple[Metric, ...]] = (Mean("rank-biased overlap", "rank-biased overlap"),)

    def compare(self, one: Ranking, other: Ranking) -> Columns:
        """Similarity of two models' rankings of each query: `value` (overlap@10) and `rank-biased overlap`, 0 to 1."""
        pairs = list(zip(_documents(one), _documents(other), strict=True))
        return {
            "value": np.array([overlap(a, b, FIRST) for a, b in pairs]),
            "rank-biased overlap": np.array([rank_biased_overlap(a, b) for a, b in pairs]),
        }

    def label_first(self, rankings: Sequence[Ranking]) -> list[ToLabel]:
        """Queries worth a label, the least similar rankings first. Queries with the same first ten are left out.

        The difference over the first few of them overstates the difference over all queries. For the latter, label all
        of them or a random sample, and count the queries that are not listed here as a difference of 0.
        """
        least = np.min([_similarities(a, b) for i, a in enumerate(rankings) for b in rankings[i + 1 :]], axis=0)
        first = [ranking[:, :FIRST] for ranking in rankings]
        differs = np.any([(ranking != first[0]).any(axis=1) for ranking in first], axis=0)
        return [
            ToLabel(int(unit), float(least[unit]), _pooled(np.stack(first)[:, unit]))
            for unit in np.argsort(least, kind="stable")
            if differs[unit]
        ]


def _documents(ranking: Ranking) -> list[list[int]]:
    """The documents of each query, without the −1 that fills short rows."""
    return [[document for document in row if document >= 0] for row in ranking.tolist()]


def _similarities(one: Ranking, other: Ranking) -> NDArray[np.float64]:
    rows = zip(_documents(one), _documents(other), strict=True)
    return np.array([rank_biased_overlap(a, b) for a, b in rows])


def _pooled(rankings: Ranking) -> tuple[int, ...]:
    """Distinct documents of (models, depth): the first document of every model, then the second, and so on."""
    return tuple(dict.fromkeys(place for place in rankings.T.ravel().tolist() if place >= 0))
