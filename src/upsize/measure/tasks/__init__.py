"""Tasks: what is asked of an embedding model, one file each, with MTEB's protocols so that figures are comparable."""

from upsize.measure.tasks.base import Group, Ranking, RankingTask, Slices, Task, Vectors, reorder
from upsize.measure.tasks.bitext import BitextTask
from upsize.measure.tasks.classification import ClassificationTask
from upsize.measure.tasks.clustering import ClusteringTask
from upsize.measure.tasks.instructions import INSTRUCTIONS, NEWS_TITLES
from upsize.measure.tasks.make import task_of
from upsize.measure.tasks.pairs import PairsTask
from upsize.measure.tasks.reranking import RerankingTask
from upsize.measure.tasks.retrieval import RetrievalTask
from upsize.measure.tasks.unjudged import ToLabel, UnjudgedTask

__all__ = [
    "INSTRUCTIONS",
    "NEWS_TITLES",
    "BitextTask",
    "ClassificationTask",
    "ClusteringTask",
    "Group",
    "PairsTask",
    "Ranking",
    "RankingTask",
    "RerankingTask",
    "RetrievalTask",
    "Slices",
    "Task",
    "ToLabel",
    "UnjudgedTask",
    "Vectors",
    "reorder",
    "task_of",
]
