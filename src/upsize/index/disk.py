"""A disk that takes no more: told as one error, looked for before a write, and tried again from time to time."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from upsize.errors import DiskFull

ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO})
"""Of a write that the disk did not take: no space, a quota, a limit, a read-only file system, a fault."""
SQLITE = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY})
"""SQLite's primary result codes for the same."""
RESERVE, SHARE = 16 << 20, 0.05
"""Bytes that a write leaves free, or that share of a small disk: with them an index can be opened, deleted from and
closed."""


@contextmanager
def on_disk(where: Path) -> Iterator[None]:
    """What a disk that takes no more, or nothing of this user, makes of the calls within, as DiskFull."""
    try:
        yield
    except OSError as error:
        if isinstance(error, PermissionError):
            advice = "Write as the folder's owner, or set UPSIZE_INDEXES to a folder of this user."
            raise DiskFull(str(where), error.strerror or str(error), advice) from error
        if error.errno not in ERRNOS:
            raise
        raise DiskFull(str(where), error.strerror or str(error)) from error
    except sqlite3.Error as error:
        if (getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF not in SQLITE:
            raise
        raise DiskFull(str(where), str(error)) from error


def require_room(folder: Path, wanted: int) -> None:
    """DiskFull unless `wanted` bytes fit on the disk of `folder` and leave a reserve."""
    free, spare = _space(folder)
    if free < wanted + spare:
        raise DiskFull(str(folder), f"{free:,} bytes are free on its disk and {wanted + spare:,} are wanted")


def shortage(folder: Path) -> str | None:
    """Why writes into `folder` are refused now; None where they are not."""
    free, spare = _space(folder)
    return f"{free:,} bytes are free on its disk, and {spare:,} stay free: writes are refused" if free < spare else None


def has_room(folder: Path) -> bool:
    """Whether a file can be written into `folder` and leave a reserve."""
    free, spare = _space(folder)
    probe = folder / ".space"
    try:
        with probe.open("wb") as file:
            file.write(b"\0" * (64 << 10))
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        return False
    finally:
        probe.unlink(missing_ok=True)
    return free > spare


def _space(folder: Path) -> tuple[int, int]:
    """Bytes that are free, and that are to stay free."""
    told = os.statvfs(folder)
    return told.f_bavail * told.f_frsize, min(RESERVE, int(SHARE * told.f_blocks * told.f_frsize))
