"""Presence: where the service that has this machine's indexes open can be reached, for commands to find it."""

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

FILE = "service.json"
CLOCK = 5.0
"""Seconds by which two readings of when a process began may differ."""


@contextlib.contextmanager
def announced(folder: Path, url: str) -> Iterator[None]:
    """While this holds, commands find the service. A second service of the same folder leaves the first one's note."""
    path, own = folder / FILE, {"url": url, "pid": os.getpid(), "begun": psutil.Process().create_time()}
    try:
        if running_service(folder) is None:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(own) + "\n", encoding="utf-8")
    except OSError as error:
        log.warning("%s cannot be written (%s): commands do not find this service without --base-url", path, error)
    try:
        yield
    finally:
        if _read(path) == own:
            path.unlink(missing_ok=True)


def running_service(folder: Path | None = None) -> str | None:
    """The URL of the service of a folder of indexes (default: the user's), if the very process that left it runs."""
    told = _read((folder or home()) / FILE)
    pid, url = told.get("pid"), told.get("url")
    if not isinstance(pid, int) or not isinstance(url, str):
        return None
    try:
        # Told from the machine's clock, which may have been set meanwhile.
        same = abs(psutil.Process(pid).create_time() - float(str(told.get("begun")))) < CLOCK
    except (psutil.Error, ValueError):
        return None
    return url if same else None


def _read(path: Path) -> dict[str, object]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
