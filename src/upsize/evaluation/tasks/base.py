"""What a task is to those who embed its texts and to those who judge its results.

A task says which texts are to be embedded and how (`groups`), and makes of their vectors one value or a few of each
unit (`observe`). A unit is what would be drawn again if the data were collected again: a query, a pair, a text. The
metric is a function of the units' columns and of which units were drawn, so that whoever resamples needs to know
nothing of tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from upsize.evaluation.metrics import Columns, Metric
from upsize.evaluation.tasks.grouping import Grouping

GroupVectors = Mapping[str, NDArray[np.float32]]
"""Group → unit vectors (texts, dimension), in the group's order."""

Slices = Mapping[str, NDArray[np.bool_]]
"""Name, such as `language=zh` or `length=long` → which units (units,) belong to it."""

Ranking = NDArray[np.int64]
"""(queries, depth): places of documents in their group, best first; −1 where a query has no more of them."""


@dataclass(frozen=True)
class Group:
    """Texts to be embedded alike."""

    texts: Sequence[str]
    """Perhaps kept on disk: read it in blocks, and do not make a list of it."""
    input_type: Literal["query", "document"] | None
    instruction: str | None
    """The task in English, as `Embedder.stream` takes it; None leaves `input_type` to decide."""


class Task(Protocol):
    """What is measured of an embedding model."""

    @property
    def name(self) -> str:
        """`retrieval`, `sts`, `clustering` … , as the catalog names kinds of task."""

    @property
    def metric(self) -> Metric:
        """The one that decides."""

    @property
    def also(self) -> tuple[Metric, ...]:
        """Others that the same columns give."""

    @property
    def units(self) -> tuple[str, ...]:
        """Ids of what is resampled: queries, pairs or texts."""

    @property
    def slices(self) -> Slices:
        """Parts of the units to be judged on their own; perhaps none."""

    @property
    def clusters(self) -> tuple[str, ...] | None:
        """Document or user of each unit as the data tells it; None where it does not."""

    @property
    def grouping(self) -> Grouping:
        """Which units are independent: repeats, and clusters that the data tells or that share documents or texts."""

    @property
    def lint(self) -> tuple[str, ...]:
        """What makes the figures say less than they seem to, a sentence each."""

    @property
    def decidable(self) -> bool:
        """Whether the judgements allow any two models to differ; False where every answer is as good as another."""

    def chance(self, columns: Columns) -> float:
        """The metric of a model that knows nothing; `columns` are one candidate's."""

    @property
    def seeded(self) -> bool:
        """Whether `observe` depends on its seed (k-means, drawn training sets), a second source of variance."""

    def groups(self) -> Mapping[str, Group]:
        """The texts, by group."""

    def observe(self, vectors: GroupVectors, seed: int) -> Columns:
        """Columns (units,) of the metrics, given unit vectors of every group."""


@runtime_checkable
class RankingTask(Task, Protocol):
    """A task whose documents can be ranked in two stages: by vectors, then by a reranker."""

    def rank(self, vectors: GroupVectors, depth: int) -> Ranking:
        """The first `depth` documents of each query, by cosine; ties by id, the later first, as trec_eval has it."""

    def pairs(self, ranking: Ranking, unit: int) -> tuple[str, list[str]]:
        """A query's text and those of its ranked documents, in their order: what a reranker scores."""

    def observe_ranking(self, ranking: Ranking) -> Columns:
        """What `observe` gives, of a ranking made otherwise."""


def reorder(ranking: Ranking, scores: NDArray[np.floating]) -> Ranking:
    """The ranking with its first documents sorted by a reranker's `scores` (queries, rescored), the rest as they were.

    Equal scores keep the first stage's order. NaN marks what was not scored (a place of −1), and stays where it is.
    """
    depth = scores.shape[1]
    order = np.argsort(np.where(np.isnan(scores), np.inf, -scores), axis=1, kind="stable")
    return np.concatenate([np.take_along_axis(ranking[:, :depth], order, axis=1), ranking[:, depth:]], axis=1)
