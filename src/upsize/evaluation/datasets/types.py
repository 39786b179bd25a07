"""What files become: one dataclass for each shape of data, with what was noticed and what was left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum


class TaskKind(StrEnum):
    """Kinds of task. What cannot be told from a file's shape is told from its texts, and may be overridden."""

    RETRIEVAL = "retrieval"
    CODE_SEARCH = "code search"
    LONG_DOCUMENTS = "long documents"
    UNJUDGED = "unjudged"
    RERANKING = "reranking"
    STS = "sts"
    PAIR_CLASSIFICATION = "pair classification"
    CLASSIFICATION = "classification"
    CLUSTERING = "clustering"
    BITEXT = "bitext"


@dataclass(frozen=True)
class RowError:
    """A row that cannot be used."""

    file: str
    unit: str
    """`line`, or in a Parquet file `row`; from 1."""
    number: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}, {self.unit} {self.number}: {self.reason}"


@dataclass(frozen=True)
class UnitMetadata:
    """What is told of each unit besides its texts."""

    ids: tuple[str, ...]
    columns: Mapping[str, tuple[str | None, ...]] = field(default_factory=dict)
    """Language and the columns to slice by: name → value of each unit."""
    clusters: tuple[str, ...] | None = None
    """Document or user of each unit."""


@dataclass(frozen=True)
class Dataset:
    """What every dataset has."""

    name: str
    """The file's or folder's own."""
    kind: TaskKind
    unit_metadata: UnitMetadata
    """Of the units: queries, pairs or texts."""
    notes: tuple[str, ...]
    """What was detected and assumed, for the user to read."""
    row_errors: tuple[RowError, ...]
    """Rows left out, because the caller allowed it."""


@dataclass(frozen=True)
class RetrievalData(Dataset):
    """Queries over a corpus, judged or not."""

    queries: tuple[str, ...]
    document_ids: tuple[str, ...]
    documents: Sequence[str]
    """Title and text of each document, on disk."""
    judgements: Mapping[str, Mapping[str, int]]
    """Query's id → document's id → grade, for every query; empty where nothing is judged."""
    named: bool = True
    """Whether queries and documents have ids of the data's own; where these were made up, a document is its text."""


@dataclass(frozen=True)
class RerankingData(Dataset):
    """Queries, each with its own documents and a grade for each."""

    queries: tuple[str, ...]
    documents: tuple[tuple[str, ...], ...]
    relevance: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class PairsData(Dataset):
    """Pairs of texts with a score each: of similarity, or 1 for a pair that belongs together and 0 for one apart."""

    left: tuple[str, ...]
    right: tuple[str, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True)
class LabelledData(Dataset):
    """Texts with one label each; perhaps others to train on."""

    texts: tuple[str, ...]
    labels: tuple[str, ...]
    train_texts: tuple[str, ...] = ()
    train_labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class ParallelData(Dataset):
    """Sentences and their translations."""

    left: tuple[str, ...]
    right: tuple[str, ...]
