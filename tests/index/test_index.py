"""An index: what is written is found, what is deleted is not, and nothing that was acknowledged is lost."""

from __future__ import annotations

import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psycopg
import pytest

from tests.index.conftest import QUERIES, TEXTS, Make
from tests.index.tools import ids, require_in_step, settle, stored, write
from tests.postgres import database
from upsize.errors import (
    FingerprintMismatch,
    InvalidInput,
    JournalLocked,
    Refused,
    StoreDamaged,
    StoreUnavailable,
    TextTooLong,
    UnknownIndex,
    UpsizeError,
)
from upsize.index import DocumentWrite, Index, Indexes, ModelPool, SearchRequest, Setup, VectorSpec
from upsize.index.creation import create_index
from upsize.store import parse_filter


def test_what_is_written_is_found_by_meaning(make: Make, store_address: str) -> None:
    index = make(store=store_address)
    write(index, TEXTS)
    right = sum(ids(index, query, 1) == [expected] for query, expected in QUERIES.items())
    assert right >= 5
    answer = index.search(SearchRequest(next(iter(QUERIES)), k=3))
    assert [f.document.text for f in answer.found] == [TEXTS[i] for i in answer.ids]
    scores = [f.score for f in answer.found]
    assert scores == sorted(scores, reverse=True)
    require_in_step(index)


def test_the_score_is_the_cosine_of_the_models_own_vectors(make: Make, models: ModelPool) -> None:
    index = make()
    write(index, TEXTS)
    name = models.embedder("demo-xs", "test")
    query = models.embed_query(name, "onions", 64)
    documents = models.start(name, list(TEXTS.values()), 64).result().values
    expected = dict(zip(TEXTS, documents @ query, strict=True))
    found = index.search(SearchRequest("onions")).found
    assert len(found) == len(TEXTS)
    for one in found:
        assert one.score == pytest.approx(expected[one.document.id], abs=1e-3)  # a batch of other mates, in bfloat16


def test_writing_again_adds_updates_or_leaves_alone(make: Make, store_address: str) -> None:
    index = make(store=store_address)
    first = index.add([DocumentWrite("a", "about cats"), DocumentWrite("b", "about dogs", {"n": 1})])
    assert (first.added, first.updated, first.unchanged) == (2, 0, 0)
    end = index.journal.end
    same = index.add([DocumentWrite("a", "about cats"), DocumentWrite("b", "about dogs", {"n": 1})])
    assert (same.added, same.updated, same.unchanged) == (0, 0, 2)
    assert index.journal.end == end
    changed = index.add([DocumentWrite("a", "about the stock market"), DocumentWrite("b", "about dogs", {"n": 2})])
    assert (changed.added, changed.updated, changed.unchanged) == (0, 2, 0)
    assert ids(index, "shares and bonds", 1) == ["a"]
    assert index.get(["b"])["b"].metadata == {"n": 2}
    assert index.search(SearchRequest("dogs", where=parse_filter({"n": 1}))).ids == []
    require_in_step(index)


def test_what_is_deleted_is_found_no_more(make: Make, store_address: str) -> None:
    index = make(store=store_address)
    write(index, TEXTS)
    assert index.delete(["moon", "nobody", "moon"]) == ["moon"]
    assert index.delete(["moon"]) == []
    assert "moon" not in ids(index, "the moon")
    assert index.get(["moon"]) == {}
    write(index, {"moon": "It is there again: the moon."})
    assert ids(index, "the moon", 1) == ["moon"]
    require_in_step(index)


def test_everything_is_there_after_opening_again(make: Make, store_address: str) -> None:
    index = make("again", store=store_address)
    write(index, TEXTS)
    index.delete(["rain"])
    before = [(f.document.id, f.score) for f in index.search(SearchRequest("soup")).found]
    index.close()
    index = make("again")
    assert [(f.document.id, f.score) for f in index.search(SearchRequest("soup")).found] == before
    assert index.documents.backlog_size("g1") == 0


def test_the_documents_are_made_again_from_the_journal_and_no_vector_is(make: Make) -> None:
    index = make("lost")
    write(index, TEXTS)
    index.delete(["rain"])
    numbers = stored(index, "g1")
    index.close()
    for path in index.folder.glob("documents.sqlite*"):
        path.unlink()
    index = make("lost")
    assert stored(index, "g1") == numbers
    assert index.documents.backlog_size("g1") == 0
    assert index.documents.count() == len(TEXTS) - 1


