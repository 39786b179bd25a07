"""The instruction of each kind of task: MTEB's own prompt of it, so that figures are comparable.

MTEB gives many of its data sets a more fitting one, and so may the user: it is worth 1 to 5 % (docs/sources.md §3).
"""

from __future__ import annotations

from collections.abc import Mapping

from upsize.evaluation.datasets import Kind

INSTRUCTIONS: Mapping[Kind, str | None] = {
    Kind.RETRIEVAL: None,
    Kind.LONG_DOCUMENTS: None,
    Kind.UNJUDGED: None,
    Kind.RERANKING: None,
    Kind.CODE_SEARCH: "Given a query in natural language, retrieve code that answers it",
    Kind.STS: "Retrieve semantically similar text.",
    Kind.PAIR_CLASSIFICATION: "Retrieve text that are semantically similar to the given text.",
    Kind.BITEXT: "Retrieve parallel sentences.",
    Kind.CLUSTERING: "Identify categories in user passages.",
    Kind.CLASSIFICATION: "Classify user passages.",
}
"""None: what the model itself takes for queries (a web search). All but retrieval's stand before both sides' texts."""

NEWS_TITLES = "Identify the topic or theme of the given news articles based on the titles"
"""MTEB's prompt of ThuNewsClusteringS2S, on which published figures of Chinese news clustering rest."""
