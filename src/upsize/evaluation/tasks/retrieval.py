"""Retrieval of the documents that answer a query from a corpus. Code search and long documents are kinds of it.

As in MTEB: cosine over the whole corpus, trec_eval's measures, ties by id. The main metric is nDCG@10. For code search
it is MRR@10, as in CoSQA and CodeSearchNet; nDCG@10, which MTEB's code benchmark quotes, is reported too.
"""

from __future__ import annotations

from upsize.evaluation.datasets import TaskKind
from upsize.evaluation.metrics import Columns, Mean, Metric
from upsize.evaluation.tasks.base import GroupVectors, Ranking
from upsize.evaluation.tasks.ranking import DEPTH, evaluate_ranking
from upsize.evaluation.tasks.unit_task import QueryTask

MEASURES = {"nDCG@10": "nDCG@10", "recall@10": "R@10", "recall@100": "R@100", "MRR@10": "RR@10"}
"""Name of a metric → ir-measures' name."""


class RetrievalTask(QueryTask):
    """Queries against a judged corpus."""

    @property
    def _main(self) -> str:
        return "MRR@10" if self.data.kind is TaskKind.CODE_SEARCH else "nDCG@10"

    @property
    def metric(self) -> Metric:
        """nDCG@10, or MRR@10 for code search."""
        return Mean(self._main)

    @property
    def also(self) -> tuple[Metric, ...]:
        """The other measures of the same ranking."""
        return tuple(Mean(name, name) for name in MEASURES if name != self._main)

    def observe(self, vectors: GroupVectors, seed: int) -> Columns:  # noqa: ARG002 (deterministic)
        """`value` and the other measures of each query."""
        return self.observe_ranking(self.rank(vectors, DEPTH))

    def observe_ranking(self, ranking: Ranking) -> Columns:
        """The measures of a given ranking. recall@100 needs a depth of 100."""
        columns = evaluate_ranking(ranking, self.units, self.data.document_ids, self.data.judgements, MEASURES)
        return {"value" if name == self._main else name: values for name, values in columns.items()}
