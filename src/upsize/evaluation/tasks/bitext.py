"""Bitext mining: the translation of each sentence among all sentences of the other language.

As in MTEB: both sides get the instruction, the nearest sentence of the other side by cosine is the prediction, and F1
is weighted by support.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from upsize.evaluation.datasets import ParallelData
from upsize.evaluation.metrics import BitextF1, Columns, Mean, Metric
from upsize.evaluation.tasks.base import Group, GroupVectors
from upsize.evaluation.tasks.grouping import Links, normalised
from upsize.evaluation.tasks.ranking import top_k
from upsize.evaluation.tasks.unit_task import UnitTask


class BitextTask(UnitTask[ParallelData]):
    """Sentences and their translations."""

    metric: ClassVar[Metric] = BitextF1()
    also: ClassVar[tuple[Metric, ...]] = (Mean("accuracy", "found"),)

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
    def _links(self) -> Links:
        return [{(side, normalised(text)) for side, text in enumerate(pair)} for pair in self._texts]

    def groups(self) -> Mapping[str, Group]:
        """Both sides, with the instruction."""
        return {
            "left": Group(self.data.left, None, self.instruction),
            "right": Group(self.data.right, None, self.instruction),
        }

    def observe(self, vectors: GroupVectors, seed: int) -> Columns:  # noqa: ARG002 (deterministic)
        """`gold` and `predicted`: indices of sentences of the right side. `found`: 1 where both are the same."""
        gold = np.arange(len(self.units))
        predicted = top_k(vectors["left"], vectors["right"], 1, gold)[:, 0]
        return {"gold": gold, "predicted": predicted, "found": (gold == predicted).astype(float)}
