"""Journal: every write and delete of an index, in order, synced to disk before it is acknowledged.

A folder of segments, each named by the number of its first entry in 16 hexadecimal digits:

    0000000000000000.log   "upsize journal 1\\n", then frames
    0000000000a3f2c1.log   …
    lock                   held by the one process that writes

A frame holds the entries of one call, so that a call is kept as a whole or not at all:

    length of the payload, its CRC-32, the CRC-32 of these 8 bytes   three little-endian 32-bit numbers
    payload          MessagePack: an array of entries, each an array that begins with "upsert" or "delete"

Only the last frame of the last segment can be cut short by a crash, and it was never acknowledged. It is moved to
`torn-…` beside the segments, with a warning. A wrong frame anywhere else is damage, and an error. The head has a
checksum of its own, so that a wrong length cannot make complete frames look like one that was cut short.
"""

from __future__ import annotations

import logging
import os
import struct
import threading
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, Self

import msgspec
from filelock import FileLock, Timeout

from upsize.errors import DiskFull, JournalDamaged, JournalFailed, JournalLocked
from upsize.index.disk import on_disk
from upsize.io.atomic import fsync_path

log = logging.getLogger("upsize.index")

MAGIC = b"upsize journal 1\n"
SEGMENT_BYTES = 64 << 20
"""Size from which a segment is followed by a new one (chosen)."""
FRAME_BYTES = 1 << 30
"""Bytes of the longest payload."""

_HEAD = struct.Struct("<III")


class Upsert(msgspec.Struct, tag="upsert", array_like=True, frozen=True):
    """Write a document: this id has this text from now on."""

    id: str
    text: str
    metadata: dict[str, Any] = {}


class Delete(msgspec.Struct, tag="delete", array_like=True, frozen=True):
    """Delete the document of this id."""

    id: str


Entry = Upsert | Delete

_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(list[Entry])


