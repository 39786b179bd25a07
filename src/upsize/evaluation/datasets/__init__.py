"""Datasets: users' files of labelled texts, read as a whole, with every row that cannot be used named."""

from upsize.evaluation.datasets.loading import load_dataset
from upsize.evaluation.datasets.text_store import Texts
from upsize.evaluation.datasets.types import (
    Dataset,
    Kind,
    LabelledData,
    PairsData,
    ParallelData,
    RerankingData,
    RetrievalData,
    RowError,
    UnitMetadata,
)

__all__ = [
    "Dataset",
    "Kind",
    "LabelledData",
    "PairsData",
    "ParallelData",
    "RerankingData",
    "RetrievalData",
    "RowError",
    "Texts",
    "UnitMetadata",
    "load_dataset",
]
