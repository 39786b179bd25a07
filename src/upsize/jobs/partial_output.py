"""Partial: what a run has written so far, in the folder `OUTPUT.partial`, until it becomes the output.

    data           the encoded results, appended to; what lies beyond the journal's last entry is cut off on resuming
    journal.jsonl  one line a checkpoint, written once the data it tells of is on disk: how far the data is good
    job.json       what is being computed: only the same job goes on, so results of two never mix
    lock           held while a run is at it; the system lets go of it when the run dies

A run may be killed at any point. At the end `data` is moved over the output in one step.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout

from upsize.errors import InvalidInput, UpsizeError
from upsize.io import copy_stdin
from upsize.io.atomic import fsync_path, write_atomic

FULL = {
    errno.ENOSPC: "no space left on the device",
    errno.EDQUOT: "the quota is used up",
    errno.EFBIG: "the file has reached its size limit",
}
_DIGEST = re.compile(r"[0-9a-f]{16,64}")


@dataclass(frozen=True)
class CommittedProgress:
    """How far a run is, over all its parts."""

    rows: int = 0
    bytes: int = 0
    tokens: int = 0
    failed: int = 0
    """Rows that the model could not take, and that are left out."""


class Partial:
    """The folder of one run. `with` holds its lock, and removes the folder if nothing worth keeping is in it."""

    def __init__(self, output: Path, *, overwrite: bool) -> None:
        self.output, self.folder = output, output.with_name(output.name + ".partial")
        self.sidecar = output.with_name(output.name + ".json")
        self.committed = self.written = CommittedProgress()
        self.truncated: list[tuple[int, int]] = []
        """(line, tokens cut off) of each row that truncation touched, of all the run's parts."""
        self.failed: list[tuple[int, str]] = []
        """(line, reason) of each row that was left out while computing."""
        self._overwrite, self._total, self._truncated_committed, self._journal_bytes = overwrite, 0, 0, 0
        self._data, self._job = self.folder / "data", self.folder / "job.json"
        self._journal = self.folder / "journal.jsonl"
        self._lock = FileLock(self.folder / "lock", timeout=0)

    def __enter__(self) -> Self:
        if not self._job.exists():
            self._refuse_existing()
        self.folder.mkdir(exist_ok=True)
        try:
            self._lock.acquire()
        except Timeout:
            raise InvalidInput(f"{self.output}: another run is writing it (it holds {self.folder / 'lock'}).") from None
        return self

    def __exit__(self, *_: object) -> None:
        if not self._journal.exists():
            shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.release()

    def spool(self) -> Path:
        """Standard input, copied into the folder."""
        path = self.folder / "stdin"
        with guarded(path):
            return copy_stdin(path)

    def begin(self, job: Mapping[str, Any], total: int, header: bytes) -> None:
        """Go on with `job` of `total` rows where it stopped, or start it, the data beginning with `header`.

        InvalidInput if another job's results are here, or an output exists, and neither may be thrown away.
        """
        self._total = total
        earlier = json.loads(self._job.read_bytes()) if self._job.exists() else None
        if earlier is not None and earlier != job and not self._overwrite:
            self._read_journal()
            raise InvalidInput(
                f"{self.folder} holds {self.committed.rows:,} rows of another run: {_differences(earlier, job)}. "
                "Run it as before to go on, or add --overwrite to start over."
            )
        if earlier == job:
            self._read_journal()
            if self._moved:
                return
        self._refuse_existing()
        with guarded(self._data):
            if earlier == job and self._data.exists() and self._data.stat().st_size >= self.committed.bytes > 0:
                os.truncate(self._data, self.committed.bytes)
                return
            self._journal.unlink(missing_ok=True)
            self.committed = self.written = CommittedProgress(bytes=len(header))
            self._journal_bytes = self._truncated_committed = 0
            self.truncated.clear()
            self.failed.clear()
            self._data.write_bytes(header)
            write_atomic(self._job, json.dumps(job).encode())

    def append(
        self,
        block: bytes,
        rows: int,
        tokens: int,
        truncated: Sequence[tuple[int, int]],
        failed: Sequence[tuple[int, str]] = (),
    ) -> None:
        """Add the encoded results of `rows` rows, and what failed. They count once `commit` has put them on disk."""
        with guarded(self._data, len(block), self._still), self._data.open("ab") as file:
            file.write(block)
        was = self.written
        self.written = CommittedProgress(
            was.rows + rows, was.bytes + len(block), was.tokens + tokens, was.failed + len(failed)
        )
        self.truncated += truncated
        self.failed += failed

    def commit(self) -> None:
        """Put what was appended on disk, then say so in the journal."""
        if self.written == self.committed:
            return
        new = self.written
        truncated, failed = self.truncated[self._truncated_committed :], self.failed[self.committed.failed :]
        entry = {"rows": new.rows, "bytes": new.bytes, "tokens": new.tokens, "lost": truncated, "failed": failed}
        with guarded(self._journal, still=self._still):
            fsync_path(self._data)
            with self._journal.open("ab") as file:
                file.truncate(self._journal_bytes)  # a line that a full disk or a kill cut short
                file.write(json.dumps(entry).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
                self._journal_bytes = file.tell()
        self.committed, self._truncated_committed = new, len(self.truncated)

    def discard(self) -> None:
        """Keep nothing of this run, for nothing came of it."""
        self._journal.unlink(missing_ok=True)

    def finish(self, build: Callable[[Path], Path], facts: Mapping[str, Any]) -> int:
        """Make the output of the data, and beside it the sidecar with `facts`; the output's size in bytes.

        `build(data)` gives the file to move: the data itself, or one made of it beside it. Between the two moves
        there is an output without a sidecar, never one with another's.
        """
        if not self._moved:
            with guarded(self.folder / "output", self._data.stat().st_size):
                built = build(self._data)
                fsync_path(built)
            self.sidecar.unlink(missing_ok=True)
            built.replace(self.output)
            self._data.unlink(missing_ok=True)
        with guarded(self.sidecar):
            write_atomic(sidecar := self.folder / "sidecar", _json(facts) + b"\n")
        sidecar.replace(self.sidecar)
        fsync_path(self.output.parent)
        shutil.rmtree(self.folder)
        return self.output.stat().st_size

    @property
    def _moved(self) -> bool:
        """Whether the data already became the output, and only the sidecar or the folder's removal is missing."""
        done = self.committed.rows + self.committed.failed
        return done == self._total and not self._data.exists() and self.output.exists()

    def _refuse_existing(self) -> None:
        for path in (self.output, self.sidecar):
            refuse_existing(path, overwrite=self._overwrite)

    def _read_journal(self) -> None:
        """Sum up the journal. A line that was not written to its end counts as not there."""
        for line in self._journal.read_bytes().splitlines(keepends=True) if self._journal.exists() else []:
            if not line.endswith(b"\n"):
                break
            entry = json.loads(line)
            self._journal_bytes += len(line)
            self.failed += [(number, reason) for number, reason in entry.get("failed", ())]
            self.committed = self.written = CommittedProgress(
                entry["rows"], entry["bytes"], entry["tokens"], len(self.failed)
            )
            self.truncated += [(number, tokens) for number, tokens in entry["lost"]]
            self._truncated_committed = len(self.truncated)

    def _still(self) -> str:
        """How much is to come, by what came."""
        done, left = self.written, self._total - self.written.rows
        return f", and about {left * done.bytes // done.rows:,} bytes are to come" if done.rows and left else ""


@contextmanager
def guarded(path: Path, needed: int = 0, still: Callable[[], str] = str) -> Iterator[None]:
    """Turn a full disk into an error that says what did not fit where."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        size = f": {needed:,} bytes more did not fit" if needed else " could not be written"
        free = shutil.disk_usage(path.parent).free
        raise UpsizeError(f"{path}{size}, {FULL[error.errno]} ({free:,} bytes free{still()}).") from error


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """InvalidInput if `path` cannot become a new file: its folder is missing, or it exists and may not be replaced."""
    if not path.parent.is_dir():
        raise InvalidInput(f"{path}: there is no folder {path.parent}.")
    if path.is_dir():
        raise InvalidInput(f"{path} is a folder. Give the name of a file.")
    if path.exists() and not overwrite:
        raise InvalidInput(f"{path} exists. Add --overwrite to replace it.")


def _json(facts: Mapping[str, Any]) -> bytes:
    """Readable JSON; bytes of a file's name that are no UTF-8 as the escapes of lone surrogates."""
    return json.dumps(facts, indent=2, ensure_ascii=False).encode("utf-8", "backslashreplace")


def _differences(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    changes = []
    for name in {**earlier, **now}:
        was, value = earlier.get(name), now.get(name)
        if was != value:
            digest = _DIGEST.fullmatch(str(was)) is not None
            changes.append(f"the {name} changed" if digest else f"{name} was {was!r} and is now {value!r}")
    return ", ".join(changes)
