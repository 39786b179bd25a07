"""SourceFile: a weights file in its state when the checkpoint was opened. It is read, never mapped.

A mapped file that somebody truncates kills the process (SIGBUS), and one that is written in place changes what a model
computes. So everything is read into memory of our own, and the file is held against what it was before and after.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from upsize.errors import CheckpointError
from upsize.model.config import parsed

AGAIN = "Download it again."


class Signature(NamedTuple):
    """Values that change when a file is replaced or written to."""

    device: int
    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, found: os.stat_result) -> Signature:
        """Return the signature of a file's status."""
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


@dataclass(frozen=True)
class SourceFile:
    """A safetensors file and its signature. Build it with `SourceFile.at`."""

    path: Path
    signature: Signature

    @classmethod
    def at(cls, path: Path) -> SourceFile:
        """Return the file in its present state. Raises CheckpointError unless it is a regular file."""
        try:
            found = path.stat()
        except OSError as error:
            raise _unreadable(path, error) from error
        if not stat.S_ISREG(found.st_mode):
            kind = "a folder" if stat.S_ISDIR(found.st_mode) else "no regular file"
            raise CheckpointError(path, "a safetensors file", kind, AGAIN)
        return cls(path, Signature.of(found))

    @contextmanager
    def opened(self) -> Iterator[int]:
        """Open a descriptor to read from. Raises CheckpointError if the file changed, before or during the block."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        except OSError as error:
            raise _unreadable(self.path, error) from error
        try:
            self._require_same(descriptor)
            yield descriptor
            self._require_same(descriptor)
        finally:
            os.close(descriptor)

    def read_into(self, descriptor: int, buffer: memoryview, offset: int) -> None:
        """Fill `buffer` (bytes) from byte `offset`. Raises CheckpointError if the file ends before."""
        done = 0
        while done < len(buffer):
            try:
                count = os.preadv(descriptor, [buffer[done:]], offset + done)
            except OSError as error:
                raise _unreadable(self.path, error) from error
            if not count:
                raise CheckpointError(self.path, *diagnosis(self.path), AGAIN)
            done += count

    def _require_same(self, descriptor: int) -> None:
        found = Signature.of(os.fstat(descriptor))
        if found == self.signature:
            return
        if found.size < self.signature.size:
            raise CheckpointError(self.path, *diagnosis(self.path), AGAIN)
        raise CheckpointError(
            self.path,
            "the file that was there when the model was opened",
            "another one, or one that was written to since",
            "Load the model again once the file is complete.",
        )


def diagnosis(path: Path, error: Exception | None = None) -> tuple[str, str]:
    """Return (expected, found) for a broken safetensors file."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8)
        if head == b"version ":
            return "a safetensors file", "a git-lfs pointer to it ('git lfs pull' fetches the file itself)"
        if len(head) == 8 and (header := struct.unpack("<Q", head)[0]) < min(size, 100_000_000):
            end = _end_of_tensors(file.read(header))
            if end is not None and 8 + header + end != size:
                return f"{8 + header + end:,} bytes, as its header says", f"{size:,} bytes (cut off or not complete)"
    return "a safetensors file", f"{size:,} bytes that are none" + (f" ({error})" if error else "")


def _end_of_tensors(header: bytes) -> int | None:
    """Bytes of all tensors, from a file's header; None for an invalid header."""
    try:
        entries = parsed(header)
        return max(int(v["data_offsets"][1]) for k, v in entries.items() if k != "__metadata__")
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return None


def _unreadable(path: Path, error: OSError) -> CheckpointError:
    if isinstance(error, FileNotFoundError):
        return CheckpointError(path, "a safetensors file", "no such file", AGAIN)
    return CheckpointError(path, "a safetensors file that can be read", f"an error ({error.strerror or error})")
