"""Retrieval: the documents that answer a query, out of a corpus. Code search and long documents are of its kind.

As MTEB's retrieval: cosine over the whole corpus, trec_eval's measures, ties by id. Main: nDCG@10; of code search
MRR@10, as CoSQA and CodeSearchNet have it (MTEB's code benchmark quotes nDCG@10, which is among the others).
"""

from __future__ import annotations

from upsize.evaluation.datasets import TaskKind
from upsize.evaluation.metrics import Columns, Mean, Metric
from upsize.evaluation.tasks.base import GroupVectors, Ranking
from upsize.evaluation.tasks.ranking import DEPTH, evaluate_ranking
from upsize.evaluation.tasks.unit_task import QueryTask

MEASURES = {"nDCG@10": "nDCG@10", "recall@10": "R@10", "recall@100": "R@100", "MRR@10": "RR@10"}
"""Our names → ir-measures'."""


class RetrievalTask(QueryTask):
    """Queries against a judged corpus."""

    @property
    def _main(self) -> str:
        return "MRR@10" if self.data.kind is TaskKind.CODE_SEARCH else "nDCG@10"

    @property
    def metric(self) -> Metric:
        """nDCG@10, or MRR@10 of code search."""
        return Mean(self._main)

    @property
    def also(self) -> tuple[Metric, ...]:
        """The other measures of the same ranking."""
        return tuple(Mean(name, name) for name in MEASURES if name != self._main)

    def observe(self, vectors: GroupVectors, seed: int) -> Columns:  # noqa: ARG002 (nothing is drawn)
        """`value` and the other measures of each query."""
        return self.observe_ranking(self.rank(vectors, DEPTH))

    def observe_ranking(self, ranking: Ranking) -> Columns:
        """The measures of a given ranking; recall@100 asks for one that deep."""
        columns = evaluate_ranking(ranking, self.units, self.data.document_ids, self.data.judgements, MEASURES)
        return {"value" if name == self._main else name: values for name, values in columns.items()}
