"""The instruction of each kind of task: MTEB's own prompt of it, so that figures are comparable.

MTEB gives many of its data sets a more fitting one, and so may the user: it is worth 1 to 5 % (docs/sources.md §3).
"""

from __future__ import annotations

from collections.abc import Mapping

from upsize.evaluation.datasets import TaskKind

INSTRUCTIONS: Mapping[TaskKind, str | None] = {
    TaskKind.RETRIEVAL: None,
    TaskKind.LONG_DOCUMENTS: None,
    TaskKind.UNJUDGED: None,
    TaskKind.RERANKING: None,
    TaskKind.CODE_SEARCH: "Given a query in natural language, retrieve code that answers it",
    TaskKind.STS: "Retrieve semantically similar text.",
    TaskKind.PAIR_CLASSIFICATION: "Retrieve text that are semantically similar to the given text.",
    TaskKind.BITEXT: "Retrieve parallel sentences.",
    TaskKind.CLUSTERING: "Identify categories in user passages.",
    TaskKind.CLASSIFICATION: "Classify user passages.",
}
"""None: what the model itself takes for queries (a web search). All but retrieval's stand before both sides' texts."""

NEWS_TITLES = "Identify the topic or theme of the given news articles based on the titles"
"""MTEB's prompt of ThuNewsClusteringS2S, on which published figures of Chinese news clustering rest."""
