"""Atomic writes: whoever opens a path finds the old file or the whole new one, never a part.

Every file that this program replaces is replaced by one of these functions.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: Path, mode: int | None = None) -> Iterator[BinaryIO]:
    """Open a file beside `path` for writing. At the end of the block it is on disk and takes the place of `path`.

    An error in the block removes the new file and leaves the old one. `mode` sets the permissions before anything is
    written. The rename itself is on disk only after `fsync_path(path.parent)`: a cache does without it.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            if mode is not None:
                partial.chmod(mode)
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_atomic(path: Path, content: bytes, mode: int | None = None) -> None:
    """Replace `path` by a file of this content. On return the file and its name are on disk."""
    with replacing(path, mode) as file:
        file.write(content)
    fsync_path(path.parent)


def fsync_path(path: Path) -> None:
    """Put a file, or a folder's list of names, on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
