"""PostgreSQL with pgvector: a table a generation, and a view of the index's name on the one in use."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, TypeVar

import numpy as np
import psycopg
from pgvector.psycopg import register_vector
from psycopg import sql
from psycopg.types.json import Jsonb

from upsize.errors import InvalidInput, StoreDamaged, StoreFull, StoreUnavailable, UpsizeError
from upsize.store.base import EXACT_BELOW, Hit, Rows, Table, Vectors, column_of, cut
from upsize.store.filters import ORDERED, Condition, Filter, Kind, Scalar, scalars
from upsize.store.numbers import exact

log = logging.getLogger("upsize.store")

T = TypeVar("T")
Connection = psycopg.Connection[Any]

HALF_FROM, LARGEST = 2000, 4000
"""pgvector's HNSW takes up to 2,000 dimensions of `vector` and 4,000 of `halfvec`."""
PATIENCE, BRIEFLY = 30.0, 1.0
"""Seconds for which a write, or a search, is tried again while the server is away."""
AWAY = ("08", "57P")
"""Classes of SQLSTATE that say that the connection or the server is gone, and not that the statement was wrong."""
NEVER = ("authentication failed", "no password supplied", "does not exist")
"""In what the server says to a connection that it will not take tomorrow either."""
LEAST_VERSION = (0, 8)
"""Of pgvector: the first whose approximate searches may be filtered."""
TIMEOUT = 120_000
"""Milliseconds that a statement may take; building an index may take longer."""
EF_SEARCH = 200
OURS = "upsize: the generation that answers, of the index"
"""Comment on a view, and after it the beginning of the index's tables: what has another is another's."""


