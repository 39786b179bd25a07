"""A switch over HTTP as a database's other users see it: their grants, views and comments on the index's view."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from tests.index.conftest import TEXTS
from tests.postgres import database
from tests.server.live import live
from upsize import demo
from upsize.server import parse_allowed

INDEX = "/v1/indexes/viewed"
SHARED = (
    "GRANT SELECT ON viewed TO reader",
    "GRANT SELECT ON viewed TO partner WITH GRANT OPTION",
    "GRANT SELECT (id, metadata) ON viewed TO clerk",
    "COMMENT ON VIEW viewed IS 'of the search team'",
    "COMMENT ON COLUMN viewed.id IS 'the key'",
    "ALTER VIEW viewed SET (security_barrier = true)",
    "GRANT CREATE ON SCHEMA public TO partner",
    "SET ROLE partner",
    "CREATE VIEW on_it AS SELECT id, vector FROM viewed",
    "CREATE VIEW widths AS SELECT id, vector_dims(vector) AS width FROM on_it",
    "GRANT SELECT ON widths TO reader",
    "COMMENT ON VIEW on_it IS 'a partner''s'",
    "RESET ROLE",
)
"""What others do with a view that is there."""
KEPT = (
    "SELECT relname, relacl::text, reloptions, obj_description(oid, 'pg_class') FROM pg_class "
    "WHERE relname IN ('viewed', 'on_it', 'widths') ORDER BY 1",
    "SELECT attname, attacl::text, col_description(attrelid, attnum) FROM pg_attribute "
    "WHERE attrelid = 'viewed'::regclass AND attnum > 0 ORDER BY 1",
)
TABLES = "SELECT relname FROM pg_class WHERE relname LIKE 'upsize%' AND relkind IN ('r', 'v') ORDER BY 1"

Query = Callable[[str], list[Any]]


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with database(tmp_path_factory.mktemp("postgres")) as server:
        yield server.get_uri()


@pytest.fixture(scope="module")
def query(postgres: str) -> Iterator[Query]:
    """A query as the database's superuser."""
    with psycopg.connect(postgres, autocommit=True) as connection:
        for role in ("service", "reader", "partner", "clerk"):
            connection.execute(f"CREATE ROLE {role} LOGIN")
        connection.execute("CREATE EXTENSION vector")
        connection.execute("GRANT CREATE ON SCHEMA public TO service")

        def ask(text: str) -> list[Any]:
            cursor = connection.execute(text)
            return cursor.fetchall() if cursor.description else []

        yield ask


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, postgres: str, query: Query) -> Iterator[httpx.Client]:
    """The service is no superuser, as it should not be."""
    assert query("SELECT 1") == [(1,)]
    address = postgres.replace("//postgres:", "//service:", 1)
    assert address != postgres
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UPSIZE_INDEXES", str(tmp_path_factory.mktemp("indexes")))
        models: dict[str, Path | str] = {size: demo.folder(size) for size in ("demo-xs", "demo-s")}
        with live(models, allowed=parse_allowed((f"pg={address}",), ())) as served:
            yield served


def post(client: httpx.Client, path: str, body: Any = None) -> Any:
    reply = client.post(path, json=body or {})
    assert reply.status_code == 200, reply.text
    return reply.json()


def step(client: httpx.Client, name: str, body: Any = None) -> Any:
    return post(client, f"{INDEX}/move/{name}", body)


def start(client: httpx.Client, model: str) -> None:
    step(client, "start", {"to": model})
    deadline = time.monotonic() + 60
    while not client.get(f"{INDEX}/move").json()["ready"]:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def seen_by(query: Query, role: str, text: str) -> list[Any]:
    query(f"SET ROLE {role}")
    try:
        return query(text)
    finally:
        query("RESET ROLE")


def test_others_see_every_step_of_a_move_and_keep_what_is_theirs(client: httpx.Client, query: Query) -> None:
    post(client, "/v1/indexes", {"name": "viewed", "model": "demo-xs", "store": "pg"})
    documents = [{"id": id, "text": text} for id, text in TEXTS.items()]
    post(client, f"{INDEX}/documents", {"documents": documents})
    for text in SHARED:
        query(text)
    kept = [query(text) for text in KEPT]

    def require(width: int, there: set[str]) -> None:
        expected = {(id, width) for id in there}
        assert set(seen_by(query, "reader", "SELECT id, vector_dims(vector) FROM viewed")) == expected
        assert set(seen_by(query, "reader", "SELECT * FROM widths")) == expected
        assert {row[0] for row in seen_by(query, "clerk", "SELECT id FROM viewed")} == there
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            seen_by(query, "clerk", "SELECT vector FROM viewed")
        assert [query(text) for text in KEPT] == kept
        assert client.get(INDEX).json()["trouble"] is None

    there = set(TEXTS)
    require(64, there)
    start(client, "demo-s")
    require(64, there)
    step(client, "switch")
    require(128, there)
    post(client, f"{INDEX}/documents", {"documents": [{"id": "new", "text": "A new one."}]})
    there |= {"new"}
    require(128, there)
    step(client, "rollback")
    require(64, there)
    post(client, f"{INDEX}/delete", {"ids": ["rain"]})
    there -= {"rain"}
    require(64, there)
    step(client, "switch")
    require(128, there)
    (old, new) = [row[0] for row in query(TABLES)]
    step(client, "finish")
    require(128, there)
    assert [row[0] for row in query(TABLES)] == [new] != [old]

    reply = client.delete(INDEX)
    assert reply.status_code == 409
    assert "view on_it depends on view viewed" in reply.json()["error"]["message"]
    require(128, there)
    query("DROP VIEW widths, on_it")
    assert client.delete(INDEX).status_code == 200
    assert query(TABLES) == []
    assert query("SELECT to_regclass('viewed')") == [(None,)]
