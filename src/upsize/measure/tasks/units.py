"""What all tasks have of their data: its units, what they are resampled by, and its slices."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from upsize.measure.datasets import Dataset, RetrievalData
from upsize.measure.tasks.base import Group, Ranking, Slices, Vectors
from upsize.measure.tasks.ranking import priorities, top_k
from upsize.measure.tasks.slices import slices_of

D = TypeVar("D", bound=Dataset)


@dataclass(frozen=True)
class OfUnits(ABC, Generic[D]):
    """A task over a dataset."""

    data: D
    instruction: str | None
    """In English; None leaves the model to its own for queries, and the texts of other groups raw."""
    seeded: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """The kind of task."""
        return self.data.kind.value

    @property
    def units(self) -> tuple[str, ...]:
        """Ids of the queries, pairs or texts."""
        return self.data.traits.ids

    @property
    def clusters(self) -> tuple[str, ...] | None:
        """Document or user of each unit, where the data tells."""
        return self.data.traits.clusters

    @cached_property
    def slices(self) -> Slices:
        """Parts of the units, by what the data tells and by the texts that stand for them."""
        return slices_of(self.data.traits, self._unit_texts)

    @property
    @abstractmethod
    def _unit_texts(self) -> Sequence[str]:
        """What stands for each unit: the query, the pair's first text, the text."""


class OfQueries(OfUnits[RetrievalData]):
    """A task whose units are queries over a corpus."""

    @property
    def _unit_texts(self) -> Sequence[str]:
        return self.data.queries

    @cached_property
    def _priority(self) -> NDArray[np.int64]:
        return priorities(self.data.document_ids)

    def groups(self) -> Mapping[str, Group]:
        """Queries with the instruction, the corpus without."""
        return {
            "queries": Group(self.data.queries, "query", self.instruction),
            "corpus": Group(self.data.documents, "document", None),
        }

    def rank(self, vectors: Vectors, depth: int) -> Ranking:
        """The nearest documents of each query: (queries, at most depth)."""
        return top_k(vectors["queries"], vectors["corpus"], depth, self._priority)

    def pairs(self, ranking: Ranking, unit: int) -> tuple[str, list[str]]:
        """A query and its ranked documents."""
        return self.data.queries[unit], [self.data.documents[int(place)] for place in ranking[unit] if place >= 0]