def test_documents_that_cannot_be_read_are_made_again_too(make: Make) -> None:
    index = make("garbled")
    write(index, TEXTS)
    index.close()
    (index.folder / "documents.sqlite").write_bytes(b"not a database at all, but long enough to be looked at" * 100)
    for suffix in ("-wal", "-shm"):
        (index.folder / f"documents.sqlite{suffix}").unlink(missing_ok=True)
    index = make("garbled")
    assert index.documents.count() == len(TEXTS)
    assert index.documents.backlog_size("g1") == 0


def test_vectors_that_cannot_be_read_are_made_again_on_demand(make: Make) -> None:
    index = make("damaged")
    write(index, TEXTS)
    index.close()
    for path in (index.folder / "vectors").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    index = make("damaged")
    with pytest.raises(StoreDamaged, match="upsize index rebuild"):
        index.search(SearchRequest("soup"))
    assert "error" in index.status()["generations"][0]
    write(index, {"later": "A text that came while the table was damaged, about volcanoes."})
    index.rebuild()
    settle(index)
    assert ids(index, "recipe for onion soup", 1) == ["soup"]
    assert ids(index, "volcanoes", 1) == ["later"]
    require_in_step(index)


def test_vectors_that_are_gone_are_made_again_by_themselves(make: Make) -> None:
    index = make("gone")
    write(index, TEXTS)
    index.documents.mark(closed_cleanly=False)
    folder = index.folder
    index._closed = True
    index.stop_background()
    for part in (index.documents, index.shadows, index.store, index.journal):
        part.close()  # as a crash leaves it: not marked as closed well
    shutil.rmtree(folder / "vectors")
    index = make("gone")
    assert index.documents.backlog_size("g1") == len(TEXTS)
    settle(index)
    assert ids(index, "recipe for onion soup", 1) == ["soup"]


def test_two_processes_may_not_write_one_index(make: Make, models: ModelPool) -> None:
    index = make()
    with pytest.raises(JournalLocked, match="being written by another process"):
        Index(index.folder, models)


@pytest.mark.parametrize(
    ("documents", "told", "place"),
    [
        ([DocumentWrite("a", "x"), DocumentWrite("", "y")], "documents[1].id is an empty string", 1),
        ([DocumentWrite("a", " \n")], "documents[0].text is empty", 0),
        ([DocumentWrite("a" * 600, "x")], "documents[0].id is longer than 512 bytes", 0),
        ([DocumentWrite("a\0", "x")], "holds a NUL", 0),
        ([DocumentWrite("a", "x", {"b": "c\0"})], "documents[0].metadata.'b' holds a NUL", 0),
        ([DocumentWrite("a", "x", {"b": float("inf")})], "documents[0].metadata.b is inf", 0),
        ([DocumentWrite("a", "x", {"b": [1 << 70]})], "more than 64 bits", 0),
        (
            [DocumentWrite("a", "x"), DocumentWrite("b", "y"), DocumentWrite("a", "z")],
            "the id 'a' is that of documents[0] too",
            2,
        ),
    ],
)
def test_a_document_that_cannot_be_written_is_named_and_none_is(
    make: Make, documents: list[DocumentWrite], told: str, place: int
) -> None:
    index = make()
    with pytest.raises(InvalidInput) as caught:
        index.add(documents)
    assert told in str(caught.value)
    assert caught.value.index == place
    assert index.documents.count() == index.journal.end == 0


def test_a_text_that_is_too_long_is_named_by_its_place_among_all(make: Make) -> None:
    index = make(max_length=40)
    write(index, {"short": "a short one"})
    long = "word " * 50
    with pytest.raises(TextTooLong) as caught:
        index.add([DocumentWrite("short", "a short one"), DocumentWrite("fine", "fine"), DocumentWrite("long", long)])
    assert caught.value.index == 2
    assert "documents[2] has 52 tokens and this model takes 40. Its id is 'long'" in str(caught.value)
    assert index.documents.count() == 1
    cutting = make(max_length=40, truncate=True)
    write(cutting, {"long": long})
    assert ids(cutting, "word") == ["long"]


