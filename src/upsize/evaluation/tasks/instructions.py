"""The instruction of each kind of task: MTEB's prompt for the kind, so that figures are comparable.

MTEB gives many of its data sets a more specific instruction, and so may the user: it gains 1 to 5 % (docs/sources.md
§3).
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
"""None: the model's default for queries (web search). All but the instructions of retrieval apply to both sides."""

NEWS_TITLES = "Identify the topic or theme of the given news articles based on the titles"
"""MTEB's prompt of ThuNewsClusteringS2S, with which the published figures of Chinese news clustering were made."""
