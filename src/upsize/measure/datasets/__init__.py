"""Datasets: users' files of labelled texts, read as a whole, with every row that cannot be used named."""

from upsize.measure.datasets.load import load_dataset
from upsize.measure.datasets.nouns import (
    Dataset,
    Fault,
    Kind,
    LabelledData,
    PairsData,
    ParallelData,
    RerankingData,
    RetrievalData,
    Traits,
)
from upsize.measure.datasets.texts import Texts

__all__ = [
    "Dataset",
    "Fault",
    "Kind",
    "LabelledData",
    "PairsData",
    "ParallelData",
    "RerankingData",
    "RetrievalData",
    "Texts",
    "Traits",
    "load_dataset",
]
