"""Partial: what a run has written so far, in the folder `OUTPUT.partial`, until it becomes the output.

    data           the encoded results, appended to; what lies beyond the journal's last entry is cut off on resuming
    journal.jsonl  one line a checkpoint, written after the data it tells of is on disk: how far the data is good
    job.json       what was being computed: only the same job goes on, so results of two never mix
    lock           held while a run is at it; the system lets go of it when the run dies

A run may be killed at any point. At the end `data` is moved over the output in one step.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from upsize.errors import InvalidInput, UpsizeError

FULL = {errno.ENOSPC: "no space left on the device", errno.EDQUOT: "the quota is used up", errno.EFBIG: "the file is at its size limit"}


@dataclass(frozen=True)
class Progress:
    """How far a run is, over all its parts."""

    rows: int = 0
    bytes: int = 0
    tokens: int = 0
    lost: tuple[tuple[int, int], ...] = field(default=(), repr=False)
    """(line, tokens cut off) of each row that truncation touched."""


class Partial:
    """The folder of one run. Use it in `with`, which holds the lock and lets go of it."""

    def __init__(self, output: Path) -> None:
        self.output, self.folder = output, output.with_name(output.name + ".partial")
        self.sidecar = output.with_name(output.name + ".json")
        self.data = self.folder / "data"
        self.committed = self.written = Progress()
        self._job, self._journal = self.folder / "job.json", self.folder / "journal.jsonl"
        self._lock = FileLock(self.folder / "lock", timeout=0)

    def __enter__(self) -> Partial:
        if not self.output.parent.is_dir():
            raise InvalidInput(f"{self.output}: there is no folder {self.output.parent}.")
        self.folder.mkdir(exist_ok=True)
        try:
            self._lock.acquire()
        except Timeout:
            raise InvalidInput(f"{self.output}: another run is writing it (it holds {self.folder / 'lock'}).") from None
        return self

    def __exit__(self, *_: object) -> None:
        if not self.committed.rows and not self._job.exists():
            shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.release()

    @property
    def moved(self) -> bool:
        """Whether an earlier run was killed after its data became the output, with only its traces left to remove."""
        return self._job.exists() and not self.data.exists() and self.output.exists()

    def begin(self, job: Mapping[str, Any], header: bytes, *, overwrite: bool) -> None:
        """Go on with `job` where it stopped, or start it, the data beginning with `header`.

        InvalidInput if another job's results are here and may not be thrown away, or the output exists.
        """
        earlier = _read_job(self._job)
        if earlier is not None and earlier != job and not overwrite:
            rows = _read_journal(self._journal).rows
            raise InvalidInput(
                f"{self.folder} holds {rows:,} rows of another run: {_differences(earlier, job)}. "
                "Run it as before to go on, or add --overwrite to start over."
            )
        if earlier == job:
            self.committed = self.written = _read_journal(self._journal)
            if self.moved:
                return
        if self.output.exists() and not overwrite:
            raise InvalidInput(f"{self.output} exists. Add --overwrite to replace it.")
        with self._guarded(self.data):
            if earlier != job or not self.data.exists() or self.data.stat().st_size < self.committed.bytes:
                self.committed = self.written = Progress(bytes=len(header))
                self._journal.unlink(missing_ok=True)
                self.data.write_bytes(header)
                _write(self._job, json.dumps(job).encode())
            else:
                os.truncate(self.data, self.committed.bytes)

    def append(self, block: bytes, rows: int, tokens: int, lost: tuple[tuple[int, int], ...]) -> None:
        """Add the encoded results of `rows` rows. They count once `commit` has put them on disk."""
        with self._guarded(self.data, len(block)), self.data.open("ab") as file:
            file.write(block)
        was = self.written
        self.written = Progress(was.rows + rows, was.bytes + len(block), was.tokens + tokens, was.lost + lost)

    def commit(self) -> None:
        """Put what was appended on disk, then say so in the journal."""
        if self.written == self.committed:
            return
        new = replace(self.written, lost=self.written.lost[len(self.committed.lost) :])
        with self._guarded(self._journal):
            _sync(self.data)
            with self._journal.open("ab") as file:
                file.write(json.dumps(asdict(new)).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        self.committed = self.written

    def finish(self, build: Callable[[Path, Path], Path], facts: Mapping[str, Any]) -> int:
        """Make the output of the data, and beside it the sidecar with `facts`; the output's size in bytes.

        `build(data, folder)` gives the file to move, which may be the data itself. Between the two moves there is an
        output without a sidecar, never one with another's.
        """
        self.commit()
        if not self.moved:
            with self._guarded(self.folder / "output"):
                built = build(self.data, self.folder)
                _sync(built)
            self.sidecar.unlink(missing_ok=True)
            built.replace(self.output)
            self.data.unlink(missing_ok=True)
        with self._guarded(self.sidecar):
            _write(self.folder / "sidecar", json.dumps(facts, indent=2, ensure_ascii=False).encode() + b"\n")
        (self.folder / "sidecar").replace(self.sidecar)
        _sync(self.output.parent)
        shutil.rmtree(self.folder)
        return self.output.stat().st_size

    @contextmanager
    def _guarded(self, path: Path, needed: int | None = None) -> Iterator[None]:
        """Turn a full disk into an error that says what did not fit where, and that nothing is lost."""
        try:
            yield
        except OSError as error:
            if error.errno not in FULL:
                raise
            size = "" if needed is None else f" {needed:,} bytes more"
            raise UpsizeError(
                f"{path} could not be written{size}: {FULL[error.errno]} "
                f"({shutil.disk_usage(self.folder).free:,} bytes free). Make room, and the same command goes on."
            ) from error


def _read_job(path: Path) -> Any:
    with suppress(FileNotFoundError):
        return json.loads(path.read_bytes())
    return None


def _read_journal(path: Path) -> Progress:
    """The sum of the journal. A line that was not written to its end counts as not there."""
    total = Progress()
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    for line in lines:
        if not line.endswith(b"\n"):
            break
        entry = json.loads(line)
        lost = total.lost + tuple((number, tokens) for number, tokens in entry["lost"])
        total = Progress(entry["rows"], entry["bytes"], entry["tokens"], lost)
    return total


def _differences(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    names = [name for name in {**earlier, **now} if earlier.get(name) != now.get(name)]
    return ", ".join(f"{name} was {earlier.get(name)!r} and is now {now.get(name)!r}" for name in names)


def _write(path: Path, content: bytes) -> None:
    """Write a whole file and put it on disk, in one step for whoever looks."""
    temporary = path.with_name(path.name + ".new")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _sync(path: Path) -> None:
    """Put a file, or a folder's list of names, on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
