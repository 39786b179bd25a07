"""What stores refuse, and what others make of their tables: an index says so, and goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.index.conftest import TEXTS, Make
from tests.index.tools import ids, settle, stored, write
from tests.postgres import database
from upsize.errors import Refused, RowsRefused, StoreUnavailable, Unavailable
from upsize.index import Index, Indexes, ModelPool, Setup, VectorSpec
from upsize.index.indexes import WAITING
from upsize.migration import move
from upsize.migration.plan import plan_move
from upsize.store import Store, Table, VectorRows


class Picky:
    """A store that never takes some documents. All else is the store's own."""

    def __init__(self, store: Store, refused: Sequence[str]) -> None:
        self._store, self._refused, self.upserts = store, refused, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def upsert(self, table: Table, rows: VectorRows) -> None:
        self.upserts += 1
        keep = [i for i, id in enumerate(rows.ids) if id not in self._refused]
        self._store.upsert(
            table,
            VectorRows(
                [rows.ids[i] for i in keep],
                [rows.numbers[i] for i in keep],
                rows.vectors[keep],
                [rows.metadata[i] for i in keep],
            ),
        )
        if len(keep) < len(rows):
            raise RowsRefused([id for id in rows.ids if id in self._refused], "Picky takes none of these.")


def picky(index: Index, *refused: str) -> Picky:
    store = Picky(index.store, refused)
    index.store = store  # type: ignore[assignment]
    index.generations._store = store  # type: ignore[assignment]
    return store


def test_a_row_that_the_store_never_takes_is_refused_and_not_tried_for_ever(make: Make) -> None:
    index = make()
    store = picky(index, "moon", "rain")
    write(index, TEXTS)
    settle(index)
    assert sorted(stored(index, "g1")) == sorted(set(TEXTS) - {"moon", "rain"})
    refused, examples = index.documents.refused("g1")
    assert refused == 2
    assert {e["id"]: e["reason"] for e in examples}["moon"] == "Picky takes none of these."
    before = store.upserts
    settle(index)
    assert store.upserts == before
    write(index, {"moon": "A shorter text about the moon."})  # it may be taken as it stands now
    assert store.upserts == before + 1


def test_an_index_on_whose_view_others_depend_is_not_dropped(tmp_path: Path, models: ModelPool, postgres: str) -> None:
    indexes = Indexes(tmp_path, models, background=False)
    write(indexes.create(Setup("relied", VectorSpec("demo-xs"), store=postgres)), TEXTS)
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("CREATE VIEW report AS SELECT id FROM relied")
        with pytest.raises(Refused, match="view report depends on view relied"):
            indexes.drop("relied")
        assert len(ids(indexes.get("relied"), "soup")) == len(TEXTS)
        write(indexes.get("relied"), {"late": "About volcanoes and lava."})
        assert connection.execute("SELECT count(*) FROM report").fetchone() == (len(TEXTS) + 1,)
        connection.execute("DROP VIEW report")
        indexes.drop("relied")
        left = connection.execute("SELECT count(*) FROM pg_class WHERE relname LIKE '%relied%'").fetchone()
    assert left == (0,)
    assert indexes.names() == []


