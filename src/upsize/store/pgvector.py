"""PostgreSQL with pgvector: one table for each generation, and a view of the index's name on the one in use."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import psycopg
from psycopg import sql

from upsize.errors import InvalidInput
from upsize.store.base import EXACT_BELOW, FEW_MATCHES, Hit, Table, VectorRows, Vectors, column_of, cut
from upsize.store.filters import Filter
from upsize.store.pg_connections import Connection, Connections
from upsize.store.pg_filters import to_jsonb, where_clause
from upsize.store.pg_view import dependents, replace_view

T = TypeVar("T")

HALF_FROM, LARGEST = 2000, 4000
"""pgvector's HNSW takes up to 2,000 dimensions of `vector` and 4,000 of `halfvec`."""
PATIENCE = 30.0
"""Seconds for which a write is retried while the server does not answer. Chosen."""
SEARCH, EXACT, READ, WRITE = 10.0, 60.0, 30.0, 30.0
"""Seconds that a statement may take: an approximate search, an exact search, another read, a write. Chosen. Building an
index and VACUUM have no limit."""
EF_SEARCH = 200
LIST, TRUSTED = 1000, 500
"""A filtered search by the index keeps LIST candidates and uses the TRUSTED nearest of them. If fewer than k of these
meet the filter, the matching rows are far from the query, where the index finds few of them and in no order."""
SCANNED_BYTES = 1 << 30
"""Bytes of vectors of a table up to which such a search scans every row: 0.3 s at 64 MB, measured."""
TIMES, SCANNED, MEMORY = 10, range(5_000, 50_000), 8
"""In a larger table the index scan goes on. It reads TIMES times the rows among which k would meet the filter if the
filter were independent of nearness, within SCANNED, in MEMORY times work_mem. If that finds fewer than k rows, the
search scans every row."""
WRITTEN, DELETED = 256, 5000
"""Rows of one transaction of writes and of deletes. Chosen: an index of millions takes them in a few seconds."""


