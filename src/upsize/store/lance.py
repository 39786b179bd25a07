"""LanceDB: a folder, no server. One process writes; the lock of the index's journal ensures that."""

from __future__ import annotations

import contextlib
import logging
import re
import shutil
import threading
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import lancedb
import numpy as np
import pyarrow as pa
from lancedb.index import BTree, IvfFlat, IvfRq

from upsize.errors import StoreDamaged, StoreFull, UpsizeError
from upsize.io.atomic import fsync_path
from upsize.store.base import EXACT_BELOW, FEW_MATCHES, Hit, Table, VectorRows, Vectors, column_of, cut
from upsize.store.filters import Filter
from upsize.store.lance_filters import one_of, where_sql
from upsize.store.lance_rows import arrow, matrix, schema
from upsize.store.resident import ROWS, Resident

log = logging.getLogger("upsize.store")

T = TypeVar("T")

ID_INDEX_FROM = 20_000
"""Rows from which a table has an index of ids, so that an upsert does not read all rows."""
KEPT = timedelta(minutes=2)
"""Time that old versions stay: a search in flight may read one."""
SPARE_BYTES, SPARE_SHARE = 256 << 20, 0.05
"""Bytes of the disk to leave free, and the same as a share; the lesser counts. Deletes need space, and so does the rest
of the machine."""
COMPACTED = 4 << 30
"""Bytes that a compaction writes at most before it frees any. Chosen: it copies what changed since the last one."""
RESIDENT_BYTES = 256 << 20
"""Bytes of vectors up to which a table is kept in memory after its first search. Scans of a larger table read files."""
CANDIDATES, TIMES = 500, 4
"""An approximate search takes CANDIDATES rows by short codes, or TIMES times k, and ranks them by whole vectors."""
FILTERED, FILTERED_SHARE = range(2000, 50_000), 0.25
"""With a filter a search takes this share of the matching rows as candidates, within these bounds: if all of them are
far from the query, their codes hardly differ. Measured at 240,000 rows × 384 dimensions: recall@20 is 0.95 or more."""
FEW_BYTES = 16 << 20
"""Bytes of vectors of matching rows up to which a filtered search reads and ranks all of them."""
SCANNED_BYTES = 512 << 20
"""Bytes of vectors of a table up to which a filtered search is an exact scan: 0.2 to 0.6 s at 370 MB, measured."""
PROBES = 0.25
"""Share of the partitions that a search reads."""
FETCH = 1000
"""Ids of one SQL condition."""


