"""The packed form on disk: written when a model is first loaded, mapped from then on, shared between processes.

A file holds the arrays end to end, each from a multiple of 64 bytes on, then a JSON index of them
(name → type, shape, offset), then the index's length in 8 bytes, little-endian.
"""

from __future__ import annotations

import json
import logging
import mmap
import os
import struct
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from upsize.compute.native.network import NativeQwen3
from upsize.compute.native.packing import VERSION, packed_arrays
from upsize.folders import cache_folder
from upsize.model import Checkpoint

log = logging.getLogger(__name__)

Arrays = Mapping[str, NDArray[np.generic]]
ALIGNMENT = 64


def load_network(checkpoint: Checkpoint, precision: str, threads: int) -> NativeQwen3:
    """The checkpoint's network in `precision` (int8 or bfloat16), its packed form read from disk or written there.

    `threads` is for the whole process: its networks share the threads.
    """
    config, load = checkpoint.config, checkpoint.weights.load
    path = packed_file(checkpoint.weights.digest, precision)
    arrays = stored_arrays(path, lambda: packed_arrays(config, load, precision))
    return NativeQwen3(config, arrays, load("embed_tokens.weight"), precision, threads)


def packed_file(weights: str, precision: str) -> Path:
    """The file of the weights with that digest."""
    return cache_folder() / f"{weights}-{precision}-{VERSION}.packed"


def stored_arrays(path: Path, make: Callable[[], Iterable[tuple[str, NDArray[np.generic]]]]) -> Arrays:
    """The arrays in `path`, mapped; made and written first where there is no such file.

    Where it cannot be written they stay in memory, and a warning says so.
    """
    try:
        return _mapped(path)
    except FileNotFoundError:
        log.warning("the weights are packed into %s, once", path)
    except (OSError, ValueError, KeyError) as error:
        log.warning("%s is not a packed file (%s); it is written anew", path, error)
    try:
        _write(path, make())
        return _mapped(path)
    except OSError as error:
        log.warning("the packed weights are kept in memory, for %s cannot be written: %s", path, error)
        return dict(make())


def _write(path: Path, arrays: Iterable[tuple[str, NDArray[np.generic]]]) -> None:
    """To a file beside it, then by a rename: nobody ever sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    index = {}
    try:
        with partial.open("wb") as file:
            for name, array in arrays:
                file.write(b"\0" * (-file.tell() % ALIGNMENT))
                index[name] = (array.dtype.str, array.shape, file.tell())
                file.write(np.ascontiguousarray(array).data)
            text = json.dumps(index).encode()
            file.write(text + struct.pack("<Q", len(text)))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _mapped(path: Path) -> Arrays:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - 8, 0))
        (length,) = struct.unpack("<Q", file.read(8).rjust(8, b"\0"))
        if not 0 < length <= size - 8:
            raise ValueError("no index at its end")
        file.seek(size - 8 - length)
        index = json.loads(file.read(length))
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    if hasattr(mmap, "MADV_WILLNEED"):
        mapped.madvise(mmap.MADV_WILLNEED)
    return {
        name: np.frombuffer(mapped, dtype, int(np.prod(shape)), offset).reshape(shape)
        for name, (dtype, shape, offset) in index.items()
    }
