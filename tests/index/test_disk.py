"""A disk that takes no more: a write is there as a whole or not at all, and an index opens for reading all the same."""

from __future__ import annotations

import json
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.index.conftest import TEXTS, Make
from tests.index.tools import ids, require_in_step, settle, write
from upsize.errors import DiskFull, JournalFailed, StoreFull, UnknownIndex
from upsize.index import DocumentWrite, Index, Indexes, Journal, ModelPool, SearchRequest, Setup, Upsert, VectorSpec
from upsize.index.cascade import set_rescore
from upsize.index.creation import create_index
from upsize.index.database import LOG_BYTES, Database
from upsize.index.disk import on_disk, require_room
from upsize.index.state import read_state
from upsize.migration import move, plan_move
from upsize.server.error_replies import status_of

FULL = (DiskFull, JournalFailed, StoreFull)


@pytest.fixture
def largest_file() -> Iterator[Callable[[int | None], None]]:
    """Set the size in bytes beyond which this process cannot write any file; None for the usual."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (limits[0] if size is None else size, limits[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


Limit = Callable[[int | None], None]


def crashed(index: Index, to: Path) -> Path:
    """The index's folder as a kill would leave it now, its logs open."""
    shutil.copytree(index.folder, to)
    return to


@pytest.mark.parametrize("room", [0, 200, 3000, 20_000, 60_000, 150_000])
def test_a_write_is_kept_as_a_whole_or_not_at_all(make: Make, largest_file: Limit, room: int) -> None:
    """Wherever the disk gives out: in the journal, in the documents' log, or in the vectors."""
    index = make("full")
    write(index, TEXTS)
    before = index.journal.end
    largest_file(room)
    batch = [DocumentWrite(f"new{i}", f"A text about lava, number {i}. " * 30, {"n": i}) for i in range(40)]
    added, deleted, refused = 0, list[str](), list[Exception]()
    try:
        added = index.add(batch).added
    except FULL as error:
        refused.append(error)
    try:
        deleted = index.delete(["rain"])
    except FULL as error:
        refused.append(error)
    assert {status_of(error) for error in refused} <= {(507, "storage_full")}
    assert ids(index, "recipe for onion soup", 1) == ["soup"]
    largest_file(None)
    assert added in (0, 40)
    assert index.journal.end == index.documents.applied == before + added + len(deleted)
    expected = len(TEXTS) + added - len(deleted)
    assert index.documents.count() == expected
    write(index, {"late": "About volcanoes."})
    settle(index)
    require_in_step(index)
    index.close()
    index = make("full")
    assert index.documents.count() == expected + 1
    settle(index)
    require_in_step(index)


def test_what_the_documents_cannot_keep_leaves_the_journal_too(make: Make, largest_file: Limit) -> None:
    index = make()
    write(index, TEXTS)
    end = index.journal.end
    largest_file((index.folder / "documents.sqlite-wal").stat().st_size)  # more than the journal takes
    with pytest.raises(DiskFull, match=r"documents.sqlite cannot be written: .*Nothing of this call was kept"):
        index.delete(["soup"])
    assert index.journal.end == end
    assert ids(index, "recipe for onion soup", 1) == ["soup"]
    largest_file(None)
    assert index.delete(["soup"]) == ["soup"]
    with Journal(crashed(index, index.folder.with_name("copy")) / "journal") as journal:
        assert journal.end == end + 1


def test_an_entry_is_taken_back_and_only_the_last(tmp_path: Path) -> None:
    with Journal(tmp_path, segment_bytes=1) as journal:
        for number in range(3):
            journal.append([Upsert(str(number), "text")])
        with pytest.raises(JournalFailed, match="is not the last"):
            journal.withdraw(1)
        journal.withdraw(2)
        with pytest.raises(JournalFailed, match="is not the last"):
            journal.withdraw(1)
        assert journal.append([Upsert("other", "text")]) == 2
    with Journal(tmp_path) as journal:
        assert [entry.id for _, entry in journal.read()] == ["0", "1", "other"]


