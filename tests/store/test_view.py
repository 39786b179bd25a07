"""The view of an index's name in PostgreSQL: replaced in place, with its grants and what depends on it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg
import pytest

from upsize.errors import InvalidInput, Refused
from upsize.store import Table, VectorRows
from upsize.store.pg_view import OURS
from upsize.store.pgvector import PgvectorStore

OWNER = "upsize_viewed_k_"
SMALL, LARGE = Table(f"{OWNER}g1", 4), Table(f"{OWNER}g2", 8, 4)


@pytest.fixture
def store(postgres: str) -> Iterator[PgvectorStore]:
    opened = PgvectorStore(postgres)
    for place, table in enumerate((SMALL, LARGE)):
        opened.create(table)
        vectors = np.eye(table.dimension, dtype=np.float32)[: 2 + place]
        opened.upsert(table, VectorRows([f"d{i}" for i in range(len(vectors))], range(len(vectors)), vectors, [{}] * 3))
    yield opened
    with psycopg.connect(postgres, autocommit=True) as c:
        c.execute("DROP VIEW IF EXISTS viewed CASCADE")
        c.execute("DROP ROLE IF EXISTS a_reader")
    for table in (SMALL, LARGE):
        opened.drop(table)
    opened.close()


@pytest.fixture
def sql(postgres: str, store: PgvectorStore) -> Iterator[Any]:
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("CREATE ROLE a_reader")
        yield lambda text: connection.execute(text).fetchall()
        connection.execute("DROP VIEW IF EXISTS viewed CASCADE")
        connection.execute("DROP OWNED BY a_reader")


def run(sql: Any, text: str) -> None:
    with pytest.raises(psycopg.ProgrammingError, match="didn't produce records"):
        sql(text)


def widths(sql: Any, view: str = "viewed") -> list[tuple[int, int]]:
    """(dimension, rows)."""
    result: list[tuple[int, int]] = sql(f"SELECT vector_dims(vector), count(*) FROM {view} GROUP BY 1")
    return result


def share(sql: Any) -> None:
    """What others make of a view: grants, and views on it."""
    run(sql, "GRANT SELECT ON viewed TO a_reader WITH GRANT OPTION")
    run(sql, "GRANT SELECT ON viewed TO PUBLIC")
    run(sql, "GRANT UPDATE (metadata) ON viewed TO a_reader")
    run(sql, "CREATE VIEW on_it AS SELECT id, vector FROM viewed")
    run(sql, "CREATE VIEW on_both AS SELECT on_it.id, on_it.vector FROM on_it JOIN viewed USING (id)")
    run(sql, "COMMENT ON VIEW on_it IS 'somebody''s'")
    run(sql, "GRANT SELECT ON on_it TO a_reader")


def grants(sql: Any) -> list[Any]:
    of_views = "SELECT relname, relacl::text FROM pg_class WHERE relname IN ('viewed', 'on_it', 'on_both') ORDER BY 1"
    of_columns = "SELECT attname, attacl::text FROM pg_attribute WHERE attrelid = 'viewed'::regclass AND attnum = 4"
    return [*sql(of_views), *sql(of_columns)]


def test_a_switch_keeps_grants_and_what_depends_on_the_view(store: PgvectorStore, sql: Any) -> None:
    store.publish_alias("viewed", SMALL, OWNER)
    share(sql)
    run(sql, "ALTER VIEW viewed SET (security_barrier = true)")
    before = grants(sql)
    for table, expected in ((LARGE, (8, 3)), (SMALL, (4, 2)), (LARGE, (8, 3))):
        store.publish_alias("viewed", table, OWNER)
        for view in ("viewed", "on_it", "on_both"):
            assert widths(sql, view) == [expected]
    assert grants(sql) == before
    assert sql("SELECT reloptions FROM pg_class WHERE relname = 'viewed'") == [(["security_barrier=true"],)]
    assert sql("SELECT vector_dims(coarse) FROM viewed LIMIT 1") == [(4,)]


def test_a_view_with_somebodys_comment_follows_the_switch_and_keeps_it(store: PgvectorStore, sql: Any) -> None:
    store.publish_alias("viewed", SMALL, OWNER)
    run(sql, "COMMENT ON VIEW viewed IS 'of the search team'")
    store.publish_alias("viewed", LARGE, OWNER)
    assert widths(sql) == [(8, 3)]
    assert sql("SELECT obj_description('viewed'::regclass)") == [("of the search team",)]
    with pytest.raises(InvalidInput, match="not this index's"):
        store.publish_alias("viewed", SMALL, "upsize_viewed_other_")
    store.remove("viewed", [SMALL, LARGE], OWNER)
    assert sql("SELECT to_regclass('viewed')") == [(None,)]


def test_a_view_of_an_earlier_version_is_made_anew_with_all_that_hung_on_it(store: PgvectorStore, sql: Any) -> None:
    run(sql, f'CREATE VIEW viewed AS SELECT * FROM "{SMALL.name}"')
    run(sql, f"COMMENT ON VIEW viewed IS '{OURS} {OWNER}'")
    share(sql)
    before = grants(sql)
    store.publish_alias("viewed", LARGE, OWNER)
    for view in ("viewed", "on_it", "on_both"):
        assert widths(sql, view) == [(8, 3)]
    assert grants(sql) == before
    assert sql("SELECT obj_description('on_it'::regclass)") == [("somebody's",)]
    store.publish_alias("viewed", SMALL, OWNER)
    assert widths(sql, "on_both") == [(4, 2)]


def test_what_cannot_be_made_anew_stays_as_it_was(store: PgvectorStore, sql: Any) -> None:
    run(sql, f'CREATE VIEW viewed AS SELECT * FROM "{SMALL.name}"')
    run(sql, f"COMMENT ON VIEW viewed IS '{OURS} {OWNER}'")
    share(sql)
    run(sql, "CREATE MATERIALIZED VIEW kept AS SELECT id FROM on_it")
    before = grants(sql)
    with pytest.raises(Refused, match="materialized view kept depends on view on_it"):
        store.publish_alias("viewed", LARGE, OWNER)
    assert grants(sql) == before
    assert widths(sql, "on_both") == [(4, 2)]


def test_an_index_is_removed_as_a_whole_or_not_at_all(store: PgvectorStore, sql: Any) -> None:
    store.publish_alias("viewed", SMALL, OWNER)
    run(sql, "CREATE VIEW on_it AS SELECT id FROM viewed")
    with pytest.raises(Refused, match=r"the view 'viewed': view on_it depends on view viewed\. Drop them first"):
        store.remove("viewed", [SMALL, LARGE], OWNER)
    run(sql, "DROP VIEW on_it")
    run(sql, f'CREATE VIEW on_table AS SELECT id FROM "{LARGE.name}"')
    with pytest.raises(Refused, match="view on_table depends on table upsize_viewed_k_g2"):
        store.remove("viewed", [SMALL, LARGE], OWNER)
    with pytest.raises(Refused, match="view on_table depends"):
        store.drop(LARGE)
    assert widths(sql) == [(4, 2)]
    assert store.count(LARGE) == 3
    run(sql, "DROP VIEW on_table")
    store.remove("viewed", [SMALL, LARGE], OWNER)
    store.remove("viewed", [SMALL, LARGE], OWNER)
    left = sql("SELECT count(*) FROM pg_class WHERE relname LIKE 'upsize_viewed%' OR relname = 'viewed'")
    assert left == [(0,)]


def test_the_view_of_another_is_left_alone(store: PgvectorStore, sql: Any) -> None:
    store.publish_alias("viewed", SMALL, "upsize_viewed_other_")
    with pytest.raises(InvalidInput, match="'viewed' that is not this index's"):
        store.publish_alias("viewed", LARGE, OWNER)
    store.remove("viewed", [LARGE], OWNER)
    assert widths(sql) == [(4, 2)]
    store.create(LARGE)
    assert store.count(LARGE) == 0
