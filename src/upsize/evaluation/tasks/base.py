"""The protocol of a task, for the code that embeds its texts and for the code that compares results.

A task says which texts to embed and how (`groups`), and computes one or more values of each unit from their vectors
(`observe`). A unit is what a new sample of the same data would draw: a query, a pair, a text. The metric is a function
of the units' columns and of the units drawn, so the code that resamples need not know the task.
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
"""Name of a slice, such as `language=zh` or `length=long` → mask (units,) of its units."""

Ranking = NDArray[np.int64]
"""(queries, depth): indices of documents in their group, best first. −1 fills the row of a query that has fewer."""


@dataclass(frozen=True)
class Group:
    """Texts that are embedded in the same way."""

    texts: Sequence[str]
    """May be on disk: read it in blocks instead of making a list of it."""
    input_type: Literal["query", "document"] | None
    instruction: str | None
    """The instruction for `Embedder.stream`. None: `input_type` decides."""


class Task(Protocol):
    """A quality of an embedding model that can be measured on labelled texts."""

    @property
    def name(self) -> str:
        """The kind of task: `retrieval`, `sts`, `clustering` …"""

    @property
    def metric(self) -> Metric:
        """The metric that decides."""

    @property
    def also(self) -> tuple[Metric, ...]:
        """Further metrics of the same columns."""

    @property
    def units(self) -> tuple[str, ...]:
        """Ids of the units: queries, pairs or texts."""

    @property
    def slices(self) -> Slices:
        """Parts of the units that are reported separately. May be empty."""

    @property
    def clusters(self) -> tuple[str, ...] | None:
        """The document or user of each unit, or None where the data does not say."""

    @property
    def grouping(self) -> Grouping:
        """Which units depend on each other: repeats, and clusters given by the data or by shared documents or texts."""

    @property
    def lint(self) -> tuple[str, ...]:
        """Findings about the data that make the figures less meaningful, a sentence each."""

    @property
    def decidable(self) -> bool:
        """Whether the judgements allow two models to differ. False where all answers are equally good."""

    def chance(self, columns: Columns) -> float:
        """The metric of a model that knows nothing. `columns` are those of one candidate."""

    @property
    def seeded(self) -> bool:
        """Whether `observe` depends on its seed (k-means, random training sets), which adds variance."""

    def groups(self) -> Mapping[str, Group]:
        """The texts to embed, by group."""

    def observe(self, vectors: GroupVectors, seed: int) -> Columns:
        """Columns (units,) for the metrics, from the unit vectors of every group."""


@runtime_checkable
class RankingTask(Task, Protocol):
    """A task whose documents can be ranked in two stages: by vectors, then by a reranker."""

    def rank(self, vectors: GroupVectors, depth: int) -> Ranking:
        """The first `depth` documents of each query by cosine. Ties are broken by id, the greater first, as in
        trec_eval."""

    def pairs(self, ranking: Ranking, unit: int) -> tuple[str, list[str]]:
        """The text of a query and the texts of its ranked documents, in order: the input of a reranker."""

    def observe_ranking(self, ranking: Ranking) -> Columns:
        """The columns of `observe` for a given ranking."""


def reorder(ranking: Ranking, scores: NDArray[np.floating]) -> Ranking:
    """The ranking with its first documents sorted by a reranker's `scores` (queries, rescored). The rest stays.

    Equal scores keep the order of the first stage. NaN marks an entry without a score (a document of −1); such entries
    stay last.
    """
    depth = scores.shape[1]
    order = np.argsort(np.where(np.isnan(scores), np.inf, -scores), axis=1, kind="stable")
    return np.concatenate([np.take_along_axis(ranking[:, :depth], order, axis=1), ranking[:, depth:]], axis=1)
