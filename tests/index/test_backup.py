"""A backup of an index in use holds what was acknowledged, and becomes an index again, with vectors or without."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from tests.index.conftest import TEXTS, Make
from tests.index.test_move import begin
from tests.index.tools import ids, require_in_step, settle, stored, write
from upsize.errors import InvalidInput, Refused, UnknownIndex
from upsize.index import DocumentWrite, Index, ModelPool, SearchRequest
from upsize.index.backup import back_up, restore
from upsize.migration import move
from upsize.store import parse_filter


def test_a_backup_with_vectors_is_searched_at_once(
    make: Make, models: ModelPool, tmp_path: Path, store_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = make("kept", store=store_address)
    index.add([DocumentWrite(id, text, {"length": len(text)}) for id, text in TEXTS.items()])
    begin(index)
    settle(index)
    index.delete(["rain"])
    settle(index)
    by_target = ids(index, "recipe for onion soup", generation="g2")
    made = back_up(index.folder, tmp_path / "backup", with_vectors=True)
    assert (made.index, made.entries, made.vectors) == ("kept", 7, {"g1": 5, "g2": 5})
    index.add([DocumentWrite("later", "Written after the backup.")])  # and not in it
    state = restore(tmp_path / "backup", tmp_path / "home", "again")
    with monkeypatch.context() as patch:
        start = models.start
        patch.setattr(models, "start", lambda *a, **k: start(*a, **k) if k.get("query") else pytest.fail("embedded"))
        with Index(tmp_path / "home" / state.name, models, background=False) as again:
            assert stored(again, "g1") == stored(again, "g2") == dict(again.documents.all_numbers())
            assert ids(again, "recipe for onion soup", 1) == ["soup"]
            assert again.search(SearchRequest("recipe for onion soup", k=5)).missing == 0
            assert again.get(["soup"])["soup"].metadata == {"length": len(TEXTS["soup"])}
            where = parse_filter({"length": len(TEXTS["soup"])})
            assert again.search(SearchRequest("soup", where=where)).ids == ["soup"]
            move.switch(again)
            assert ids(again, "recipe for onion soup") == by_target
    assert "later" in ids(index, "recipe for onion soup")  # the first one is as it was


def test_a_backup_without_vectors_says_what_searches_do_not_find(make: Make, models: ModelPool, tmp_path: Path) -> None:
    index = make("kept")
    write(index, TEXTS)
    back_up(index.folder, tmp_path / "backup")
    assert not (tmp_path / "backup" / "vectors").exists()
    restore(tmp_path / "backup", tmp_path / "home")
    with Index(tmp_path / "home" / "kept", models, background=False) as again:
        answer = again.search(SearchRequest("recipe for onion soup"))
        assert (answer.ids, answer.missing, answer.refused) == ([], len(TEXTS), 0)
        settle(again)
        answer = again.search(SearchRequest("recipe for onion soup", k=1))
        assert (answer.ids, answer.missing) == (["soup"], 0)


def test_a_copy_of_the_folder_is_a_backup_too(make: Make, models: ModelPool, tmp_path: Path) -> None:
    """As the documentation says: index.json, then vectors/, then journal/."""
    index = make("kept")
    write(index, TEXTS)
    to = tmp_path / "home" / "kept"
    to.mkdir(parents=True)
    shutil.copy(index.folder / "index.json", to)
    shutil.copytree(index.folder / "vectors", to / "vectors")
    index.delete(["rain"])
    write(index, {"soup": "How to bake bread: flour, water, salt and yeast."})
    shutil.copytree(index.folder / "journal", to / "journal")
    with Index(to, models, background=False) as again:
        assert again.documents.backlog_size("g1") == 1  # of the text that changed between the two
        settle(again)
        require_in_step(again)
        assert ids(again, "bake bread", 1) == ["soup"]


def test_a_backup_under_writes_is_whole(make: Make, models: ModelPool, tmp_path: Path) -> None:
    index = make("busy", background=True)
    write(index, TEXTS)
    stop, acknowledged = threading.Event(), list[str]()

    def write_on() -> None:
        while not stop.is_set():
            id = f"w{len(acknowledged)}"
            index.add([DocumentWrite(id, f"Written meanwhile, number {id}.")])
            acknowledged.append(id)

    writer = threading.Thread(target=write_on)
    writer.start()
    try:
        for number in range(3):
            before = list(acknowledged)
            back_up(index.folder, tmp_path / f"backup{number}", with_vectors=True)
            restore(tmp_path / f"backup{number}", tmp_path / "home", f"again{number}")
            with Index(tmp_path / "home" / f"again{number}", models, background=False) as again:
                assert set(before) <= set(again.documents.get(before))
                assert not list((again.folder / "journal").glob("torn-*"))
                settle(again)
                require_in_step(again)
    finally:
        stop.set()
        writer.join()


def test_mistakes_are_told_and_leave_nothing(make: Make, tmp_path: Path) -> None:
    index = make("kept")
    write(index, TEXTS)
    with pytest.raises(UnknownIndex, match="No index 'nope'"):
        back_up(tmp_path / "nope", tmp_path / "backup")
    (tmp_path / "there").mkdir()
    with pytest.raises(InvalidInput, match="is there already"):
        back_up(index.folder, tmp_path / "there")
    with pytest.raises(InvalidInput, match="is no backup"):
        restore(tmp_path / "there", tmp_path)
    back_up(index.folder, tmp_path / "backup")
    with pytest.raises(Refused, match="There is an index 'kept'"):
        restore(tmp_path / "backup", tmp_path)
    with pytest.raises(InvalidInput, match="cannot name an index"):
        restore(tmp_path / "backup", tmp_path, "../elsewhere")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["backup", "kept", "there"]
