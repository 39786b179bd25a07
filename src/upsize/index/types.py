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
    """One search. What is None is the index's own setting."""

    query: str | None = None
    vector: Sequence[float] | None = None
    """In place of a query's text: its vector, of the space named by `fingerprint`."""
    fingerprint: str | None = None
    k: int = 10
    where: Filter = ()
    instruction: str | None = None
    dimension: int | None = None
    rerank: Rerank | bool | None = None
    """False leaves the reranker out."""
    rescore: Rescore | bool | None = None
    """False leaves the larger model out."""
    funnel: int | None = None
    """Candidates by coarse vectors; 0 for none."""
    exact: bool = False
    generation: str | None = None
    """For comparisons: another than that which answers."""
    without: frozenset[str] = frozenset()
    """Ids of documents that are no answer, SLACK at most."""
    priority: Priority = Priority.INTERACTIVE
    counted: bool = True
    """Whether it is a live search: it counts for popularity, and may be compared in the shadow."""


@dataclass(frozen=True)
class SearchHit:
    """One document of an answer."""

    document: Document
    score: float
    """Of the last rung: cosine, or a reranker's probability of yes."""
    scores: Mapping[str, float]
    """Of each rung that saw it."""


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
    """What was found, best first, and how."""

    found: list[SearchHit]
    generation: Generation
    rungs: tuple[str, ...]
    seconds: dict[str, float] = field(default_factory=dict)
    """Of each part."""
    missing: int = 0
    """Documents that have no vector in the generation yet, and that no search finds."""
    refused: int = 0
    """Documents that its model cannot embed, and that no search finds."""
    new_vectors: NewVectors | None = None
    """Vectors that rescoring made, for the larger model's generation to keep."""
    canary_failed: str | None = None
    """The canary generation that could not embed the query, so that the active one answered."""

    @property
    def ids(self) -> list[str]:
        """Of the documents, best first."""
        return [f.document.id for f in self.found]
