"""Reranking: the order of the candidate documents of each query, by cosine and trec_eval's measures, as in MTEB.

The main metric is nDCG@10. MAP, which MTEB quotes for its older data sets, is reported too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import ClassVar

import numpy as np

from upsize.evaluation.datasets import RerankingData
from upsize.evaluation.datasets.own_documents import own_candidates
from upsize.evaluation.metrics import Columns, Mean, Metric
from upsize.evaluation.tasks.base import Group, GroupVectors, Ranking
from upsize.evaluation.tasks.chance import random_order
from upsize.evaluation.tasks.grouping import Links
from upsize.evaluation.tasks.lint import lint_reranking
from upsize.evaluation.tasks.ranking import evaluate_ranking
from upsize.evaluation.tasks.unit_task import UnitTask

MEASURES = {"value": "nDCG@10", "MAP": "AP", "MRR@10": "RR@10"}


class RerankingTask(UnitTask[RerankingData]):
    """Queries, each against its own documents."""

    metric: ClassVar[Metric] = Mean("nDCG@10")
    also: ClassVar[tuple[Metric, ...]] = (Mean("MAP", "MAP"), Mean("MRR@10", "MRR@10"))

    @property
    def _unit_texts(self) -> Sequence[str]:
        return self.data.queries

    @property
    def _noun(self) -> str:
        return "queries"

    @property
    def _links(self) -> Links:
        rows = zip(self.data.documents, self.data.relevance, strict=True)
        return [{text for text, grade in zip(*row, strict=True) if grade > 0} for row in rows]

    def _lint(self) -> Iterator[str]:
        return lint_reranking(self.data)

    def chance(self, columns: Columns) -> float:  # noqa: ARG002 (a random order needs none)
        """Of a random order of each query's documents."""
        return float(np.mean([random_order(grades, len(grades), False) for grades in self.data.relevance]))

    @cached_property
    def _documents(self) -> dict[str, int]:
        """Each text → its place: one that several queries have is embedded once."""
        return {text: i for i, text in enumerate(dict.fromkeys(t for own in self.data.documents for t in own))}

    @cached_property
    def _own(self) -> list[list[int]]:
        """Places of each query's own text among its documents."""
        data = self.data
        return [own_candidates(*row) for row in zip(data.queries, data.documents, data.relevance, strict=True)]

    def groups(self) -> Mapping[str, Group]:
        """Queries with the instruction, documents without."""
        return {
            "queries": Group(self.data.queries, "query", self.instruction),
            "documents": Group(tuple(self._documents), "document", None),
        }

    def rank(self, vectors: GroupVectors, depth: int) -> Ranking:
        """Places in each query's own list of documents; −1 beyond its end. Of equal scores the later is first.

        A document that is the query itself, and not judged relevant, is left out.
        """
        longest = max(len(own) for own in self.data.documents)
        ranking = np.full((len(self.units), min(depth, longest)), -1, np.int64)
        for row, own in enumerate(self.data.documents):
            # A text that is there twice is scored once, so that rounding cannot order it.
            places, back = np.unique([self._documents[text] for text in own], return_inverse=True)
            scores = (vectors["documents"][places] @ vectors["queries"][row])[back]
            order = np.lexsort((-np.arange(len(own)), -scores))
            order = order[~np.isin(order, self._own[row])][:depth]
            ranking[row, : len(order)] = order
        return ranking

    def pairs(self, ranking: Ranking, unit: int) -> tuple[str, list[str]]:
        """A query and its documents in the ranking's order."""
        own = self.data.documents[unit]
        return self.data.queries[unit], [own[place] for place in ranking[unit] if place >= 0]

    def observe(self, vectors: GroupVectors, seed: int) -> Columns:  # noqa: ARG002 (deterministic)
        """The measures of each query."""
        return self.observe_ranking(self.rank(vectors, max(len(own) for own in self.data.documents)))

    def observe_ranking(self, ranking: Ranking) -> Columns:
        """The measures of each query for a given ranking."""
        ids = [str(place) for place in range(max(len(own) for own in self.data.documents))]
        judgements = {
            unit: dict(zip(ids, grades, strict=False))
            for unit, grades in zip(self.units, self.data.relevance, strict=True)
        }
        return evaluate_ranking(ranking, self.units, ids, judgements, MEASURES)
