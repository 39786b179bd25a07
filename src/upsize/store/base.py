"""Store: what an index asks of the place where its vectors lie."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from upsize.store.filters import Filter

Vectors = NDArray[np.float32]

EXACT_BELOW = 200_000
"""Vectors of a table up to which every search looks at all of them: an index would cost more than it saves."""
FEW_MATCHES = 20_000
"""Rows that meet a filter up to which each of them is looked at: it takes a fraction of a second, and no index
finds them all."""


@dataclass(frozen=True)
class Table:
    """One generation's table."""

    name: str
    """Letters, digits and underscores."""
    dimension: int
    coarse: int | None = None
    """Where a funnel is wanted: the first so many values, normalised, are kept as well and searched first."""


@dataclass(frozen=True)
class VectorRows:
    """What is put into a table. Unit vectors (rows, dimension)."""

    ids: Sequence[str]
    numbers: Sequence[int]
    """Of each the journal's number of the text that was embedded."""
    vectors: Vectors
    metadata: Sequence[Mapping[str, Any]]

    def __len__(self) -> int:
        return len(self.ids)


class Hit(NamedTuple):
    """One document found."""

    id: str
    number: int
    score: float
    """Cosine, −1 to 1."""


class Store(Protocol):
    """One place with tables. Thread-safe; every write may be repeated, and one that raised may be there in part.

    Raises StoreUnavailable where it cannot be reached (try again), StoreFull where it takes no more, StoreDamaged where
    a table cannot be read.
    """

    @property
    def kind(self) -> str:
        """`lancedb`, `pgvector`, `qdrant`."""

    @property
    def largest_dimension(self) -> int | None:
        """Of vectors that it can index; None for any."""

    def require_answering(self) -> None:
        """StoreUnavailable, at once, where it is known not to answer now."""

    def create(self, table: Table) -> None:
        """Make the table, unless it is there."""

    def upsert(self, table: Table, rows: VectorRows) -> None:
        """Put rows in, in place of those of the same ids. No id twice. RowsRefused names those that the store will
        never take; the others are in."""

    def delete(self, table: Table, ids: Sequence[str]) -> None:
        """Take rows out; ids that are not there do not matter."""

    def search(
        self,
        table: Table,
        query: Vectors,
        k: int,
        *,
        where: Filter = (),
        exact: bool = False,
        coarse: int | None = None,
    ) -> list[Hit]:
        """The `k` rows nearest to the unit vector `query`, best first, of those that meet `where`. A query of the
        coarse dimension is held against the coarse vectors alone.

        `exact` looks at every row; otherwise an index may be used where there is one. `coarse` takes the so many
        nearest by the table's coarse vectors first, and of them the `k` nearest.
        """

    def vectors(self, table: Table, ids: Sequence[str]) -> dict[str, tuple[int, Vectors]]:
        """Id → (number, vector) of those that are there."""

    def committed_ids(self, table: Table) -> Iterator[tuple[str, int]]:
        """(id, number) of every row, in any order."""

    def count(self, table: Table) -> int:
        """Rows."""

    def bytes(self, table: Table) -> int:
        """On disk."""

    def optimize(self, table: Table) -> None:
        """Compact the table, drop old versions, and build or extend the vector index if the table is large enough.

        It can take minutes."""

    def indexed(self, table: Table) -> bool:
        """Whether searches use an approximate index."""

    def drop(self, table: Table) -> None:
        """Remove the table, if it is there. Refused where others' objects depend on it."""

    def publish_alias(self, name: str, table: Table | None, owner: str) -> None:
        """Let `name` mean this table to others who read the store. InvalidInput where it means something that is not of
        `owner`, the beginning of an index's tables' names. None: let it mean nothing, if it is of `owner`."""

    def remove(self, name: str, tables: Sequence[Table], owner: str) -> None:
        """Remove an index's tables and what `name` means. Refused, with nothing removed, where others' objects depend
        on them."""

    def flush(self, table: Table) -> None:
        """On return all that was written is on disk, whatever happens to the machine."""

    def close(self) -> None:
        """Let go."""


def cut(vectors: Vectors, dimension: int) -> Vectors:
    """The first `dimension` values (…, dimension), normalised."""
    part = vectors[..., :dimension]
    result: Vectors = part / np.maximum(np.linalg.norm(part, axis=-1, keepdims=True), 1e-12)
    return result


def column_of(table: Table, query: Vectors) -> str:
    """Which of a table's vectors a query is held against, by its length."""
    return "coarse" if len(query) == table.coarse else "vector"
