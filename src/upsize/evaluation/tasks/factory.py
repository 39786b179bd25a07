"""The task of a dataset."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from upsize.errors import InvalidInput
from upsize.evaluation.datasets import Dataset, TaskKind
from upsize.evaluation.tasks.base import Task
from upsize.evaluation.tasks.bitext import BitextTask
from upsize.evaluation.tasks.classification import FOLDS, ClassificationTask
from upsize.evaluation.tasks.clustering import ClusteringTask
from upsize.evaluation.tasks.instructions import INSTRUCTIONS
from upsize.evaluation.tasks.pairs import PairsTask
from upsize.evaluation.tasks.reranking import RerankingTask
from upsize.evaluation.tasks.retrieval import RetrievalTask
from upsize.evaluation.tasks.unjudged import UnjudgedTask

TASKS: Mapping[TaskKind, Callable[[Any, str | None], Task | UnjudgedTask]] = {
    TaskKind.RETRIEVAL: RetrievalTask,
    TaskKind.CODE_SEARCH: RetrievalTask,
    TaskKind.LONG_DOCUMENTS: RetrievalTask,
    TaskKind.UNJUDGED: UnjudgedTask,
    TaskKind.RERANKING: RerankingTask,
    TaskKind.STS: PairsTask,
    TaskKind.PAIR_CLASSIFICATION: PairsTask,
    TaskKind.CLASSIFICATION: ClassificationTask,
    TaskKind.CLUSTERING: ClusteringTask,
    TaskKind.BITEXT: BitextTask,
}


def task_of(dataset: Dataset, instruction: str | None = None) -> Task | UnjudgedTask:
    """The task of a dataset's kind.

    `instruction` describes the task in English. None takes that of the kind (see `instructions.py`); an empty one means
    no instruction. Raises InvalidInput for a single unit, and for too few texts for the folds of classification.
    """
    count = len(dataset.unit_metadata.ids)
    noun = {TaskKind.STS: "pair", TaskKind.PAIR_CLASSIFICATION: "pair", TaskKind.BITEXT: "pair"}.get(
        dataset.kind, "query"
    )
    if dataset.kind in (TaskKind.CLASSIFICATION, TaskKind.CLUSTERING):
        noun = "text"
    if count == 1:
        raise InvalidInput(
            f"{dataset.name} has one {noun}. One value has no spread, so a difference between models cannot be told "
            "from chance. Give at least 20, better some hundreds."
        )
    if dataset.kind is TaskKind.CLASSIFICATION and count < FOLDS:
        raise InvalidInput(f"{dataset.name} has {count} texts; classification needs {FOLDS} or more.")
    chosen = INSTRUCTIONS[dataset.kind] if instruction is None else instruction or None
    return TASKS[dataset.kind](dataset, chosen)
