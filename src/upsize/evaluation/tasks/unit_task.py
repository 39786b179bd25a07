"""The parts that tasks share: units, grouping and slices; and ranking, for tasks whose units are queries."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from upsize.evaluation.datasets import Dataset, RetrievalData
from upsize.evaluation.datasets.own_documents import Pairs, own_documents
from upsize.evaluation.metrics import Columns, Metric
from upsize.evaluation.tasks.base import Group, GroupVectors, Ranking, Slices
from upsize.evaluation.tasks.chance import permuted, random_order
from upsize.evaluation.tasks.grouping import Grouping, Links, grouping_of
from upsize.evaluation.tasks.lint import any_order_is_right, copies_of, lint_retrieval
from upsize.evaluation.tasks.ranking import priorities, top_k
from upsize.evaluation.tasks.slices import slices_of

D = TypeVar("D", bound=Dataset)


@dataclass(frozen=True)
class UnitTask(ABC, Generic[D]):
    """A task over a dataset."""

    data: D
    instruction: str | None
    """In English. None: queries get the model's default instruction, and other texts get none."""
    seeded: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """The kind of task."""
        return self.data.kind.value

    @property
    def units(self) -> tuple[str, ...]:
        """Ids of the queries, pairs or texts."""
        return self.data.unit_metadata.ids

    @property
    def clusters(self) -> tuple[str, ...] | None:
        """Document or user of each unit, or None where the data does not say."""
        return self.data.unit_metadata.clusters

    @cached_property
    def slices(self) -> Slices:
        """Parts of the units, by their metadata and by the texts that represent them."""
        return slices_of(self.data.unit_metadata, self._unit_texts)

    @cached_property
    def grouping(self) -> Grouping:
        """Which units depend on each other."""
        return grouping_of(self._texts, self._judged, self._links, self.clusters, self._noun)

    @cached_property
    def lint(self) -> tuple[str, ...]:
        """Findings about the data that make the figures less meaningful, a sentence each."""
        return (*self.grouping.notes, *self._lint())

    @property
    def decidable(self) -> bool:
        """Whether the judgements allow any two models to differ."""
        return True

    def chance(self, columns: Columns) -> float:
        """The metric of a model that knows nothing. `columns` are those of one candidate."""
        return permuted(self.metric, columns)

    @property
    @abstractmethod
    def metric(self) -> Metric:
        """The metric that decides."""

    @property
    def _noun(self) -> str:
        return "texts"

    @property
    def _texts(self) -> Sequence[tuple[str, ...]]:
        """All texts of each unit."""
        return [(text,) for text in self._unit_texts]

    @property
    def _judged(self) -> Sequence[Hashable]:
        """The judgement of each unit, where it is a single value."""
        return [None] * len(self.units)

    @property
    def _links(self) -> Links | None:
        """What each unit may share with others, such as documents."""
        return None

    def _lint(self) -> Iterator[str]:
        yield from ()

    @property
    @abstractmethod
    def _unit_texts(self) -> Sequence[str]:
        """The text that represents each unit: the query, the first text of the pair, the text."""


class QueryTask(UnitTask[RetrievalData]):
    """A task whose units are queries over a corpus."""

    @property
    def _unit_texts(self) -> Sequence[str]:
        return self.data.queries

    @property
    def _noun(self) -> str:
        return "queries"

    @property
    def _links(self) -> Links:
        """The relevant documents of each query. Copies of one text count as one document."""
        ids = self.data.document_ids
        first = {ids[copy]: ids[place] for copy, place in self._copies.items()}
        return [
            {first.get(document, document) for document, grade in self.data.judgements[unit].items() if grade > 0}
            for unit in self.units
        ]

    def _lint(self) -> Iterator[str]:
        return lint_retrieval(self.data, self._copies)

    @property
    def decidable(self) -> bool:
        """Whether the order of the documents matters for any query: not all of them are equally relevant to it."""
        documents = len(self.data.document_ids)
        return any(
            any(grade > 0 for grade in grades.values()) and not any_order_is_right(grades.values(), documents)
            for grades in (self.data.judgements[unit] for unit in self.units)
        )

    @cached_property
    def _copies(self) -> Mapping[int, int]:
        return copies_of(self.data.documents)

    def chance(self, columns: Columns) -> float:  # noqa: ARG002 (a random order needs no columns)
        """The metric of a random order of the corpus."""
        documents, reciprocal = len(self.data.document_ids), self.metric.name.startswith("MRR")
        grades = (list(self.data.judgements[unit].values()) for unit in self.units)
        return float(np.mean([random_order(row, documents, reciprocal) for row in grades]))

    @cached_property
    def _priority(self) -> NDArray[np.int64]:
        return priorities(self.data.document_ids)

    def groups(self) -> Mapping[str, Group]:
        """The queries with the instruction, and the corpus without."""
        return {
            "queries": Group(self.data.queries, "query", self.instruction),
            "corpus": Group(self.data.documents, "document", None),
        }

    @cached_property
    def _own(self) -> Pairs:
        return own_documents(self.data)

    def rank(self, vectors: GroupVectors, depth: int) -> Ranking:
        """The nearest documents of each query, without its own: (queries, at most depth)."""
        return top_k(vectors["queries"], vectors["corpus"], depth, self._priority, self._own)

    def pairs(self, ranking: Ranking, unit: int) -> tuple[str, list[str]]:
        """A query and its ranked documents."""
        return self.data.queries[unit], [self.data.documents[int(place)] for place in ranking[unit] if place >= 0]