def test_a_vector_comes_with_its_fingerprint_or_not_at_all(make: Make, models: ModelPool) -> None:
    index = make()
    write(index, TEXTS)
    own = index.state.serving.fingerprint
    vector = models.embed_query(models.embedder("demo-xs", "test"), "recipe for onion soup", 64).tolist()
    given = SearchRequest(vector=vector, fingerprint=own.id, k=1)
    assert index.search(given).ids == ids(index, "recipe for onion soup", 1) == ["soup"]
    with pytest.raises(FingerprintMismatch, match=f"comes without a fingerprint.*{own.id} .demo-xs, 64 dimensions"):
        index.search(replace(given, fingerprint=None))
    with pytest.raises(FingerprintMismatch, match="is of the space 0123456789ab"):
        index.search(replace(given, fingerprint="0123456789ab"))
    for wrong in ([], [0.0] * 64, [float("nan")] * 64, vector[:32]):
        with pytest.raises(InvalidInput, match="64 finite numbers"):
            index.search(replace(given, vector=wrong))


def test_a_model_whose_files_changed_is_refused_by_name(
    make: Make, models: ModelPool, embedder_folder: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "model"
    shutil.copytree(embedder_folder, copy)
    index = make("changed", str(copy))
    write(index, {"a": "a text"})
    index.close()
    from tests.checkpoints import EMBEDDER, write_checkpoint

    shutil.rmtree(copy)
    write_checkpoint(copy, replace(EMBEDDER, seed=EMBEDDER.seed + 1))
    index = make("changed")
    with pytest.raises(FingerprintMismatch, match="differ in weights"):
        index.search(SearchRequest("a text"))


def test_coarse_vectors_are_searched_alone_or_as_a_funnel(make: Make, store_address: str) -> None:
    index = make(store=store_address, coarse=32)
    write(index, TEXTS)
    whole = ids(index, "recipe for onion soup", 3)
    assert index.search(SearchRequest("recipe for onion soup", k=3, funnel=6)).ids == whole
    assert index.search(SearchRequest("recipe for onion soup", k=1, dimension=32)).ids == ["soup"]
    with pytest.raises(InvalidInput, match="holds vectors of 64 or 32"):
        index.search(SearchRequest("x", dimension=48))


def test_questions_that_make_no_sense_are_told(make: Make) -> None:
    index = make()
    for question, told in (
        (SearchRequest(), "Give a query's text"),
        (SearchRequest("a", vector=[1.0]), "Give a query's text"),
        (SearchRequest("  "), "The query is empty"),
        (SearchRequest("a", k=0), "k is 0"),
        (SearchRequest("a", k=5000), "k is 5000"),
    ):
        with pytest.raises(InvalidInput, match=told):
            index.search(question)
    assert index.search(SearchRequest("an empty index")).ids == []


def test_popular_documents_are_known(make: Make) -> None:
    index = make()
    write(index, TEXTS)
    for _ in range(3):
        index.search(SearchRequest("recipe for onion soup", k=1))
    index.search(SearchRequest("the moon", k=1, counted=False))
    index.follow_ups.flush()
    index.documents.add_generation("g9")
    assert [d.id for d in index.documents.backlog("g9", 1)] == ["soup"]


def test_a_folder_of_indexes(tmp_path: Path, models: ModelPool) -> None:
    indexes = Indexes(tmp_path, models)
    assert indexes.names() == []
    with pytest.raises(UnknownIndex, match="upsize index create news"):
        indexes.get("news")
    write(indexes.create(Setup("news", VectorSpec("demo-xs"))), TEXTS)
    with pytest.raises(Refused, match="already"):
        indexes.create(Setup("news", VectorSpec("demo-s")))
    for name in ("", "9lives", "a/b", "upsize_x", "x" * 41, ".."):
        with pytest.raises(InvalidInput, match="cannot name an index"):
            indexes.create(Setup(name, VectorSpec("demo-xs")))
    assert indexes.get("news") is indexes.get("news")
    with pytest.raises(UnknownIndex, match="There: news"):
        indexes.get("olds")
    indexes.drop("news")
    assert indexes.names() == []
    assert not (tmp_path / "news").exists()
    indexes.close()


def test_what_does_not_exist_makes_no_index(tmp_path: Path, models: ModelPool) -> None:
    for setup, told in (
        (Setup("a", VectorSpec("no-such-model")), "no-such-model"),
        (Setup("a", VectorSpec("demo-rerank")), "reranker"),
        (Setup("a", VectorSpec("demo-xs", dimension=65)), "from 32 to 64"),
        (Setup("a", VectorSpec("demo-xs", coarse=64)), "less than 64"),
        (Setup("a", VectorSpec("demo-xs"), store="oracle"), "is not known"),
    ):
        with pytest.raises(UpsizeError, match=told):
            create_index(tmp_path / "a", models, setup)
    assert list(tmp_path.iterdir()) == []


def test_vectors_rest_as_they_were_made(make: Make, store_address: str, models: ModelPool) -> None:
    index = make(store=store_address)
    write(index, TEXTS)
    table = index.state.table(index.state.serving)
    made = models.start(models.embedder("demo-xs", "test"), list(TEXTS.values()), 64).result().values
    kept = index.store.vectors(table, list(TEXTS))
    np.testing.assert_allclose(np.stack([kept[id][1] for id in TEXTS]), made, atol=2e-3)


def test_a_vector_that_the_disk_lost_after_an_orderly_close_is_noticed(make: Make) -> None:
    index = make("lost")
    write(index, TEXTS)
    table, store = index.state.table(index.state.serving), index.store
    index.close()
    other = type(store)(index.folder / "vectors")  # type: ignore[call-arg]
    other.delete(table, ["soup"])
    other.close()
    index = make("lost")
    settle(index)
    assert ids(index, "recipe for onion soup", 1) == ["soup"]


def test_rebuilding_while_others_write_loses_nothing(make: Make) -> None:
    index = make(background=True)
    write(index, TEXTS)
    stop = threading.Event()
    failures: list[BaseException] = []

    def writing(seed: int) -> None:
        count = 0
        while not stop.is_set():
            count += 1
            try:
                index.add([DocumentWrite(f"w{seed}.{count % 9}", f"Text {count} of {seed}.")])
                index.delete([f"w{seed}.{(count + 4) % 9}"])
            except BaseException as error:
                failures.append(error)
                return

    threads = [threading.Thread(target=writing, args=(seed,)) for seed in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(4):
        index.rebuild()
        time.sleep(0.05)
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures
    end = time.monotonic() + 20
    while index.documents.backlog_size("g1") or index.documents.tombstones("g1", 1):
        assert time.monotonic() < end
        time.sleep(0.02)
    require_in_step(index)


def test_what_is_not_ours_in_the_database_is_left_alone(tmp_path: Path, models: ModelPool, postgres: str) -> None:
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute('CREATE VIEW "orders" AS SELECT 1 AS one')
        for _ in range(2):
            with pytest.raises(InvalidInput, match="'orders' that is not this index's"):
                create_index(tmp_path / "orders", models, Setup("orders", VectorSpec("demo-xs"), store=postgres))
        assert connection.execute("SELECT one FROM orders").fetchone() == (1,)
    assert not (tmp_path / "orders").exists()


def test_two_indexes_of_one_name_in_one_database_are_one_too_many(
    make: Make, models: ModelPool, tmp_path: Path, postgres: str
) -> None:
    first = make("twin", store=postgres)
    write(first, TEXTS)
    with pytest.raises(InvalidInput, match="'twin' that is not this index's"):
        create_index(tmp_path / "elsewhere", models, Setup("twin", VectorSpec("demo-s"), store=postgres))
    assert not (tmp_path / "elsewhere").exists()
    with psycopg.connect(postgres) as connection:
        row = connection.execute("SELECT count(*) FROM pg_class WHERE relname LIKE 'upsize_twin_%_g1'").fetchone()
    assert row == (1,)
    assert len(ids(first, "soup")) == 6


def test_a_model_that_another_index_uses_stays(tmp_path: Path, models: ModelPool, embedder_folder: Path) -> None:
    indexes = Indexes(tmp_path, models)
    for name in ("one", "other"):
        write(indexes.create(Setup(name, VectorSpec(str(embedder_folder)))), {"a": "a text"})
    indexes.close()
    assert str(embedder_folder) not in models.engine.models
    indexes = Indexes(tmp_path, models)
    for name in ("one", "other"):
        indexes.get(name).search(SearchRequest("a text"))
    indexes.drop("one")
    assert str(embedder_folder) in models.engine.models
    assert indexes.get("other").search(SearchRequest("a text")).ids == ["a"]
    indexes.drop("other")
    assert str(embedder_folder) not in models.engine.models


def test_a_dropped_index_does_not_come_back_with_the_next_of_its_name(tmp_path: Path, models: ModelPool) -> None:
    indexes = Indexes(tmp_path, models)
    write(indexes.create(Setup("news", VectorSpec("demo-xs"))), TEXTS)
    indexes.close()
    (tmp_path / "news" / "index.json").unlink()  # as far as a drop that was cut short may have come
    again = indexes.create(Setup("news", VectorSpec("demo-xs")))
    assert again.documents.count() == again.journal.end == 0
    indexes.close()
    # One that cannot be opened can be dropped.
    (tmp_path / "news" / "journal" / "0000000000000000.log").write_bytes(b"garbage that is long enough to be looked at")
    with pytest.raises(UpsizeError):
        indexes.get("news")
    indexes.drop("news")
    assert indexes.names() == []


def test_indexes_that_cannot_be_opened_keep_nobody_from_the_others(tmp_path: Path, models: ModelPool) -> None:
    indexes = Indexes(tmp_path, models)
    write(indexes.create(Setup("good", VectorSpec("demo-xs"))), TEXTS)
    indexes.create(Setup("bad", VectorSpec("demo-xs")))
    indexes.close()
    (tmp_path / "bad" / "index.json").write_text("{")
    indexes.open_all()
    assert indexes.get("good").documents.count() == 6
    with pytest.raises(UpsizeError, match="is not an index's state"):
        indexes.get("bad")
    indexes.close()


def test_a_disk_that_is_full_for_vectors_keeps_the_write_and_brings_it_in_later(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = make()
    write(index, TEXTS)
    with monkeypatch.context() as patch:
        usage = type("Usage", (), {"total": 10**9, "free": 1000})
        patch.setattr("upsize.store.lance.shutil.disk_usage", lambda _: usage)
        written = index.add([DocumentWrite("late", "About volcanoes and lava.")])
        assert (written.added, written.pending) == (1, 1)
        assert "is full: 1,000 bytes free" in str(index.status()["trouble"])
        assert len(ids(index, "volcanoes")) == 6
    settle(index)
    assert "late" in ids(index, "volcanoes")
    require_in_step(index)


def test_a_database_that_is_away_is_waited_for(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("upsize.store.pg_connections.BRIEFLY", 0.2)
    monkeypatch.setattr("upsize.store.pgvector.PATIENCE", 0.2)
    monkeypatch.setattr("upsize.store.circuit_breaker.LONGEST_PAUSE", 0.3)
    with database(tmp_path / "own") as server:
        dsn = server.get_uri()
        index = make(store=dsn, background=True)
        write(index, TEXTS)
        server._stop()
        with pytest.raises(StoreUnavailable, match="does not answer"):
            index.search(SearchRequest("soup"))
        written = index.add([DocumentWrite("late", "About volcanoes and lava.")])
        assert written.pending == 1
        assert "error" in index.status()["generations"][0]
        server.ensure_postgres_running()
        end = time.monotonic() + 30
        while index.documents.backlog_size("g1"):
            assert time.monotonic() < end
            time.sleep(0.05)
        assert "late" in ids(index, "volcanoes")
        index.close()


def test_a_database_that_will_not_have_us_is_told_at_once(tmp_path: Path, models: ModelPool, postgres: str) -> None:
    began = time.monotonic()
    with pytest.raises(InvalidInput, match="nobody"):
        create_index(
            tmp_path / "x", models, Setup("x", VectorSpec("demo-xs"), store=postgres.replace("postgres:@", "nobody:@"))
        )
    assert time.monotonic() - began < 10
    with pytest.raises(InvalidInput, match="cannot be read"):
        create_index(tmp_path / "x", models, Setup("x", VectorSpec("demo-xs"), store="postgresql://a%zz@b/c"))