class PgvectorStore:
    """Tables in one database. See Store."""

    kind = "pgvector"
    largest_dimension = LARGEST

    def __init__(
        self,
        dsn: str,
        patience: float = PATIENCE,
        exact_below: int = EXACT_BELOW,
        *,
        environment_password: bool = True,
    ) -> None:
        """`environment_password`: whether PGPASSWORD may be sent to this server."""
        self._dsn, self._patience, self.exact_below = dsn, patience, exact_below
        try:
            told = psycopg.conninfo.conninfo_to_dict(dsn)
        except psycopg.Error as error:
            raise InvalidInput(
                f"The address of PostgreSQL cannot be read: {str(error).strip()}.", param="store"
            ) from None
        if not environment_password and not told.get("password"):
            self._dsn = psycopg.conninfo.make_conninfo(dsn, password="")  # libpq then looks into ~/.pgpass alone
        self._where = f"{told.get('host', 'localhost')}, database {told.get('dbname', 'default')}"
        self._local = threading.local()
        self._connections: list[Connection] = []
        self._indexed: dict[str, bool] = {}
        self._closed = False
        self._run(lambda c: c.execute("SELECT 1"), patience=BRIEFLY)

    def create(self, table: Table) -> None:  # noqa: D102 (Store's)
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
        self._run(lambda c: c.execute(make))

    def upsert(self, table: Table, rows: Rows) -> None:
        """One transaction: COPY into a temporary table, and from there into place."""
        if not len(rows):
            return
        columns = ["id", "number", "vector", "metadata", *(["coarse"] if table.coarse else [])]
        names = sql.SQL(", ").join(map(sql.Identifier, columns))
        replace = sql.SQL(", ").join(sql.SQL("{0} = excluded.{0}").format(sql.Identifier(c)) for c in columns[1:])
        coarse = cut(rows.vectors, table.coarse) if table.coarse else None

        def put(c: Connection) -> None:
            with c.transaction():
                c.execute(sql.SQL("CREATE TEMP TABLE coming (LIKE {}) ON COMMIT DROP").format(_name(table)))
                with c.cursor().copy(sql.SQL("COPY coming ({}) FROM STDIN WITH (FORMAT BINARY)").format(names)) as copy:
                    copy.set_types(["text", "int8", "vector", "jsonb", *(["vector"] if coarse is not None else [])])
                    for i, id in enumerate(rows.ids):
                        row = [id, rows.numbers[i], rows.vectors[i], _json(scalars(rows.metadata[i]))]
                        copy.write_row(row if coarse is None else [*row, coarse[i]])
                c.execute(
                    sql.SQL("INSERT INTO {} ({}) SELECT {} FROM coming ON CONFLICT (id) DO UPDATE SET {}").format(
                        _name(table), names, names, replace
                    )
                )

        self._run(put)

    def delete(self, table: Table, ids: Sequence[str]) -> None:  # noqa: D102
        remove = sql.SQL("DELETE FROM {} WHERE id = ANY(%s)").format(_name(table))
        self._run(lambda c: c.execute(remove, [list(ids)]))

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
        conditions, values = _where(where)
        column = column_of(table, query)
        if coarse is not None and table.coarse:
            ask = sql.SQL(
                "SELECT id, number, -(vector <#> %s) AS score FROM "
                "(SELECT * FROM {} {} ORDER BY coarse <#> %s LIMIT %s) AS candidates ORDER BY score DESC LIMIT %s"
            ).format(_name(table), conditions)
            arguments = [query, *values, cut(query, table.coarse), max(coarse, k), k]
        else:
            ask = sql.SQL("SELECT id, number, -({} <#> %s) FROM {} {} ORDER BY {} LIMIT %s").format(
                sql.Identifier(column), _name(table), conditions, _nearness(table, column)
            )
            arguments = [query, *values, query, k]

        def find(c: Connection) -> list[Hit]:
            with c.transaction():
                if exact:
                    c.execute("SET LOCAL enable_indexscan = off")
                else:
                    c.execute(
                        sql.SQL("SET LOCAL hnsw.ef_search = {}").format(sql.Literal(min(max(EF_SEARCH, k), 1000)))
                    )
                    c.execute("SET LOCAL hnsw.iterative_scan = strict_order")
                return [Hit(*row) for row in c.execute(ask, arguments)]

        return self._run(find, patience=BRIEFLY)

    def vectors(self, table: Table, ids: Sequence[str]) -> dict[str, tuple[int, Vectors]]:  # noqa: D102
        ask = sql.SQL("SELECT id, number, vector FROM {} WHERE id = ANY(%s)").format(_name(table))
        rows = self._run(lambda c: c.execute(ask, [list(ids)]).fetchall())
        return {id: (number, _array(vector)) for id, number, vector in rows}

    def placed(self, table: Table) -> Iterator[tuple[str, int]]:  # noqa: D102
        ask = sql.SQL("SELECT id, number FROM {}").format(_name(table))
        yield from self._run(lambda c: c.execute(ask).fetchall())

    def count(self, table: Table) -> int:  # noqa: D102
        return int(self._one(sql.SQL("SELECT count(*) FROM {}").format(_name(table))))

    def bytes(self, table: Table) -> int:  # noqa: D102
        name = f'"{table.name}"'
        return int(self._one(sql.SQL("SELECT pg_total_relation_size({}::regclass)").format(sql.Literal(name))))

    def tend(self, table: Table) -> None:  # noqa: D102
        if self.count(table) >= self.exact_below and not self.indexed(table):
            kind = "halfvec" if table.dimension > HALF_FROM else "vector"
            column = sql.SQL("(vector::halfvec({}))" if kind == "halfvec" else "vector").format(
                sql.Literal(table.dimension)
            )
            name = sql.Identifier(f"{table.name}_near")
            remove = sql.SQL("DROP INDEX IF EXISTS {}").format(name)  # what an attempt that was cut short left
            build = sql.SQL("CREATE INDEX CONCURRENTLY {} ON {} USING hnsw ({} {})").format(
                name, _name(table), column, sql.SQL(f"{kind}_ip_ops")
            )
            self._run(lambda c: (c.execute(remove), c.execute(build)), timeout=0)
        self._run(lambda c: c.execute(sql.SQL("VACUUM (ANALYZE) {}").format(_name(table))), timeout=0)
        self._indexed.pop(table.name, None)

    def indexed(self, table: Table) -> bool:  # noqa: D102
        if table.name not in self._indexed:
            ask = sql.SQL(
                "SELECT count(*) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
                "WHERE c.relname = {} AND i.indisvalid"
            ).format(sql.Literal(f"{table.name}_near"))
            self._indexed[table.name] = bool(self._one(ask))
        return self._indexed[table.name]

    def drop(self, table: Table) -> None:  # noqa: D102
        self._indexed.pop(table.name, None)
        self._run(lambda c: c.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(_name(table))))

    def point(self, name: str, table: Table | None, owner: str) -> None:
        """A view of that name: other programs that read the database follow a switch without a change.

        InvalidInput where something of that name is there that is not this index's.
        """
        ours = f"{OURS} {owner}"
        view = sql.Identifier(name)
        ask = sql.SQL("SELECT obj_description(c.oid) FROM pg_class c WHERE c.oid = to_regclass({})").format(
            sql.Literal(f'"{name}"')
        )

        def replace(c: Connection) -> None:
            with c.transaction():
                there = c.execute(ask).fetchone()
                if there and there[0] != ours:
                    raise InvalidInput(
                        f"PostgreSQL ({self._where}) has a table or view {name!r} that is not this index's. Choose "
                        "another name.",
                        param="name",
                    )
                c.execute(sql.SQL("DROP VIEW IF EXISTS {}").format(view))
                if table is not None:
                    c.execute(sql.SQL("CREATE VIEW {} AS SELECT * FROM {}").format(view, _name(table)))
                    c.execute(sql.SQL("COMMENT ON VIEW {} IS {}").format(view, sql.Literal(ours)))

        self._run(replace)

    def flush(self, table: Table) -> None:
        """Nothing to do: what PostgreSQL has committed is on disk."""

    def close(self) -> None:
        """Let go; statements under way are cancelled."""
        self._closed = True
        for connection in list(self._connections):
            with contextlib.suppress(psycopg.Error):
                connection.cancel()
                connection.close()
        self._connections.clear()

    def _one(self, ask: sql.Composed) -> Any:
        row = self._run(lambda c: c.execute(ask).fetchone(), patience=BRIEFLY)
        assert row is not None
        return row[0]

    def _run(self, work: Callable[[Connection], T], timeout: int = TIMEOUT, patience: float | None = None) -> T:
        """Do it on this thread's connection. A server that went away is waited for; all work may be done twice."""
        until, pause = time.monotonic() + (self._patience if patience is None else patience), 0.1
        while True:
            try:
                connection = self._connection()
                if self._local.timeout != timeout:
                    connection.execute(sql.SQL("SET statement_timeout = {}").format(sql.Literal(timeout)))
                    self._local.timeout = timeout
                return work(connection)
            except (psycopg.OperationalError, psycopg.InterfaceError) as error:
                if isinstance(error, psycopg.errors.DiskFull):
                    raise StoreFull(f"PostgreSQL ({self._where})", str(error).strip()) from error
                if error.sqlstate and not error.sqlstate.startswith(AWAY):
                    raise StoreUnavailable(f"PostgreSQL ({self._where})", str(error).strip()) from error
                self._forget()
                if any(told in str(error) for told in NEVER):
                    raise InvalidInput(f"PostgreSQL ({self._where}): {str(error).strip()}", param="store") from None
                if self._closed or time.monotonic() + pause > until:
                    raise StoreUnavailable(f"PostgreSQL ({self._where})", str(error).strip()) from error
                log.warning("PostgreSQL does not answer (%s); trying again", str(error).strip().splitlines()[0])
                time.sleep(pause)
                pause = min(2 * pause, 2.0)
            except UpsizeError:
                raise
            except psycopg.Error as error:
                raise StoreDamaged(f"PostgreSQL ({self._where})", str(error).strip()) from error

    def _connection(self) -> Connection:
        connection: Connection | None = getattr(self._local, "connection", None)
        if connection is None or connection.closed:
            connection = psycopg.connect(self._dsn, autocommit=True, connect_timeout=5)
            if not connection.execute("SELECT 1 FROM pg_extension WHERE extname = 'vector'").fetchone():
                try:
                    connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
                except psycopg.Error as error:
                    raise InvalidInput(
                        f"The database has no extension `vector` and it cannot be made: {str(error).strip()}. "
                        "Install pgvector on the server, or ask its owner for CREATE EXTENSION vector.",
                        param="store",
                    ) from None
            row = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()
            version = tuple(int(part) for part in str(row[0]).split(".")[:2]) if row else ()
            if version < LEAST_VERSION:
                raise InvalidInput(
                    f"PostgreSQL ({self._where}) has pgvector {row[0] if row else '?'}; version "
                    f"{'.'.join(map(str, LEAST_VERSION))} or later is needed: ALTER EXTENSION vector UPDATE.",
                    param="store",
                )
            register_vector(connection)
            self._local.connection, self._local.timeout = connection, None
            self._connections.append(connection)
        return connection

    def _forget(self) -> None:
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._local.connection = None
            if connection in self._connections:
                self._connections.remove(connection)


