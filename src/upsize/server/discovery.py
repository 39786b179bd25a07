"""Service discovery: a note in the folder of indexes says where the service that has them open can be reached."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import psutil

from upsize.index import home

log = logging.getLogger("upsize.server")

NOTE = "service.json"
CLOCK_TOLERANCE = 5.0
"""Seconds by which two readings of a process's start may differ. They depend on the machine's clock, which may be set
in between."""


@contextlib.contextmanager
def announced(folder: Path, url: str) -> Iterator[None]:
    """While the context is open, commands find the service. A second service of a folder keeps the first one's note."""
    path, own = folder / NOTE, {"url": url, "pid": os.getpid(), "begun": psutil.Process().create_time()}
    try:
        if running_service(folder) is None:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(own) + "\n", encoding="utf-8")
    except OSError as error:
        log.warning("Cannot write %s (%s): commands find this service only with --base-url", path, error)
    try:
        yield
    finally:
        if _read(path) == own:
            path.unlink(missing_ok=True)


def running_service(folder: Path | None = None) -> str | None:
    """The URL of the service that has a folder of indexes open (default: the user's), or None.

    A note counts only while the process that wrote it runs."""
    note = _read((folder or home()) / NOTE)
    pid, url = note.get("pid"), note.get("url")
    if not isinstance(pid, int) or not isinstance(url, str):
        return None
    try:
        same = abs(psutil.Process(pid).create_time() - float(str(note.get("begun")))) < CLOCK_TOLERANCE
    except (psutil.Error, ValueError):
        return None
    return url if same else None


def _read(path: Path) -> dict[str, object]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
