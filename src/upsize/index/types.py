"""What a search is asked and what it returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from upsize.engine import Priority
from upsize.index.documents import Document
from upsize.index.state import Generation, Rerank, Rescore
from upsize.store import Filter


@dataclass(frozen=True)
class SearchRequest:
    """One search. None stands for the index's setting."""

    query: str | None = None
    vector: Sequence[float] | None = None
    """The query's vector (dimension,), in place of its text, made by the model that `fingerprint` names."""
    fingerprint: str | None = None
    k: int = 10
    where: Filter = ()
    instruction: str | None = None
    dimension: int | None = None
    rerank: Rerank | bool | None = None
    """False turns the reranker off."""
    rescore: Rescore | bool | None = None
    """False turns the larger model off."""
    funnel: int | None = None
    """Candidates by coarse vectors; 0 turns the funnel off."""
    exact: bool = False
    generation: str | None = None
    """The generation to search, for comparisons. Default: the active one."""
    without: frozenset[str] = frozenset()
    """Ids of documents that are left out of the result, SLACK at most."""
    priority: Priority = Priority.INTERACTIVE
    counted: bool = True
    """Whether it is a live search, which counts for popularity and may cause a shadow read."""


@dataclass(frozen=True)
class SearchHit:
    """One document of a result."""

    document: Document
    score: float
    """Score of the last stage: cosine, or a reranker's probability of "yes"."""
    scores: Mapping[str, float]
    """Stage → score, for each stage that scored the document."""


@dataclass(frozen=True)
class NewVectors:
    """Vectors of documents that a search made for a generation, and how many bytes of them may be kept."""

    generation: Generation
    documents: Sequence[Document]
    vectors: NDArray[np.float32]
    """(documents, dimension)."""
    keep_bytes: int


@dataclass(frozen=True)
class SearchResult:
    """The documents found, best first, and the stages that ran."""

    found: list[SearchHit]
    generation: Generation
    rungs: tuple[str, ...]
    seconds: dict[str, float] = field(default_factory=dict)
    """Stage → seconds."""
    missing: int = 0
    """Backlog of the generation: documents that no search finds yet."""
    refused: int = 0
    """Documents that its model cannot embed, so that no search finds them."""
    new_vectors: NewVectors | None = None
    """Vectors that rescoring made, for the larger model's generation to keep."""
    canary_failed: str | None = None
    """The canary generation that could not embed the query, so that the active one answered."""

    @property
    def ids(self) -> list[str]:
        """Ids of the documents, best first."""
        return [f.document.id for f in self.found]
