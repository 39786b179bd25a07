"""What was acknowledged is there, once and in order, whatever happened to the process or to the disk."""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upsize.errors import JournalDamaged, JournalFailed, JournalLocked
from upsize.index import Delete, Entry, Journal, Upsert

METADATA = st.dictionaries(st.text(max_size=5), st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text())
ENTRIES = st.lists(st.builds(Upsert, st.text(), st.text(), METADATA) | st.builds(Delete, st.text()), max_size=4)


def text(number: int) -> Upsert:
    return Upsert(f"id-{number}", f"text number {number}")


def everything(folder: Path) -> list[Entry]:
    with Journal(folder) as journal:
        return [entry for _, entry in journal.read()]


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.log"))


@settings(deadline=None, max_examples=50)
@given(calls=st.lists(ENTRIES, max_size=8), segment_bytes=st.integers(1, 300), start=st.integers(0, 40))
def test_what_was_appended_is_read_in_order_from_any_number(
    tmp_path_factory: pytest.TempPathFactory, calls: list[list[Entry]], segment_bytes: int, start: int
) -> None:
    folder, expected = tmp_path_factory.mktemp("journal"), []
    for call in calls:  # opened anew for each, so that each is found again
        with Journal(folder, segment_bytes=segment_bytes) as journal:
            assert journal.append(call) == len(expected)
            expected += call
    with Journal(folder) as journal:
        assert journal.end == len(expected)
        assert list(journal.read(start)) == list(enumerate(expected))[start:]


