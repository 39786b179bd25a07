"""The Store protocol: a place with one table of vectors for each generation of an index."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from upsize.store.filters import Filter

Vectors = NDArray[np.float32]

EXACT_BELOW = 200_000
"""Rows of a table up to which every search is an exact scan. Chosen: an index would cost more than it saves."""
FEW_MATCHES = 20_000
"""Rows that meet a filter up to which a search scores each of them. Chosen: that takes less than a second, and an
approximate index misses some of them."""


@dataclass(frozen=True)
class Table:
    """One generation's table."""

    name: str
    """Letters, digits and underscores."""
    dimension: int
    coarse: int | None = None
    """Dimension of the coarse vectors: the first values of each vector, normalised. A funnel searches them first. None:
    the table has none."""


@dataclass(frozen=True)
class VectorRows:
    """Rows to write into a table; `vectors` are unit vectors (rows, dimension)."""

    ids: Sequence[str]
    numbers: Sequence[int]
    """The journal's number of the text that each vector was made of."""
    vectors: Vectors
    metadata: Sequence[Mapping[str, Any]]

    def __len__(self) -> int:
        return len(self.ids)


class Hit(NamedTuple):
    """One document that a search found."""

    id: str
    number: int
    score: float
    """Cosine, −1 to 1."""


class Store(Protocol):
    """A place with tables. Thread-safe.

    A caller may repeat any write. A write that raised may be in the table in part. Methods raise StoreUnavailable if
    the store cannot be reached (try again), StoreFull if it takes no more data, StoreDamaged if a table cannot be read.
    """

    @property
    def kind(self) -> str:
        """`lancedb`, `pgvector`, `qdrant`."""

    @property
    def largest_dimension(self) -> int | None:
        """Largest dimension that the store can index; None for any."""

    def require_answering(self) -> None:
        """Raise StoreUnavailable at once if the store is known not to answer."""

    def create(self, table: Table) -> None:
        """Create the table if it does not exist."""

    def upsert(self, table: Table, rows: VectorRows) -> None:
        """Insert rows, or replace those with the same ids. `rows` has no id twice.

        Raises RowsRefused with the ids of rows that the store never takes; the other rows are written.
        """

    def delete(self, table: Table, ids: Sequence[str]) -> None:
        """Delete rows. Unknown ids are ignored."""

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
        """Return the `k` rows nearest to the unit vector `query` that meet `where`, best first.

        `exact` scores every row; otherwise the store may use its approximate index. `coarse` is a funnel: the store
        takes that many rows by the coarse vectors, and of these the `k` nearest. A query of the coarse dimension is
        compared with the coarse vectors alone.
        """

    def vectors(self, table: Table, ids: Sequence[str]) -> dict[str, tuple[int, Vectors]]:
        """Return id → (number, vector) of the rows that exist."""

    def committed_ids(self, table: Table) -> Iterator[tuple[str, int]]:
        """Yield (id, number) of every row, in any order."""

    def count(self, table: Table) -> int:
        """Return the number of rows."""

    def bytes(self, table: Table) -> int:
        """Return the table's size on disk in bytes."""

    def optimize(self, table: Table) -> None:
        """Compact the table, drop old versions, and build or extend the vector index if the table is large enough.

        It can take minutes."""

    def indexed(self, table: Table) -> bool:
        """Return whether searches use an approximate index."""

    def drop(self, table: Table) -> None:
        """Remove the table if it exists. Raises Refused if other objects in the database depend on it."""

    def publish_alias(self, name: str, table: Table | None, owner: str) -> None:
        """Point the alias `name` at this table, for other programs that read the store; None removes the alias.

        `owner` is the prefix of the index's table names. Raises InvalidInput if `name` exists and belongs to another
        owner; with None such a name stays as it is.
        """

    def remove(self, name: str, tables: Sequence[Table], owner: str) -> None:
        """Remove an index's tables and its alias. Raises Refused, and removes nothing, if others depend on them."""

    def flush(self, table: Table) -> None:
        """Put all that was written on disk, so that it outlives a crash of the machine."""

    def close(self) -> None:
        """Close connections and free memory."""


def cut(vectors: Vectors, dimension: int) -> Vectors:
    """Return the first `dimension` values of each vector (…, dimension), normalised."""
    part = vectors[..., :dimension]
    result: Vectors = part / np.maximum(np.linalg.norm(part, axis=-1, keepdims=True), 1e-12)
    return result


def column_of(table: Table, query: Vectors) -> str:
    """Return the column that a query is compared with: its length decides."""
    return "coarse" if len(query) == table.coarse else "vector"