class PgvectorStore:
    """Tables in one database. See Store."""

    kind = "pgvector"
    largest_dimension = LARGEST

    def __init__(
        self,
        dsn: str,
        patience: float | None = None,
        exact_below: int = EXACT_BELOW,
        *,
        environment_password: bool = True,
    ) -> None:
        """`environment_password` says whether PGPASSWORD may be sent to this server."""
        self.exact_below = exact_below
        try:
            conninfo = psycopg.conninfo.conninfo_to_dict(dsn)
        except psycopg.Error as error:
            raise InvalidInput(
                f"The address of PostgreSQL cannot be read: {str(error).strip()}.", param="store"
            ) from None
        if not environment_password and not conninfo.get("password"):
            dsn = psycopg.conninfo.make_conninfo(dsn, password="")  # libpq then looks into ~/.pgpass alone
        self._connections = Connections(dsn, PATIENCE if patience is None else patience)
        self._indexed: dict[str, bool] = {}
        self._read(lambda c: c.execute("SELECT 1"))

    def _read(self, work: Callable[[Connection], T], seconds: float = READ) -> T:
        return self._connections.run(work, "read", seconds)

    def _write(self, work: Callable[[Connection], T]) -> T:
        return self._connections.run(work, "write", WRITE, patient=True)

    def _long(self, work: Callable[[Connection], T]) -> T:
        return self._connections.run(work, "long", None)

    def require_answering(self) -> None:  # noqa: D102 (Store's)
        self._connections.breaker.require_answering()

    def create(self, table: Table) -> None:  # noqa: D102
        if table.dimension > LARGEST:
            raise InvalidInput(
                f"PostgreSQL indexes vectors of up to {HALF_FROM:,} dimensions (vector) or {LARGEST:,} (halfvec), and "
                f"these have {table.dimension:,}. Use --dim {LARGEST} or less.",
                param="dimensions",
            )
        coarse = sql.SQL(", coarse vector({})").format(sql.Literal(table.coarse)) if table.coarse else sql.SQL("")
        make = sql.SQL(
            "CREATE TABLE IF NOT EXISTS {} (id text PRIMARY KEY, number bigint NOT NULL, vector vector({}) NOT NULL, "
            "metadata jsonb NOT NULL{})"
        ).format(_name(table), sql.Literal(table.dimension), coarse)
        self._write(lambda c: c.execute(make))

    def upsert(self, table: Table, rows: VectorRows) -> None:
        """Write in transactions of WRITTEN rows: COPY into a temporary table, then INSERT from it."""
        columns = ["id", "number", "vector", "metadata", *(["coarse"] if table.coarse else [])]
        names = sql.SQL(", ").join(map(sql.Identifier, columns))
        replace = sql.SQL(", ").join(sql.SQL("{0} = excluded.{0}").format(sql.Identifier(c)) for c in columns[1:])
        coarse = cut(rows.vectors, table.coarse) if table.coarse else None
        make = sql.SQL("CREATE TEMP TABLE coming (LIKE {}) ON COMMIT DROP").format(_name(table))
        fill = sql.SQL("COPY coming ({}) FROM STDIN WITH (FORMAT BINARY)").format(names)
        place = sql.SQL("INSERT INTO {} ({}) SELECT {} FROM coming ON CONFLICT (id) DO UPDATE SET {}").format(
            _name(table), names, names, replace
        )

        def put(c: Connection, some: range) -> None:
            with c.transaction():
                c.execute(make)
                with c.cursor().copy(fill) as copy:
                    copy.set_types(["text", "int8", "vector", "jsonb", *(["vector"] if coarse is not None else [])])
                    for i in some:
                        row = [rows.ids[i], rows.numbers[i], rows.vectors[i], to_jsonb(rows.metadata[i])]
                        copy.write_row(row if coarse is None else [*row, coarse[i]])
                c.execute(place)

        for first in range(0, len(rows), WRITTEN):
            some = range(first, min(first + WRITTEN, len(rows)))
            self._write(lambda c, some=some: put(c, some))  # type: ignore[misc]

    def delete(self, table: Table, ids: Sequence[str]) -> None:  # noqa: D102
        remove = sql.SQL("DELETE FROM {} WHERE id = ANY(%s)").format(_name(table))
        for first in range(0, len(ids), DELETED):
            some = list(ids[first : first + DELETED])
            self._write(lambda c, some=some: c.execute(remove, [some]))  # type: ignore[misc]

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
        conditions, values = where_clause(where)
        column = column_of(table, query)
        if coarse is not None and table.coarse:
            ask = sql.SQL(
                "SELECT id, number, -(vector <#> %s) AS score FROM "
                "(SELECT * FROM {} {} ORDER BY coarse <#> %s LIMIT %s) AS candidates ORDER BY score DESC LIMIT %s"
            ).format(_name(table), conditions)
            arguments = [query, *values, cut(query, table.coarse), max(coarse, k), k]
            return self._read(lambda c: [Hit(*row) for row in c.execute(ask, arguments)], EXACT if exact else SEARCH)
        # A sum is in no index of vectors, whatever the planner's settings are.
        every = sql.SQL("({} <#> {}) + 0").format(sql.Identifier(column), sql.Placeholder())

        def scan(c: Connection) -> list[Hit]:
            return self._nearest(c, table, column, every, query, k, conditions, values)

        if exact or column == "coarse" or not self.indexed(table):
            return self._read(scan, EXACT if exact else SEARCH)

        def find(c: Connection) -> list[Hit]:
            with c.transaction():
                if not where:
                    return self._by_index(c, table, query, k, conditions, values, SCANNED.stop)
                if (rows := self._rows_if_many_meet(c, table, conditions, values)) is not None:
                    hits = self._among_nearest(c, table, query, k, conditions, values)
                    if len(hits) < k and 4 * table.dimension * rows > SCANNED_BYTES:
                        scanned = min(max(int(TIMES * k * rows / FEW_MATCHES), SCANNED.start), SCANNED.stop)
                        hits = self._by_index(c, table, query, k, conditions, values, scanned)
                    if len(hits) == k:
                        return hits
                return scan(c)

        return self._read(find, SEARCH)

    def _rows_if_many_meet(
        self, c: Connection, table: Table, conditions: sql.Composed, values: list[Any]
    ) -> float | None:
        """Estimate the rows of the table; None if at most FEW_MATCHES rows meet the conditions.

        Scoring so few rows one by one is cheap, and the vector index misses most of them.
        """
        ask = sql.SQL(
            "SELECT count(*), (SELECT reltuples FROM pg_class WHERE oid = to_regclass({})) "
            "FROM (SELECT 1 FROM {} {} LIMIT {}) AS met"
        ).format(sql.Literal(f'"{table.name}"'), _name(table), conditions, sql.Literal(FEW_MATCHES + 1))
        row = c.execute(ask, values).fetchone()
        assert row is not None  # it is one count
        met, rows = row
        return None if met <= FEW_MATCHES else float(rows)

    def _among_nearest(
        self, c: Connection, table: Table, query: Vectors, k: int, conditions: sql.Composed, values: list[Any]
    ) -> list[Hit]:
        """Up to k rows that meet the conditions, among the TRUSTED nearest of all."""
        _set(c, {"hnsw.ef_search": LIST, "hnsw.iterative_scan": "off"})
        ask = sql.SQL(
            "SELECT id, number, -(vector <#> %s) FROM (SELECT id, number, vector, metadata, {} AS nearness FROM {} "
            "ORDER BY nearness LIMIT {}) AS nearest {} ORDER BY nearness LIMIT %s"
        ).format(_nearness(table), _name(table), sql.Literal(TRUSTED), conditions)
        return [Hit(*row) for row in c.execute(ask, [query, query, *values, k])]

    def _by_index(
        self,
        c: Connection,
        table: Table,
        query: Vectors,
        k: int,
        conditions: sql.Composed,
        values: list[Any],
        scanned: int,
    ) -> list[Hit]:
        settings: dict[str, str | int] = {
            "hnsw.ef_search": min(max(EF_SEARCH, k), 1000),
            "hnsw.iterative_scan": "strict_order",
            "hnsw.max_scan_tuples": scanned,
            "hnsw.scan_mem_multiplier": MEMORY,
        }
        _set(c, settings)
        return self._nearest(c, table, "vector", _nearness(table), query, k, conditions, values)

    def _nearest(
        self,
        c: Connection,
        table: Table,
        column: str,
        nearness: sql.Composed,
        query: Vectors,
        k: int,
        conditions: sql.Composed,
        values: list[Any],
    ) -> list[Hit]:
        ask = sql.SQL("SELECT id, number, -({} <#> %s) FROM {} {} ORDER BY {} LIMIT %s").format(
            sql.Identifier(column), _name(table), conditions, nearness
        )
        return [Hit(*row) for row in c.execute(ask, [query, *values, query, k])]

    def vectors(self, table: Table, ids: Sequence[str]) -> dict[str, tuple[int, Vectors]]:  # noqa: D102
        ask = sql.SQL("SELECT id, number, vector FROM {} WHERE id = ANY(%s)").format(_name(table))
        rows = self._read(lambda c: c.execute(ask, [list(ids)]).fetchall())
        return {id: (number, _array(vector)) for id, number, vector in rows}

    def committed_ids(self, table: Table) -> Iterator[tuple[str, int]]:  # noqa: D102
        ask = sql.SQL("SELECT id, number FROM {}").format(_name(table))
        yield from self._long(lambda c: c.execute(ask).fetchall())

    def count(self, table: Table) -> int:  # noqa: D102
        return int(self._one(sql.SQL("SELECT count(*) FROM {}").format(_name(table))))

    def bytes(self, table: Table) -> int:  # noqa: D102
        name = f'"{table.name}"'
        return int(self._one(sql.SQL("SELECT pg_total_relation_size({}::regclass)").format(sql.Literal(name))))

    def optimize(self, table: Table) -> None:  # noqa: D102
        if self.count(table) >= self.exact_below:
            half = table.dimension > HALF_FROM
            vector = sql.SQL("(vector::halfvec({}))" if half else "vector").format(sql.Literal(table.dimension))
            near = sql.SQL("hnsw ({} {})").format(vector, sql.SQL("halfvec_ip_ops" if half else "vector_ip_ops"))
            self._build(table, f"{table.name}_meta", sql.SQL("gin (metadata jsonb_path_ops)"))
            self._build(table, f"{table.name}_near", near)
        self._long(lambda c: c.execute(sql.SQL("VACUUM (ANALYZE) {}").format(_name(table))))
        self._indexed.pop(table.name, None)

    def _build(self, table: Table, name: str, using: sql.Composable) -> None:
        if self._valid(name):
            return
        remove = sql.SQL("DROP INDEX IF EXISTS {}").format(
            sql.Identifier(name)
        )  # an interrupted build leaves an invalid index
        build = sql.SQL("CREATE INDEX CONCURRENTLY {} ON {} USING {}").format(sql.Identifier(name), _name(table), using)
        self._long(lambda c: (c.execute(remove), c.execute(build)))

    def _valid(self, index: str) -> bool:
        ask = sql.SQL(
            "SELECT count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
            "WHERE c.oid = to_regclass({}) AND i.indisvalid"
        ).format(sql.Literal(f'"{index}"'))
        return bool(self._one(ask))

    def indexed(self, table: Table) -> bool:  # noqa: D102
        if table.name not in self._indexed:
            self._indexed[table.name] = self._valid(f"{table.name}_near")
        return self._indexed[table.name]

    def drop(self, table: Table) -> None:  # noqa: D102
        self._indexed.pop(table.name, None)
        self._write(lambda c: self._drop(c, table))

    def _drop(self, c: Connection, table: Table) -> None:
        try:
            c.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(_name(table)))
        except psycopg.errors.DependentObjectsStillExist as error:
            raise dependents(self._connections.where, f"the table {table.name!r}", error) from None

    def publish_alias(self, name: str, table: Table | None, owner: str) -> None:
        """Create or replace a view of that name, so that other programs follow a switch without a change.

        Its grants and the objects that depend on it stay. Raises InvalidInput if the name belongs to something else,
        and Refused if the view is to be removed and other objects depend on it.
        """
        self._write(lambda c: replace_view(c, name, table, owner, self._connections.where))

    def remove(self, name: str, tables: Sequence[Table], owner: str) -> None:
        """Remove the view and the tables in one transaction."""

        def remove(c: Connection) -> None:
            with c.transaction():
                replace_view(c, name, None, owner, self._connections.where)
                for table in tables:
                    self._drop(c, table)

        self._write(remove)
        for table in tables:
            self._indexed.pop(table.name, None)

    def flush(self, table: Table) -> None:
        """Do nothing: what PostgreSQL has committed is on disk."""

    def close(self) -> None:
        """Close the connections; statements in flight are cancelled."""
        self._connections.close()

    def _one(self, ask: sql.Composed) -> Any:
        row = self._read(lambda c: c.execute(ask).fetchone())
        assert row is not None
        return row[0]


def _set(c: Connection, settings: Mapping[str, str | int]) -> None:
    """Set parameters for the current transaction."""
    for name, value in settings.items():
        c.execute(sql.SQL("SET LOCAL {} = {}").format(sql.SQL(name), sql.Literal(value)))


def _name(table: Table) -> sql.Identifier:
    return sql.Identifier(table.name)


def _nearness(table: Table) -> sql.Composed:
    """The distance expression of the index, so that the planner uses the index."""
    if table.dimension <= HALF_FROM:
        return sql.SQL("vector <#> {}").format(sql.Placeholder())
    width = sql.Literal(table.dimension)
    return sql.SQL("vector::halfvec({}) <#> {}::halfvec({})").format(width, sql.Placeholder(), width)


def _array(vector: Any) -> Vectors:
    return np.asarray(vector.to_numpy() if hasattr(vector, "to_numpy") else vector, np.float32)
