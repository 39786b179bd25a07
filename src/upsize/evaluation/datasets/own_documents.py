"""Queries that are documents of the corpus too, as in ArguAna and Quora. Such a document is not an answer to itself.

BEIR and MTEB leave a document out of the ranking of the query with the same id. This package does the same, unless the
document is judged relevant to the query. Where the data has no ids, equal text takes the place of an equal id.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from upsize.errors import InvalidInput
from upsize.evaluation.datasets.types import Dataset, RerankingData, RetrievalData

MOST_PAIRS = 5_000_000
"""Beyond it the pairs would take gigabytes. Chosen: no known dataset comes near."""
Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]
"""(indices of queries, indices of documents), both (pairs,), in the order of the queries."""


def own_documents(data: RetrievalData) -> Pairs:
    """Each query with its own documents, without those judged relevant to it. InvalidInput beyond MOST_PAIRS."""
    wanted: dict[str, list[int]] = {}
    for place, key in enumerate(data.unit_metadata.ids if data.named else map(str.strip, data.queries)):
        wanted.setdefault(key, []).append(place)
    found: list[tuple[int, int]] = []
    for place, key in enumerate(data.document_ids if data.named else map(str.strip, data.documents)):
        found += [(query, place) for query in wanted.get(key, ()) if not _relevant(data, query, place)]
        if len(found) > MOST_PAIRS:
            raise InvalidInput(f"{data.name}: one text is query and document more than {MOST_PAIRS:,} times over.")
    queries, documents = np.array(sorted(found), np.int64).reshape(-1, 2).T
    return queries, documents


def _relevant(data: RetrievalData, query: int, document: int) -> bool:
    return data.judgements[data.unit_metadata.ids[query]].get(data.document_ids[document], 0) > 0


def own_candidates(query: str, documents: Sequence[str], relevance: Sequence[int]) -> list[int]:
    """Indices of the candidates that are the query itself and are not judged relevant."""
    return [
        place
        for place, (text, grade) in enumerate(zip(documents, relevance, strict=True))
        if grade <= 0 and text.strip() == query.strip()
    ]


def leaves_out(data: Dataset) -> bool:
    """Whether a document of its own is left out of any query's ranking."""
    if isinstance(data, RetrievalData):
        return len(own_documents(data)[0]) > 0
    if isinstance(data, RerankingData):
        return any(own_candidates(*row) for row in zip(data.queries, data.documents, data.relevance, strict=True))
    return False


def note_of(data: RetrievalData) -> list[str]:
    """A note for the user, or nothing where no query has a document of its own."""
    queries, documents = own_documents(data)
    if not len(queries):
        return []
    several = f"{len(np.unique(queries)):,} of the {len(data.queries):,} queries"
    if not data.named:
        return [f"{several} are documents too (equal text): a query's own document is not counted as its answer."]
    unlike = sum(
        data.queries[q].strip() not in data.documents[int(d)] and data.documents[int(d)] not in data.queries[q]
        for q, d in zip(queries.tolist(), documents.tolist(), strict=True)
    )
    note = f"{several} are documents too (equal ids): a query's own document is left out, as in BEIR and MTEB."
    if unlike:
        note += f" {unlike:,} of these have another text: if the equal ids are a coincidence, rename them."
    return [note]


def candidates_note(
    queries: Sequence[str], documents: Sequence[Sequence[str]], relevance: Sequence[Sequence[int]]
) -> list[str]:
    """A note for the user on queries that are among their own candidates, or nothing where none is."""
    count = sum(bool(own_candidates(*row)) for row in zip(queries, documents, relevance, strict=True))
    if not count:
        return []
    return [f"{count:,} queries are among their own candidates, not judged relevant: left out of the ranking."]


def own_of(data: RetrievalData) -> Mapping[int, int]:
    """Index of a query → index of its first own document."""
    queries, documents = own_documents(data)
    return dict(zip(queries[::-1].tolist(), documents[::-1].tolist(), strict=True))
