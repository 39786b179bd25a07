"""The partial output of a run, in the folder `OUTPUT.partial`, until it becomes the output.

    data           the encoded results so far; resuming truncates it to the length in the journal's last entry
    journal.jsonl  one line per checkpoint, written after the data up to there is on disk
    job.json       what the run computes: only the same job resumes, so results of two jobs never mix
    lock           held while a run writes; the system releases it when the run dies

A run may be killed at any point. At the end `data` replaces the output in one step.
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
    """How much a run has finished, over all its sessions."""

    rows: int = 0
    bytes: int = 0
    tokens: int = 0
    failed: int = 0
    """Rows that the model could not process, and that are skipped."""


class Partial:
    """The folder of one run. `with` holds its lock, and removes the folder if it has no committed rows."""

    def __init__(self, output: Path, *, overwrite: bool) -> None:
        self.output, self.folder = output, output.with_name(output.name + ".partial")
        self.sidecar = output.with_name(output.name + ".json")
        self.committed = self.written = CommittedProgress()
        self.truncated: list[tuple[int, int]] = []
        """(line, truncated tokens) of each truncated row, over all sessions."""
        self.failed: list[tuple[int, str]] = []
        """(line, reason) of each row that was skipped while computing."""
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
        """Copy standard input into the folder, and return the copy."""
        path = self.folder / "stdin"
        with guarded(path):
            return copy_stdin(path)

    def begin(self, job: Mapping[str, Any], total: int, header: bytes) -> None:
        """Resume `job` of `total` rows, or start it with `header` as the first bytes of the data.

        Raises InvalidInput if the folder has results of another job, or the output exists, unless overwriting.
        """
        self._total = total
        earlier = json.loads(self._job.read_bytes()) if self._job.exists() else None
        if earlier is not None and earlier != job and not self._overwrite:
            self._read_journal()
            raise InvalidInput(
                f"{self.folder} holds {self.committed.rows:,} rows of another run: {_differences(earlier, job)}. "
                "Run the same command to resume, or add --overwrite to start over."
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
        """Append the encoded results of `rows` rows, and the failed ones. `commit` makes them durable."""
        with guarded(self._data, len(block), self._still), self._data.open("ab") as file:
            file.write(block)
        was = self.written
        self.written = CommittedProgress(
            was.rows + rows, was.bytes + len(block), was.tokens + tokens, was.failed + len(failed)
        )
        self.truncated += truncated
        self.failed += failed

    def commit(self) -> None:
        """Put the appended data on disk, then record it in the journal."""
        if self.written == self.committed:
            return
        new = self.written
        truncated, failed = self.truncated[self._truncated_committed :], self.failed[self.committed.failed :]
        entry = {"rows": new.rows, "bytes": new.bytes, "tokens": new.tokens, "lost": truncated, "failed": failed}
        with guarded(self._journal, still=self._still):
            fsync_path(self._data)
            with self._journal.open("ab") as file:
                file.truncate(self._journal_bytes)  # a line that a full disk or a kill left incomplete
                file.write(json.dumps(entry).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
                self._journal_bytes = file.tell()
        self.committed, self._truncated_committed = new, len(self.truncated)

    def discard(self) -> None:
        """Drop this run, which has no results."""
        self._journal.unlink(missing_ok=True)

    def finish(self, build: Callable[[Path], Path], facts: Mapping[str, Any]) -> int:
        """Make the output from the data, and beside it the sidecar with `facts`; return the output's size in bytes.

        `build(data)` returns the file to move: the data itself, or a file made of it beside it. Between the two moves
        the output has no sidecar; it never has the sidecar of another output.
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
        """Whether the data is the output already, and only the sidecar or the folder's removal is left."""
        done = self.committed.rows + self.committed.failed
        return done == self._total and not self._data.exists() and self.output.exists()

    def _refuse_existing(self) -> None:
        for path in (self.output, self.sidecar):
            refuse_existing(path, overwrite=self._overwrite)

    def _read_journal(self) -> None:
        """Read the journal. An incomplete last line is ignored."""
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
        """An estimate of the bytes still to write, from the rows so far."""
        done, left = self.written, self._total - self.written.rows
        return f", and about {left * done.bytes // done.rows:,} bytes are to come" if done.rows and left else ""


@contextmanager
def guarded(path: Path, needed: int = 0, still: Callable[[], str] = str) -> Iterator[None]:
    """Turn the OSError of a full disk into an UpsizeError with the path, the bytes needed and the bytes free."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        size = f": {needed:,} bytes more did not fit" if needed else " could not be written"
        free = shutil.disk_usage(path.parent).free
        raise UpsizeError(f"{path}{size}, {FULL[error.errno]} ({free:,} bytes free{still()}).") from error


def refuse_existing(path: Path, *, overwrite: bool) -> None:
    """Raise InvalidInput if `path` cannot become a new file: no folder, or it exists without `overwrite`."""
    if not path.parent.is_dir():
        raise InvalidInput(f"{path}: there is no folder {path.parent}.")
    if path.is_dir():
        raise InvalidInput(f"{path} is a folder. Give the name of a file.")
    if path.exists() and not overwrite:
        raise InvalidInput(f"{path} exists. Add --overwrite to replace it.")


def _json(facts: Mapping[str, Any]) -> bytes:
    """Readable JSON. Bytes of a file name that are not UTF-8 become escapes of lone surrogates."""
    return json.dumps(facts, indent=2, ensure_ascii=False).encode("utf-8", "backslashreplace")


def _differences(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    changes = []
    for name in {**earlier, **now}:
        was, value = earlier.get(name), now.get(name)
        if was != value:
            digest = _DIGEST.fullmatch(str(was)) is not None
            changes.append(f"the {name} changed" if digest else f"{name} was {was!r} and is now {value!r}")
    return ", ".join(changes)
