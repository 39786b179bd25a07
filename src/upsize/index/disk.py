"""A full or read-only disk: one error for all its symptoms, and checks before writes."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from upsize.errors import DiskFull

ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO})
"""errno of a failed write: no space, quota, file size limit, read-only file system, I/O error."""
SQLITE = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY})
"""Primary result codes of SQLite for the same failures."""
RESERVE, SHARE = 16 << 20, 0.05
"""Bytes that a write leaves free, or this share of a small disk: enough to open an index, delete from it and close it
(chosen)."""


@contextmanager
def on_disk(where: Path) -> Iterator[None]:
    """Raise DiskFull for errors of a full disk, or of missing permissions, within the context."""
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
    """Raise DiskFull unless `wanted` bytes fit on the disk of `folder` beside the reserve."""
    free, reserve = _space(folder)
    if free < wanted + reserve:
        raise DiskFull(str(folder), f"{free:,} bytes are free on its disk and {wanted + reserve:,} are wanted")


def shortage(folder: Path) -> str | None:
    """Why writes to `folder` are refused now; None where they are accepted."""
    free, reserve = _space(folder)
    return (
        f"{free:,} bytes are free on its disk, and {reserve:,} are kept free: writes are refused"
        if free < reserve
        else None
    )


def has_room(folder: Path) -> bool:
    """Whether a file can be written to `folder` and the reserve is free."""
    free, reserve = _space(folder)
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
    return free > reserve


def _space(folder: Path) -> tuple[int, int]:
    """Bytes that are free, and bytes to keep free."""
    stats = os.statvfs(folder)
    return stats.f_bavail * stats.f_frsize, min(RESERVE, int(SHARE * stats.f_blocks * stats.f_frsize))