class Journal:
    """One folder's journal, opened for writing. Thread-safe; `with` closes it.

    Raises JournalLocked if another process has it open, JournalDamaged if a frame that was acknowledged is wrong.
    """

    def __init__(self, folder: Path, *, segment_bytes: int = SEGMENT_BYTES, read_only: bool = False) -> None:
        """`read_only` accepts no entries and changes nothing on disk."""
        self.folder, self.read_only = folder, read_only
        self._segment_bytes = segment_bytes
        with on_disk(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(folder / "lock", timeout=0, thread_local=False)  # opened and closed by any thread
        try:
            with on_disk(folder):
                self._lock.acquire()
        except Timeout:
            raise JournalLocked(folder) from None
        self._writing = threading.Lock()
        self._failed: str | None = None
        self._file: int | None = None
        self._last: tuple[int, int] | None = None
        """Number of the last frame's first entry, and where in the segment it begins."""
        try:
            self._recover()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def failed(self) -> bool:
        """Whether it accepts no more entries until it is opened again."""
        return self._failed is not None and not self.read_only

    @property
    def end(self) -> int:
        """Number of the next entry, which is the number of entries since the index was created."""
        return self._end

    def append(self, entries: Sequence[Entry]) -> int:
        """Append the entries, all or none, and return the number of the first. On return they are synced to disk.

        Raises JournalFailed, with no entry kept, if the disk does not take them. Where their removal fails too, the
        journal accepts nothing more until it is opened again.
        """
        payload = _ENCODER.encode(list(entries))
        if len(payload) > FRAME_BYTES:
            raise JournalFailed(self.folder, f"{len(payload)} bytes in one call, more than {FRAME_BYTES}", "Send less.")
        frame = _head(payload) + payload
        with self._writing:
            if self._failed:
                raise JournalFailed(
                    self.folder, f"the journal takes nothing any more, because {self._failed}", "Open the index again."
                )
            first = self._end
            if not entries:
                return first
            if self._bytes >= max(self._segment_bytes, len(MAGIC) + 1):
                self._begin_segment()
            assert self._file is not None
            try:
                _write_all(self._file, frame)
                os.fdatasync(self._file)
            except OSError as error:
                self._cut(error)
                raise JournalFailed(
                    self.folder, str(error), "Nothing of this call was kept. Free some space."
                ) from error
            self._last = first, self._bytes
            self._bytes += len(frame)
            self._end += len(entries)
            return first

    def withdraw(self, first: int) -> None:
        """Remove what the last call appended, which starts at this number and is not acknowledged.

        Raises JournalFailed where that fails: the entries then exist when the journal is opened again.
        """
        with self._writing:
            if self._last is None or self._last[0] != first or self._file is None:
                raise JournalFailed(self.folder, f"entry {first} is not the last", "Nothing was taken back.")
            self._bytes, self._end, self._last = self._last[1], first, None
            self._cut("what followed from an entry could not be kept")
            if self._failed:
                raise JournalFailed(self.folder, self._failed, "Open the index again.")

    def read(self, start: int = 0) -> Iterator[tuple[int, Entry]]:
        """(number, entry) from `start` on, up to the end of the journal when reading starts."""
        end = self._end
        segments = [(first, path) for first, path in _segments(self.folder) if first < end]
        for place, (first, path) in enumerate(segments):
            following = segments[place + 1][0] if place + 1 < len(segments) else end
            if following <= start:
                continue
            number = first
            for _, entries in _frames(path, until=following - first):
                for entry in entries:
                    if number >= start:
                        yield number, entry
                    number += 1
            if number < following:
                raise JournalDamaged(path, path.stat().st_size, f"{following - number} entries are missing at its end")

    def close(self) -> None:
        """Release the folder. Acknowledged entries are on disk already."""
        with self._writing:
            if self._file is not None:
                os.close(self._file)
                self._file = None
            self._failed = self._failed or "it was closed"
            self._lock.release()

    def _recover(self) -> None:
        """Find the end, and move an incomplete last frame aside."""
        self._end = self._bytes = 0
        segments = _segments(self.folder)
        if self.read_only:
            self._failed = "it is open for reading only"
        if not segments:
            if self.read_only:
                raise DiskFull(str(self.folder), "it has no segment, and there is no room to begin one")
            self._begin_segment()
            return
        first, path = segments[-1]
        size, good, self._end = path.stat().st_size, len(MAGIC), first
        try:
            for position, entries in _frames(path):
                good, self._end = position, self._end + len(entries)
        except JournalDamaged as damage:
            if not damage.at_end:
                raise
            if damage.position < len(MAGIC):  # a crash interrupted the creation of the segment
                good = 0
        if self.read_only:  # an incomplete frame stays where it is
            self._bytes = good
            return
        if good < size:
            self._set_aside(path, good, size)
        with on_disk(path):
            self._file = os.open(path, os.O_RDWR | os.O_APPEND)
            if good == 0:
                _write_all(self._file, MAGIC)
                os.fsync(self._file)
                good = len(MAGIC)
        self._bytes = good

    def _set_aside(self, path: Path, good: int, size: int) -> None:
        aside = self.folder / f"torn-{path.stem}-{good}"
        with on_disk(aside), path.open("r+b") as segment:
            segment.seek(good)
            try:
                with aside.open("wb") as kept:
                    kept.write(segment.read())
                    kept.flush()
                    os.fsync(kept.fileno())
            except OSError:
                aside.unlink(missing_ok=True)
                raise
            segment.truncate(good)
            os.fsync(segment.fileno())
            fsync_path(self.folder)
        log.warning(
            "%s: its last %d bytes are not a whole entry. A crash in the middle of a write leaves that, before anyone "
            "is told that it is done. If there was no crash, the file is damaged; the bytes are kept in %s.",
            path,
            size - good,
            aside.name,
        )

    def _begin_segment(self) -> None:
        path = self.folder / f"{self._end:016x}.log"
        with on_disk(path):
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        try:
            _write_all(file, MAGIC)
            os.fsync(file)
            fsync_path(self.folder)
        except OSError as error:
            os.close(file)
            path.unlink()
            raise JournalFailed(self.folder, str(error), "Nothing of this call was kept. Free some space.") from error
        if self._file is not None:
            os.close(self._file)
        self._file, self._bytes = file, len(MAGIC)

    def _cut(self, why: object) -> None:
        """Truncate what a failed write left, so that the next frame follows the last good one."""
        assert self._file is not None
        try:
            os.ftruncate(self._file, self._bytes)
            os.fsync(self._file)
        except OSError:
            self._failed = f"an earlier write failed ({why})"


def _segments(folder: Path) -> list[tuple[int, Path]]:
    """(number of the first entry, file), in order."""
    return sorted((int(path.stem, 16), path) for path in folder.glob("[0-9a-f]*.log"))


def _frames(path: Path, until: int | None = None) -> Iterator[tuple[int, list[Entry]]]:
    """(position after the frame, its entries), one frame at a time, until so many entries have come."""
    size, seen = path.stat().st_size, 0
    with path.open("rb") as file:
        magic = file.read(len(MAGIC))
        if magic != MAGIC:
            begun = size < len(MAGIC) and MAGIC.startswith(magic)
            raise JournalDamaged(path, 0, "it does not begin as a segment of a journal", at_end=begun)
        position = len(MAGIC)
        while position < size and (until is None or seen < until):
            head = file.read(_HEAD.size)
            if len(head) < _HEAD.size:
                raise JournalDamaged(path, position, "the head of an entry is cut short", at_end=True)
            length, checksum, check = _HEAD.unpack(head)
            if zlib.crc32(head[:8]) != check:
                raise JournalDamaged(
                    path, position, "the head of an entry is wrong", at_end=_only_zeros(file, position)
                )
            after = position + _HEAD.size + length
            if after > size:
                raise JournalDamaged(path, position, "an entry is cut short", at_end=True)
            payload = file.read(length)
            if zlib.crc32(payload) != checksum:
                raise JournalDamaged(path, position, "an entry's checksum is wrong", at_end=after == size)
            entries = _decode(payload)
            position, seen = after, seen + len(entries)
            yield position, entries


def _decode(payload: bytes) -> list[Entry]:
    try:
        return _DECODER.decode(payload)
    except RecursionError:  # of metadata that an older version took, close to the limit of the stack it came in by
        with ThreadPoolExecutor(1) as fresh:
            return fresh.submit(_DECODER.decode, payload).result()


def _head(payload: bytes) -> bytes:
    eight = struct.pack("<II", len(payload), zlib.crc32(payload))
    return eight + struct.pack("<I", zlib.crc32(eight))


def _only_zeros(file: BinaryIO, position: int) -> bool:
    """Whether only zeros follow: after a crash a file may be longer than its written data."""
    file.seek(position)
    return all(not block.strip(b"\0") for block in iter(lambda: file.read(1 << 20), b""))


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