class LanceStore:
    """Tables in one folder. See Store."""

    kind = "lancedb"
    largest_dimension = None

    def __init__(self, folder: Path, exact_below: int = EXACT_BELOW) -> None:
        self.folder, self.exact_below = folder, exact_below
        folder.mkdir(parents=True, exist_ok=True)
        self._database = lancedb.connect(folder)
        self._tables: dict[str, Any] = {}
        self._opening = threading.Lock()
        self._writing: dict[str, threading.Lock] = defaultdict(threading.Lock)
        self._indexed: dict[str, bool] = {}
        self._flushed: dict[str, float] = defaultdict(float)
        self._resident: dict[str, Resident | None] = {}

    def require_answering(self) -> None:
        """Do nothing: a folder always answers."""

    def create(self, table: Table) -> None:  # noqa: D102 (Store's)
        def make() -> None:
            if not (self.folder / f"{table.name}.lance").exists():
                self._database.create_table(table.name, schema=schema(table))

        self._guarded(table, make)

    def upsert(self, table: Table, rows: VectorRows) -> None:  # noqa: D102
        if not len(rows):
            return
        self._require_room(2 * rows.vectors.nbytes, f"{len(rows)} rows")
        data = arrow(table, rows)

        def put() -> None:
            merge = self._table(table).merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
            merge.execute(data)

        with self._writing[table.name]:
            self._guarded(table, put)
            if resident := self._resident.get(table.name):
                resident.upsert(rows.ids, rows.numbers, rows.vectors)
                self._bound(table, resident)

    def _require_room(self, wanted: int, what: str) -> None:
        disk = shutil.disk_usage(self.folder)
        spare = min(SPARE_BYTES, int(SPARE_SHARE * disk.total))
        if disk.free < wanted + spare:
            raise StoreFull(
                str(self.folder), f"{disk.free:,} bytes free, {wanted + spare:,} needed for {what} and as a reserve"
            )

    def delete(self, table: Table, ids: Sequence[str]) -> None:  # noqa: D102
        for first in range(0, len(ids), FETCH):
            where = one_of("id", ids[first : first + FETCH])
            with self._writing[table.name]:
                self._guarded(table, lambda where=where: self._table(table).delete(where))  # type: ignore[misc]
                if resident := self._resident.get(table.name):
                    resident.delete(ids[first : first + FETCH])

    def search(  # noqa: D102
        self,
        table: Table,
        query: Vectors,
        k: int,
        *,
        where: Filter = (),
        exact: bool = False,
        coarse: int | None = None,
    ) -> list[Hit]:
        if not where and (exact or not self.indexed(table)) and (resident := self._in_memory(table)):
            return resident.search(query, k, coarse)
        column = column_of(table, query)
        candidates = CANDIDATES
        if where and not exact and self.indexed(table):
            rows, met = self._guarded(table, lambda: self._count_met(table, where))
            few = min(FEW_MATCHES, FEW_BYTES // (4 * table.dimension))
            if met <= few and column == "vector":
                return self._ranked(table, query, k, where, few)
            exact = 4 * len(query) * rows <= SCANNED_BYTES
            if exact and column == "vector":
                coarse = None
            candidates = min(max(int(FILTERED_SHARE * met), FILTERED.start), FILTERED.stop)
        if coarse is not None and table.coarse:
            short, most = cut(query, table.coarse), max(coarse, k)
            found = self._nearest(table, "coarse", short, most, where, exact, candidates, ["vector"])
            vectors = matrix(found["vector"], table.dimension)
            scores = vectors @ query
            order = np.argsort(-scores, kind="stable")[:k].tolist()
            ids, numbers = found["id"].to_pylist(), found["number"].to_pylist()
            return [Hit(ids[i], numbers[i], float(scores[i])) for i in order]
        found = self._nearest(table, column, query, k, where, exact, candidates, [])
        columns = (found[name].to_pylist() for name in ("id", "number", "_distance"))
        return [Hit(i, n, 1 - d) for i, n, d in zip(*columns, strict=True)]

    def _count_met(self, table: Table, where: Filter) -> tuple[int, int]:
        """(rows of the table, rows that meet the filter)."""
        opened = self._table(table)
        return opened.count_rows(), opened.count_rows(where_sql(where))

    def _ranked(self, table: Table, query: Vectors, k: int, where: Filter, few: int) -> list[Hit]:
        """Rank all rows that meet a filter, which are few. The library's scan would read the vectors of all rows."""

        def ask() -> Any:
            wanted = self._table(table).search().where(where_sql(where)).select(["id", "number", "vector"])
            return wanted.limit(2 * few).to_arrow()  # more than there were a moment ago

        found = self._guarded(table, ask)
        scores = matrix(found["vector"], table.dimension) @ query
        order = np.argsort(-scores, kind="stable")[:k]
        best = found.take(pa.array(order))
        rows = zip(best["id"].to_pylist(), best["number"].to_pylist(), scores[order].tolist(), strict=True)
        return [Hit(*row) for row in rows]

    def _in_memory(self, table: Table) -> Resident | None:
        """The table's vectors in memory, read on the first search; None if the table is too large."""
        if table.name in self._resident:
            return self._resident.get(table.name)
        with self._writing[table.name]:
            if table.name not in self._resident:
                self._resident[table.name] = self._read(table)
            return self._resident[table.name]

    def _read(self, table: Table) -> Resident | None:
        if 4 * table.dimension * self.count(table) > RESIDENT_BYTES:
            return None

        def ask() -> Any:
            opened = self._table(table)
            columns = ["id", "number", "vector"]
            return opened.search().select(columns).limit(max(opened.count_rows(), 1)).to_arrow()

        found = self._guarded(table, ask)
        ids, numbers = found["id"].to_pylist(), found["number"].to_pylist()
        vectors, resident = matrix(found["vector"], table.dimension), Resident(table)
        for first in range(0, len(ids), ROWS):
            last = first + ROWS
            resident.upsert(ids[first:last], numbers[first:last], vectors[first:last])
        return resident

    def _bound(self, table: Table, resident: Resident) -> None:
        """Drop vectors from memory once they exceed RESIDENT_BYTES."""
        if resident.nbytes > RESIDENT_BYTES:
            self._resident[table.name] = None

    def _nearest(
        self,
        table: Table,
        column: str,
        query: Vectors,
        k: int,
        where: Filter,
        exact: bool,
        candidates: int,
        also: list[str],
    ) -> Any:
        def ask() -> Any:
            search = self._table(table).search(query, vector_column_name=column).distance_type("dot").limit(k)
            if where:
                search = search.where(where_sql(where), prefilter=True)
            if exact:
                search = search.bypass_vector_index()
            elif self.indexed(table):
                # What meets a filter may lie in other partitions than those nearest to the query: all are looked into.
                probes = self._partitions(table) if where else self._probes(table)
                search = search.nprobes(probes).refine_factor(max(-(-candidates // k), TIMES))
            return search.select(["id", "number", "_distance", *also]).to_arrow()

        return self._guarded(table, ask)

    def vectors(self, table: Table, ids: Sequence[str]) -> dict[str, tuple[int, Vectors]]:  # noqa: D102
        result: dict[str, tuple[int, Vectors]] = {}
        for first in range(0, len(ids), FETCH):
            where = one_of("id", ids[first : first + FETCH])

            def ask(where: str = where) -> Any:
                columns = ["id", "number", "vector"]
                return self._table(table).search().where(where).select(columns).limit(FETCH).to_arrow()

            found = self._guarded(table, ask)
            rows = zip(found["id"].to_pylist(), found["number"].to_pylist(), strict=True)
            values = matrix(found["vector"], table.dimension)
            result |= {id: (number, values[i]) for i, (id, number) in enumerate(rows)}
        return result

    def committed_ids(self, table: Table) -> Iterator[tuple[str, int]]:  # noqa: D102
        def ask() -> Any:
            opened = self._table(table)
            return opened.search().select(["id", "number"]).limit(max(opened.count_rows(), 1)).to_arrow()

        found = self._guarded(table, ask)
        yield from zip(found["id"].to_pylist(), found["number"].to_pylist(), strict=True)

    def count(self, table: Table) -> int:  # noqa: D102
        return int(self._guarded(table, lambda: self._table(table).count_rows()))

    def bytes(self, table: Table) -> int:  # noqa: D102
        total = 0
        for path in (self.folder / f"{table.name}.lance").rglob("*"):
            with contextlib.suppress(FileNotFoundError):  # an old version, removed meanwhile
                total += path.stat().st_size if path.is_file() else 0
        return total

    def optimize(self, table: Table) -> None:  # noqa: D102
        self._guarded(table, lambda: self._optimize(table))

    def _optimize(self, table: Table) -> None:
        opened = self._table(table)
        rows = opened.count_rows()
        # A compaction that runs out of space leaves what it has written, and the next one does not remove it.
        self._require_room(min(int(opened.stats()["total_bytes"]), COMPACTED), f"the compaction of {table.name}")
        names = {index.name for index in opened.list_indices()}
        if rows >= ID_INDEX_FROM and "id_idx" not in names:
            opened.create_index("id", config=BTree(), name="id_idx")
        if rows >= self.exact_below:
            for column, width in (("vector", table.dimension), ("coarse", table.coarse)):
                if width and f"{column}_idx" not in names:
                    opened.create_index(column, config=_index(rows, width), name=f"{column}_idx")
        with warnings.catch_warnings(), self._writing[table.name]:  # a write meanwhile would undo the compaction
            warnings.simplefilter("ignore", UserWarning)  # that readers elsewhere may lose a version older than KEPT
            opened.optimize(cleanup_older_than=KEPT)
        self._indexed.pop(table.name, None)

    def indexed(self, table: Table) -> bool:  # noqa: D102
        if table.name not in self._indexed:
            names = self._guarded(table, lambda: {i.name for i in self._table(table).list_indices()})
            self._indexed[table.name] = "vector_idx" in names
        return self._indexed[table.name]

    def _probes(self, table: Table) -> int:
        return max(int(PROBES * self._partitions(table)), 20)

    def _partitions(self, table: Table) -> int:
        """An upper bound on the partitions of the index, which was built when the table was no larger."""
        return _partitions(self._table(table).count_rows())

    def drop(self, table: Table) -> None:  # noqa: D102
        with self._writing[table.name], self._opening:
            self._tables.pop(table.name, None)
            self._indexed.pop(table.name, None)
            self._resident.pop(table.name, None)
            self._guarded(table, lambda: self._remove(table))

    def _remove(self, table: Table) -> None:
        """Remove the folder without the library, which fails on a table that it cannot read."""
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.folder / f"{table.name}.lance")

    def publish_alias(self, name: str, table: Table | None, owner: str) -> None:
        """Do nothing: other programs read the table's name from the index's own file."""

    def remove(self, name: str, tables: Sequence[Table], owner: str) -> None:  # noqa: ARG002, D102 (no name to remove)
        for table in tables:
            self.drop(table)

    def flush(self, table: Table) -> None:
        """Call fsync on each file written since the last flush: LanceDB does not."""
        since, self._flushed[table.name] = self._flushed[table.name], time.time()
        for path in sorted((self.folder / f"{table.name}.lance").rglob("*")):
            with contextlib.suppress(FileNotFoundError):  # an old version, removed meanwhile
                if path.stat().st_mtime >= since - 1:
                    fsync_path(path)

    def close(self) -> None:  # noqa: D102
        self._tables.clear()
        self._resident.clear()

    def _table(self, table: Table) -> Any:
        with self._opening:
            if table.name not in self._tables:
                self._tables[table.name] = self._database.open_table(table.name)
            return self._tables[table.name]

    def _guarded(self, table: Table, work: Callable[[], T]) -> T:
        """Translate what LanceDB raises into errors that an index can act on."""
        try:
            return work()
        except UpsizeError:
            raise
        except Exception as error:
            message = str(error)
            if full := _FULL.search(message):
                raise StoreFull(str(self.folder), full[0]) from error
            raise StoreDamaged(str(self.folder / f"{table.name}.lance"), _SOURCE.sub("", message)) from error


_SOURCE = re.compile(r",? ?/\S+\.rs:\d+:\d+")
"""A position in the library's source, which means nothing to a user."""


_FULL = re.compile(r"[\w -]* \(os error (27|28|30|122)\)|No space left on device")
"""Messages of a file size limit, a full disk, a read-only disk and a quota."""


def _partitions(rows: int) -> int:
    return max(int(rows**0.5), 1)


def _index(rows: int, dimension: int) -> IvfRq | IvfFlat:
    """RaBitQ codes (Gao and Long 2024), one bit per value, behind an inverted file of √rows lists. Whole vectors if the
    dimension is not a multiple of 8."""
    kind = IvfFlat if dimension % 8 else IvfRq
    return kind(distance_type="dot", num_partitions=_partitions(rows))