def _name(table: Table) -> sql.Identifier:
    return sql.Identifier(table.name)


def _nearness(table: Table, column: str) -> sql.Composed:
    """As the index has it, so that it is used."""
    if column == "coarse" or table.dimension <= HALF_FROM:
        return sql.SQL("{} <#> {}").format(sql.Identifier(column), sql.Placeholder())
    width = sql.Literal(table.dimension)
    return sql.SQL("vector::halfvec({}) <#> {}::halfvec({})").format(width, sql.Placeholder(), width)


_SQL = {"ne": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_READ: Mapping[Kind, str] = {
    "string": "metadata->>%s",
    "number": "(metadata->%s)::numeric",
    "boolean": "(metadata->%s)::bool",
}
_ARRAY: Mapping[Kind, str] = {"string": "text", "number": "numeric", "boolean": "bool"}
ALTERNATIVES = 32
"""Values of an `in` up to which each is a containment of its own, which the index on metadata answers."""


def _where(conditions: Filter) -> tuple[sql.Composed, list[Any]]:
    """The clause and its values."""
    parts, values = [], []
    for condition in conditions:
        part, more = _condition(condition)
        parts.append(part)
        values += more
    if not parts:
        return sql.SQL("{}").format(sql.SQL("")), []
    return sql.SQL("WHERE {}").format(sql.SQL(" AND ").join(parts)), values


def _condition(condition: Condition) -> tuple[sql.SQL, list[Any]]:
    """Equality as containment, which an index on metadata answers; the rest by CASE, since AND may look at its right
    side first. jsonb's numbers are decimal, and compared exactly."""
    field, kind, values = condition.field, condition.kind, [_decimal(v) for v in condition.values]
    if condition.operator in ("eq", "in") and len(values) <= ALTERNATIVES:
        within = " OR ".join(["metadata @> %s"] * len(values))
        return sql.SQL(f"({within})"), [_json({field: value}) for value in condition.values]
    read = f'({_READ[kind]}) COLLATE "C"' if kind == "string" and condition.operator in ORDERED else _READ[kind]
    if condition.operator == "in":
        compare, wanted = f"= ANY(%s::{_ARRAY[kind]}[])", values
    else:
        compare, wanted = f"{_SQL[condition.operator]} %s::{_ARRAY[kind]}", values[0]
    text = f"CASE WHEN jsonb_typeof(metadata->%s) = '{kind}' THEN {read} {compare} ELSE false END"
    return sql.SQL(text), [field, field, wanted]


def _decimal(value: Scalar) -> Any:
    """A number as its decimal digits: those of a whole number exactly, of another float the shortest that mean it,
    which are ordered as the floats are."""
    return value if isinstance(value, str | bool) else Decimal(repr(exact(value)))


def _json(metadata: Mapping[str, Scalar]) -> Jsonb:
    return Jsonb({name: v if isinstance(v, str | bool) else exact(v) for name, v in metadata.items()})


def _array(vector: Any) -> Vectors:
    return np.asarray(vector.to_numpy() if hasattr(vector, "to_numpy") else vector, np.float32)