@settings(deadline=None, max_examples=60)
@given(cut=st.integers(0, 10_000), zeros=st.integers(0, 5000))
def test_a_last_call_cut_short_anywhere_is_set_aside_whole(
    tmp_path_factory: pytest.TempPathFactory, cut: int, zeros: int
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    with Journal(folder) as journal:
        journal.append([text(0)])
        before = segments(folder)[0].stat().st_size
        journal.append([text(1), Delete("id-0")])
    path = segments(folder)[0]
    size = path.stat().st_size
    os.truncate(path, before + cut % (size - before))
    os.truncate(path, path.stat().st_size + (zeros if path.stat().st_size == before else 0))
    assert everything(folder) == [text(0)]
    with Journal(folder) as journal:
        assert journal.append([text(2)]) == 1
    assert everything(folder) == [text(0), text(2)]


def test_a_segment_cut_short_as_it_was_made(tmp_path: Path) -> None:
    with Journal(tmp_path, segment_bytes=1) as journal:
        for number in range(3):
            journal.append([text(number)])
    os.truncate(segments(tmp_path)[-1], 5)
    assert everything(tmp_path) == [text(0), text(1)]
    with Journal(tmp_path) as journal:
        assert journal.append([text(9)]) == 2
    assert everything(tmp_path) == [text(0), text(1), text(9)]


def test_what_is_set_aside_is_kept_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Journal(tmp_path) as journal:
        journal.append([text(0)])
    with segments(tmp_path)[0].open("ab") as file:
        file.write(b"half")
    with caplog.at_level(logging.WARNING):
        assert everything(tmp_path) == [text(0)]
    assert "its last 4 bytes are not a whole entry" in caplog.text
    assert [p.read_bytes() for p in tmp_path.glob("torn-*")] == [b"half"]


@settings(deadline=None, max_examples=100)
@given(place=st.floats(0, 0.999), flip=st.integers(1, 255))
def test_any_wrong_byte_before_the_last_call_is_an_error_and_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, place: float, flip: int
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    with Journal(folder) as journal:
        for number in range(3):
            if number == 2:
                before_last = segments(folder)[0].stat().st_size
            journal.append([text(number)])
    path = segments(folder)[0]
    data = bytearray(path.read_bytes())
    data[int(place * before_last)] ^= flip
    path.write_bytes(data)
    with pytest.raises(JournalDamaged, match=r"\.log is damaged at byte \d+: .*Nothing was changed"):
        Journal(folder)
    assert path.read_bytes() == data
    assert list(folder.glob("torn-*")) == []


def test_damage_in_an_earlier_segment_is_an_error_where_it_is_read(tmp_path: Path) -> None:
    with Journal(tmp_path, segment_bytes=1) as journal:
        for number in range(3):
            journal.append([text(number)])
        first = segments(tmp_path)[0]
        os.truncate(first, first.stat().st_size - 1)
        with pytest.raises(JournalDamaged, match="cut short"):
            list(journal.read())
        assert [entry for _, entry in journal.read(1)] == [text(1), text(2)]
        first.write_bytes(b"upsize journal 1\n")
        with pytest.raises(JournalDamaged, match="1 entries are missing"):
            list(journal.read())


@pytest.mark.parametrize("segment_bytes", [1, 10_000])
def test_a_reader_sees_what_was_there_when_it_began(tmp_path: Path, segment_bytes: int) -> None:
    with Journal(tmp_path, segment_bytes=segment_bytes) as journal:
        journal.append([text(0), text(1)])
        reading = journal.read()
        assert next(reading) == (0, text(0))
        journal.append([text(2)])
        assert list(reading) == [(1, text(1))]


def test_two_writers(tmp_path: Path) -> None:
    with Journal(tmp_path), pytest.raises(JournalLocked, match="being written by another process"):
        Journal(tmp_path)
    Journal(tmp_path).close()


def test_a_closed_journal_takes_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.close()
    with pytest.raises(JournalFailed, match="it was closed"):
        journal.append([text(0)])


WITHOUT_SPACE = """
import sys
from pathlib import Path
import resource, signal
from upsize.errors import JournalFailed
from upsize.index import Journal, Upsert
journal = Journal(Path(sys.argv[1]))
journal.append([Upsert("a", "fits")])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
try:
    journal.append([Upsert("b", "x" * 10_000)])
except JournalFailed as error:
    print(error)
journal.append([Upsert("c", "fits as well")])
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
journal.append([Upsert("d", "y" * 10_000)])
"""


def test_a_full_disk_loses_that_call_and_no_other(tmp_path: Path) -> None:
    said = subprocess.run(
        [sys.executable, "-c", WITHOUT_SPACE, str(tmp_path)], capture_output=True, text=True, check=True
    ).stdout
    assert "the entry was not written" in said
    assert "Nothing of this call was kept" in said
    assert [entry.id for entry in everything(tmp_path)] == ["a", "c", "d"]


WRITER = """
import itertools, sys
from pathlib import Path
from upsize.index import Delete, Journal, Upsert
journal = Journal(Path(sys.argv[1]), segment_bytes=2000)
for number in itertools.count(journal.end // 3):
    journal.append([Upsert(str(number), "text " * (number % 50)), Delete(str(number - 1)), Upsert(f"{number}b", "")])
    print(number, flush=True)
"""


def test_killed_at_random_moments_keeps_every_acknowledged_call_whole(tmp_path: Path) -> None:
    rng, acknowledged = random.Random(17), -1
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            first = writer.stdout.readline()
            time.sleep(rng.uniform(0, 0.05))
            writer.send_signal(signal.SIGKILL)
            acknowledged = int([first, *writer.stdout][-1])  # a line is written in one piece
        entries = everything(tmp_path)
        assert len(entries) % 3 == 0
        assert len(entries) // 3 >= acknowledged + 1
        assert [entry.id for entry in entries[::3]] == [str(n) for n in range(len(entries) // 3)]


def test_a_frame_that_is_too_long_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("upsize.index.journal.FRAME_BYTES", 100)
    with Journal(tmp_path) as journal:
        with pytest.raises(JournalFailed, match="more than 100"):
            journal.append([Upsert("a", "x" * 200)])
        journal.append([Upsert("a", "x")])
    assert len(everything(tmp_path)) == 1
