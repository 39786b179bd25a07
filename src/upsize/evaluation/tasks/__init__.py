"""Tasks: one file for each evaluation protocol. The protocols are MTEB's, so that figures are comparable."""

from upsize.evaluation.tasks.base import Group, GroupVectors, Ranking, RankingTask, Slices, Task, reorder
from upsize.evaluation.tasks.bitext import BitextTask
from upsize.evaluation.tasks.classification import ClassificationTask
from upsize.evaluation.tasks.clustering import ClusteringTask
from upsize.evaluation.tasks.factory import task_of
from upsize.evaluation.tasks.instructions import INSTRUCTIONS, NEWS_TITLES
from upsize.evaluation.tasks.pairs import PairsTask
from upsize.evaluation.tasks.reranking import RerankingTask
from upsize.evaluation.tasks.retrieval import RetrievalTask
from upsize.evaluation.tasks.unjudged import ToLabel, UnjudgedTask

__all__ = [
    "INSTRUCTIONS",
    "NEWS_TITLES",
    "BitextTask",
    "ClassificationTask",
    "ClusteringTask",
    "Group",
    "GroupVectors",
    "PairsTask",
    "Ranking",
    "RankingTask",
    "RerankingTask",
    "RetrievalTask",
    "Slices",
    "Task",
    "ToLabel",
    "UnjudgedTask",
    "reorder",
    "task_of",
]
