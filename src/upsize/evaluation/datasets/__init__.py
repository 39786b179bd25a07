"""Datasets: readers of users' files of labelled texts. They list every row that cannot be used."""

from upsize.evaluation.datasets.loading import load_dataset
from upsize.evaluation.datasets.text_store import TextStore
from upsize.evaluation.datasets.types import (
    Dataset,
    LabelledData,
    PairsData,
    ParallelData,
    RerankingData,
    RetrievalData,
    RowError,
    TaskKind,
    UnitMetadata,
)

__all__ = [
    "Dataset",
    "LabelledData",
    "PairsData",
    "ParallelData",
    "RerankingData",
    "RetrievalData",
    "RowError",
    "TaskKind",
    "TextStore",
    "UnitMetadata",
    "load_dataset",
]
