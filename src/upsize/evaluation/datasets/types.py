"""The types of datasets: one dataclass for each shape of data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum


class TaskKind(StrEnum):
    """Kinds of task. The reader detects the kind by the fields and the texts of a file; the user can override it."""

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
    """`line`, or `row` in a Parquet file. Both count from 1."""
    number: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}, {self.unit} {self.number}: {self.reason}"


@dataclass(frozen=True)
class UnitMetadata:
    """What the data says of each unit besides its texts."""

    ids: tuple[str, ...]
    columns: Mapping[str, tuple[str | None, ...]] = field(default_factory=dict)
    """Language, and the columns to slice by: name → value of each unit."""
    clusters: tuple[str, ...] | None = None
    """The document or user that each unit belongs to. Units of one cluster are resampled together."""


@dataclass(frozen=True)
class Dataset:
    """The fields that every dataset has. The units are queries, pairs or texts."""

    name: str
    """Name of the file or folder."""
    kind: TaskKind
    unit_metadata: UnitMetadata
    notes: tuple[str, ...]
    """What the reader detected and assumed, for the user to read."""
    row_errors: tuple[RowError, ...]
    """Rows that were skipped, because the caller allowed it."""


@dataclass(frozen=True)
class RetrievalData(Dataset):
    """Queries over a corpus, judged or not."""

    queries: tuple[str, ...]
    document_ids: tuple[str, ...]
    documents: Sequence[str]
    """Title and text of each document. They may be on disk: read them in blocks."""
    judgements: Mapping[str, Mapping[str, int]]
    """Query id → document id → grade, for every query. Empty for a query without judgements."""
    named: bool = True
    """Whether the ids come from the data. Where the reader made them up, a document is identified by its text."""


@dataclass(frozen=True)
class RerankingData(Dataset):
    """Queries, each with its own documents and a grade for each."""

    queries: tuple[str, ...]
    documents: tuple[tuple[str, ...], ...]
    relevance: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class PairsData(Dataset):
    """Pairs of texts with a score each: similarity, or 1 for a pair that belongs together and 0 for any other."""

    left: tuple[str, ...]
    right: tuple[str, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True)
class LabelledData(Dataset):
    """Texts with one label each, and optionally texts to train on."""

    texts: tuple[str, ...]
    labels: tuple[str, ...]
    train_texts: tuple[str, ...] = ()
    train_labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class ParallelData(Dataset):
    """Sentences and their translations."""

    left: tuple[str, ...]
    right: tuple[str, ...]
