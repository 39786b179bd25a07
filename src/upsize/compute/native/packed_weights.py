"""Packed weights on disk: written when a model is first loaded, then mapped and shared between processes.

A file holds the arrays end to end, each aligned to 64 bytes; then a JSON index (name → dtype, shape, offset, CRC-32 of
each 16 MiB); then the index's CRC-32 in 4 bytes and its length in 8 bytes, both little-endian. Opening a file checks
all checksums on several threads; a damaged file is written again.

The file includes the token vectors, although the checkpoint has the same values. A mapped file must not change, and
only this module writes this one: it writes a temporary file and renames it, so a mapping of the old file stays valid.
"""

from __future__ import annotations

import json
import logging
import mmap
import os
import struct
import weakref
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from upsize.compute.native.library import library
from upsize.compute.native.packing import FORM, packed_arrays
from upsize.compute.native.qwen3 import NativeQwen3
from upsize.errors import WeightsDamaged
from upsize.folders import cache_folder
from upsize.io.atomic import replacing
from upsize.model import Checkpoint
from upsize.model.config import parsed
from upsize.model.stored_tensor import bytes_of

log = logging.getLogger(__name__)

Arrays = Mapping[str, NDArray[np.generic]]
NamedArrays = Iterable[tuple[str, NDArray[np.generic]]]
ALIGNMENT = 64
LAYOUT = "2"
"""Version of the file layout. Layout 1 had no checksums and no token vectors."""
BLOCK = 16 << 20
"""Bytes that share one checksum: zlib computes their CRC-32 in 4 ms."""
TAIL = struct.Struct("<IQ")
TOKENS = "embed_tokens"


def load_network(checkpoint: Checkpoint, precision: str, threads: int) -> NativeQwen3:
    """The checkpoint's network in `precision` (int8 or bfloat16). Reads the packed weights, or writes them first.

    `threads` holds for the whole process, whose networks share one thread pool.
    """
    config, load = checkpoint.config, checkpoint.weights.load

    def pack() -> NamedArrays:
        yield from packed_arrays(config, load, precision)
        yield TOKENS, load("embed_tokens.weight")

    arrays = stored_arrays(packed_file(checkpoint.identity, precision), pack, threads)
    guard = arrays.require_unchanged if isinstance(arrays, MappedArrays) else None
    return NativeQwen3(config, arrays, arrays[TOKENS], precision, threads, guard=guard)


def packed_file(identity: str, precision: str) -> Path:
    """The packed file of the checkpoint with this identity (`Checkpoint.identity`)."""
    return cache_folder() / f"{identity}-{precision}-{FORM}.{LAYOUT}.packed"


def stored_arrays(path: Path, pack: Callable[[], NamedArrays], threads: int = 1) -> Arrays:
    """The arrays of the file, mapped, and checked on `threads` threads. A missing or damaged file is written first.

    Where it cannot be written, the arrays stay in memory and a warning says so.
    """
    try:
        return MappedArrays(path, threads)
    except FileNotFoundError:
        log.warning("the weights are packed into %s, once", path)
    except (OSError, ValueError) as error:
        log.warning("%s is not as it was written (%s); it is written anew", path, error)
    try:
        _write(path, pack())
        return MappedArrays(path, threads)
    except (OSError, ValueError) as error:
        log.warning("the packed weights are kept in memory, for %s cannot be written: %s", path, error)
        return dict(pack())


def _write(path: Path, arrays: NamedArrays) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    index = {}
    with replacing(path) as file:
        for name, array in arrays:
            file.write(b"\0" * (-file.tell() % ALIGNMENT))
            values = bytes_of(np.ascontiguousarray(array))
            index[name] = (array.dtype.name, array.shape, file.tell(), [zlib.crc32(b) for b in _blocks(values)])
            file.write(values)
        text = json.dumps(index).encode()
        file.write(text + TAIL.pack(zlib.crc32(text), len(text)))


class MappedArrays(dict[str, NDArray[np.generic]]):
    """The arrays of a packed file, mapped and checked. Raises ValueError where a checksum differs."""

    def __init__(self, path: Path, threads: int) -> None:
        super().__init__()
        self._path, self._threads = path, max(threads, 1)
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            size = found.st_size
            file.seek(max(size - TAIL.size, 0))
            checksum, length = TAIL.unpack(file.read(TAIL.size).rjust(TAIL.size, b"\0"))
            if not 0 < length <= size - TAIL.size:
                raise ValueError("no index at its end")
            file.seek(size - TAIL.size - length)
            text = file.read(length)
            if zlib.crc32(text) != checksum:
                raise ValueError("its index has another checksum")
            self._mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        if hasattr(mmap, "MADV_WILLNEED"):
            self._mapped.madvise(mmap.MADV_WILLNEED)
        self._watched = _watch(self._mapped)
        self._inode, self._written = found.st_ino, found.st_mtime_ns
        self._checksums: dict[str, list[int]] = {}
        for name, (dtype, shape, offset, checksums) in parsed(text).items():
            self[name] = np.frombuffer(self._mapped, dtype, int(np.prod(shape)), offset).reshape(shape)
            self._checksums[name] = checksums
        self._check()

    def require_unchanged(self) -> None:
        """Raise WeightsDamaged where the file was truncated or modified since it was checked.

        The network calls it before and after each batch; it takes a few microseconds. A truncated part reads as zeros
        from then on. Deleting or replacing the file does no harm, because the mapping keeps the old one.
        """
        if self._mapped.size() < len(self._mapped) or self._watched():
            raise self._changed("a file that was cut")
        try:
            found = self._path.stat()
        except OSError:
            return
        if found.st_ino != self._inode or found.st_mtime_ns == self._written:
            return
        try:
            self._check()
        except ValueError as error:
            raise self._changed(f"a file that was written to ({error})") from None
        self._written = found.st_mtime_ns

    def _changed(self, found: str) -> WeightsDamaged:
        return WeightsDamaged(
            self._path,
            "the packed weights as they were when the model was loaded",
            found,
            "Start again: they are made anew.",
        )

    def _check(self) -> None:
        parts = [
            (name, block, expected)
            for name, checksums in self._checksums.items()
            for block, expected in zip(_blocks(bytes_of(self[name])), checksums, strict=True)
        ]
        with ThreadPoolExecutor(self._threads, "checksum") as pool:
            for (name, _, expected), found in zip(parts, pool.map(lambda p: zlib.crc32(p[1]), parts), strict=True):
                if found != expected:
                    raise ValueError(f"{name} has another checksum")


def _watch(mapped: mmap.mmap) -> Callable[[], bool]:
    """Make reads beyond the end of a truncated file give zeros instead of SIGBUS.

    Returns a function that says whether there was such a read."""
    compiled = library()
    if compiled is None:
        return lambda: False
    number = compiled.upsize_watch(np.frombuffer(mapped, np.uint8).ctypes.data, len(mapped))
    weakref.finalize(mapped, compiled.upsize_unwatch, number).atexit = False
    return lambda: bool(compiled.upsize_damaged(number))


def _blocks(values: memoryview) -> Iterator[memoryview]:
    return (values[start : start + BLOCK] for start in range(0, len(values), BLOCK))
