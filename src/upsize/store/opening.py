"""From an address to a store. Each one's library is asked for only when it is wanted."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from upsize.errors import InvalidInput, MissingExtra
from upsize.store.base import Store

LANCEDB = "lancedb"
QDRANT_KEY = "QDRANT_API_KEY"
"""Of the environment, so that no key is written into an index's state."""


def open_store(address: str, folder: Path) -> Store:
    """`lancedb` (in `folder`), `postgresql://…`, `qdrant` (in `folder`), or `http://…` of a Qdrant server.

    InvalidInput for anything else, MissingExtra without the library.
    """
    if address == LANCEDB:
        return _lance(folder)
    if address.startswith(("postgresql://", "postgres://")):
        return _postgres(address)
    if address == "qdrant" or address.startswith(("http://", "https://")):
        key = os.environ.get(QDRANT_KEY)
        return _qdrant({"path": str(folder)} if address == "qdrant" else {"url": address, "api_key": key})
    raise InvalidInput(
        f"The store {address!r} is not known: use lancedb, postgresql://user@host/database, qdrant, or the http:// "
        "address of a Qdrant server.",
        param="store",
    )


def _lance(folder: Path) -> Store:
    try:
        from upsize.store.lance import LanceStore
    except ImportError as error:
        raise MissingExtra("An index in LanceDB", error.name or "lancedb", "index") from None
    return LanceStore(folder)


def _postgres(address: str) -> Store:
    try:
        from upsize.store.pgvector import PgvectorStore
    except ImportError as error:
        raise MissingExtra("An index in PostgreSQL", error.name or "psycopg", "postgres") from None
    return PgvectorStore(address)


def _qdrant(arguments: dict[str, Any]) -> Store:
    try:
        from upsize.store.qdrant import QdrantStore
    except ImportError as error:
        raise MissingExtra("An index in Qdrant", error.name or "qdrant-client", "qdrant") from None
    return QdrantStore(**arguments)
