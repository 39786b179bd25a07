"""Pairs of texts: how similar they are (STS), and whether they belong together (pair classification).

As in MTEB: both sides get the instruction, scikit-learn computes the cosine, and the metric is Spearman's correlation
with the gold scores, or the average precision of the pairs that belong together.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import ClassVar

import numpy as np
from sklearn.metrics.pairwise import paired_cosine_distances

from upsize.evaluation.datasets import PairsData, TaskKind
from upsize.evaluation.metrics import AveragePrecision, Columns, Metric, Spearman
from upsize.evaluation.tasks.base import Group, GroupVectors
from upsize.evaluation.tasks.grouping import Links, normalised
from upsize.evaluation.tasks.unit_task import UnitTask


class PairsTask(UnitTask[PairsData]):
    """Pairs with a score each."""

    also: ClassVar[tuple[Metric, ...]] = ()

    @property
    def metric(self) -> Metric:
        """Spearman's correlation, or average precision."""
        return Spearman() if self.data.kind is TaskKind.STS else AveragePrecision()

    @property
    def _unit_texts(self) -> Sequence[str]:
        return self.data.left

    @property
    def _noun(self) -> str:
        return "pairs"

    @property
    def _texts(self) -> Sequence[tuple[str, ...]]:
        return list(zip(self.data.left, self.data.right, strict=True))

    @property
    def _judged(self) -> Sequence[Hashable]:
        return self.data.scores

    @property
    def _links(self) -> Links:
        return [{normalised(text) for text in pair} for pair in self._texts]

    def groups(self) -> Mapping[str, Group]:
        """Both sides, with the instruction."""
        return {
            "left": Group(self.data.left, None, self.instruction),
            "right": Group(self.data.right, None, self.instruction),
        }

    def observe(self, vectors: GroupVectors, seed: int) -> Columns:  # noqa: ARG002 (deterministic)
        """`cosine` and `gold` of each pair."""
        cosine = 1 - paired_cosine_distances(vectors["left"], vectors["right"])
        return {"cosine": cosine, "gold": np.array(self.data.scores)}