def test_an_index_whose_store_is_away_is_dropped_only_by_force(
    tmp_path: Path, models: ModelPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("upsize.store.pg_connections.BRIEFLY", 0.1)
    monkeypatch.setattr("upsize.store.pgvector.PATIENCE", 0.1)
    monkeypatch.setattr("upsize.store.circuit_breaker.LONGEST_PAUSE", 0.3)
    with database(tmp_path / "own") as server:
        indexes = Indexes(tmp_path / "indexes", models, background=False)
        for name in ("kept", "given_up"):
            write(indexes.create(Setup(name, VectorSpec("demo-xs"), store=server.get_uri())), {"a": "a text"})
        server._stop()
        for _ in range(2):  # while it is open, and when it cannot be opened
            with pytest.raises(Refused, match=r"'kept' was not dropped\. .* --force"):
                indexes.drop("kept")
        indexes.drop("given_up", force=True)
        assert indexes.names() == ["kept"]
        server.ensure_postgres_running()
        indexes.close()
        (tmp_path / "indexes" / "kept" / "journal" / "0000000000000000.log").write_bytes(b"not to be opened" * 9)
        wait_for(lambda: indexes.drop("kept"))
        with psycopg.connect(server.get_uri()) as connection:
            left = connection.execute("SELECT count(*) FROM pg_class WHERE relname LIKE '%kept%'").fetchone()
        assert left == (0,)


def wait_for(work: Callable[[], object]) -> None:
    """Until the store is asked again, some seconds after it was away."""
    end = time.monotonic() + 20
    while True:
        try:
            work()
            return
        except Refused:
            assert time.monotonic() < end
            time.sleep(0.05)


def test_a_generation_on_whose_table_others_depend_goes_once_they_have_gone(make: Make, postgres: str) -> None:
    index = make("leant", store=postgres)
    write(index, TEXTS)
    with psycopg.connect(postgres, autocommit=True) as connection:
        old = index.state.table(index.state.serving).name
        connection.execute(f'CREATE VIEW leaning AS SELECT id FROM "{old}"')
        move.start(index, plan_move(index, VectorSpec("demo-s"), seconds=0.05))
        settle(index)
        move.switch(index)
        move.finish(index)
        assert index.state.active == "g2"
        index.close()
        index = make("leant")  # although it cannot be dropped yet
        assert len(ids(index, "soup")) == len(TEXTS)
        assert connection.execute("SELECT count(*) FROM leaning").fetchone() == (len(TEXTS),)
        connection.execute("DROP VIEW leaning")
        index.close()
        index = make("leant")
        assert connection.execute("SELECT to_regclass(%s)", [f'"{old}"']).fetchone() == (None,)


def test_a_view_that_cannot_be_replaced_keeps_no_generation_from_being_filled(make: Make, postgres: str) -> None:
    index = make("held", store=postgres)
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("DROP VIEW held")
        connection.execute("CREATE VIEW held AS SELECT 1 AS one")
        write(index, TEXTS)
        index.documents.requeue_all("g1")
        with pytest.raises(Exception, match="'held' that is not this index's"):
            index.reconciler.step()
        assert index.documents.backlog_size("g1") == 0
        connection.execute("DROP VIEW held")


def test_few_threads_wait_for_one_index_to_be_opened(
    tmp_path: Path, models: ModelPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    indexes = Indexes(tmp_path, models, background=False)
    write(indexes.create(Setup("slow", VectorSpec("demo-xs"))), TEXTS)
    write(indexes.create(Setup("other", VectorSpec("demo-xs"))), TEXTS)
    indexes.close()
    opening, go_on = threading.Event(), threading.Event()
    made = Index.__init__

    def slowly(self: Index, folder: Path, *rest: Any, **more: Any) -> None:
        if folder.name == "slow":
            opening.set()
            assert go_on.wait(30)
            raise StoreUnavailable("the store", "it is away")
        made(self, folder, *rest, **more)

    monkeypatch.setattr(Index, "__init__", slowly)
    said: list[Exception] = []

    def get() -> None:
        try:
            indexes.get("slow")
        except (StoreUnavailable, Unavailable) as error:
            said.append(error)

    threads = [threading.Thread(target=get) for _ in range(12)]
    for thread in threads:
        thread.start()
    assert opening.wait(30)
    for thread in threads[:]:
        thread.join(0.05)
    assert sum(thread.is_alive() for thread in threads) == WAITING
    assert len(ids(indexes.get("other"), "soup")) == len(TEXTS)
    go_on.set()
    for thread in threads:
        thread.join(30)
    assert sorted(type(error).__name__ for error in said) == ["StoreUnavailable"] * WAITING + ["Unavailable"] * (
        12 - WAITING
    )
    indexes.close()