@pytest.mark.parametrize("torn", [False, True])
def test_an_index_killed_on_a_full_disk_opens_for_reading_and_for_writing_once_there_is_room(
    make: Make, models: ModelPool, tmp_path: Path, largest_file: Limit, torn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = make("first")
    write(index, TEXTS)
    index.delete(["rain"])
    folder = crashed(index, tmp_path / "indexes" / "first")
    if torn:
        with (folder / "journal" / "0000000000000000.log").open("ab") as file:
            file.write(b"half")
    index.close()
    indexes = Indexes(tmp_path / "indexes", models)
    largest_file(0)
    index = indexes.get("first")
    assert index.read_only is not None
    assert "cannot be written" in str(index.status()["read_only"])
    found = index.search(SearchRequest("recipe for onion soup", k=5))
    assert found.ids[0] == "soup"
    assert len(found.ids) == 5
    assert index.get(["moon"])["moon"].text == TEXTS["moon"]
    for write_now in (
        lambda: index.add([DocumentWrite("late", "About volcanoes.")]),
        lambda: index.delete(["soup"]),
        lambda: index.rebuild(),
        lambda: index.change(funnel=None),
        lambda: index.add_generation(VectorSpec("demo-s")),
    ):
        with pytest.raises(DiskFull, match="open for reading only"):
            write_now()
    assert indexes.open_all() == ["first"]  # to be tried again
    assert indexes.get("first") is index
    largest_file(None)
    monkeypatch.setattr("upsize.index.index.RECHECK_SECONDS", 0.0)
    index = indexes.get("first")
    assert index.read_only is None
    assert index.documents.count() == len(TEXTS) - 1
    index.add([DocumentWrite("late", "About volcanoes and lava.")])
    assert ids(index, "volcanoes", 1) == ["late"]
    assert indexes.open_all() == []
    indexes.close()


def test_settings_are_changed_as_a_whole_or_not_at_all(make: Make, largest_file: Limit) -> None:
    index = make("move")
    write(index, TEXTS)
    plan = plan_move(index, VectorSpec("demo-s"), seconds=0.05)
    state = index.state
    largest_file(100)
    with pytest.raises(FULL):
        move.start(index, plan)
    assert index.state == state == read_state(index.folder)
    assert not list(index.folder.glob("*.partial"))
    largest_file(None)
    move.start(index, plan)
    assert index.documents.backlog_size("g2") == len(TEXTS)
    settle(index)
    size = (index.folder / "index.json").stat().st_size
    largest_file(size // 2)
    with pytest.raises(DiskFull, match=r"index\.json cannot be written"):
        move.switch(index)
    assert index.state.active == "g1"
    largest_file(None)
    move.switch(index)
    index.close()
    assert make("move").state.active == "g2"


def test_an_index_is_made_as_a_whole_or_not_at_all(tmp_path: Path, models: ModelPool, largest_file: Limit) -> None:
    largest_file(100)
    with pytest.raises(FULL):
        create_index(tmp_path / "small", models, Setup("small", VectorSpec("demo-xs")))
    largest_file(None)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UnknownIndex):
        Indexes(tmp_path, models).get("small")
    create_index(tmp_path / "small", models, Setup("small", VectorSpec("demo-xs")))
    assert json.loads((tmp_path / "small" / "index.json").read_bytes())["name"] == "small"


def test_room_is_looked_for_before_a_text_is_embedded(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    index = make()
    monkeypatch.setattr("upsize.index.disk.RESERVE", 1 << 60)
    monkeypatch.setattr("upsize.index.disk.SHARE", 1.0)
    monkeypatch.setattr(index.models, "start", None)
    with pytest.raises(DiskFull, match=r"bytes are free on its disk and [\d,]+ are wanted"):
        index.add([DocumentWrite("a", "a text")])
    with pytest.raises(DiskFull):
        require_room(index.folder, 0)
    assert "writes are refused" in index.status()["read_only"]


def test_a_forced_start_leaves_the_reserve_that_deletes_need(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    index = make()
    write(index, TEXTS)
    plan = plan_move(index, VectorSpec("demo-s"), seconds=0.05)
    monkeypatch.setattr("upsize.index.disk.RESERVE", 1 << 60)
    monkeypatch.setattr("upsize.index.disk.SHARE", 1.0)
    with pytest.raises(DiskFull, match=r"bytes are free on its disk"):
        move.start(index, plan, force=True)
    assert index.state.move is None
    assert len(index.state.generations) == 1
    assert index.delete(["rain"]) == ["rain"]


def test_rescoring_and_a_rebuild_leave_the_reserve_that_deletes_need(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = make()
    write(index, TEXTS)
    settle(index)
    with monkeypatch.context() as patch:
        patch.setattr("upsize.index.disk.RESERVE", 1 << 60)
        patch.setattr("upsize.index.disk.SHARE", 1.0)
        with pytest.raises(DiskFull, match=r"bytes are free on its disk"):
            set_rescore(index, "demo-s", depth=5)
        with pytest.raises(DiskFull, match=r"bytes are free on its disk"):
            index.rebuild()
        assert index.documents.generations() == {"g1"}
        assert index.state.rescore is None
        assert index.documents.backlog_size("g1") == 0
        assert index.delete(["rain"]) == ["rain"]
    set_rescore(index, "demo-s", depth=5)
    index.rebuild()
    settle(index)
    require_in_step(index)


def test_the_log_of_a_large_write_gives_its_space_back(tmp_path: Path) -> None:
    database = Database(tmp_path / "some.sqlite", "CREATE TABLE some (value)")
    for size in (8 << 20, 1, 1):
        with database.transaction() as c:
            c.execute("INSERT INTO some VALUES (zeroblob(?))", (size,))
    assert (tmp_path / "some.sqlite-wal").stat().st_size <= LOG_BYTES
    assert database.reader.execute("SELECT sum(length(value)) FROM some").fetchone() == ((8 << 20) + 2,)
    database.close()


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), on_disk(tmp_path):
        (tmp_path / "none").read_bytes()
