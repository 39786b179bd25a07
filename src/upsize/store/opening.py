"""Opens a store by its address. Imports a store's library only when it is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from upsize.errors import InvalidInput, MissingExtra
from upsize.store.base import Store
from upsize.store.credentials import ANY_STORE, Credentials

LANCEDB = "lancedb"


def open_store(address: str, folder: Path, credentials: Credentials = ANY_STORE) -> Store:
    """`lancedb` (in `folder`), `postgresql://…`, `qdrant` (in `folder`), or `http://…` of a Qdrant server.

    `credentials` says which secrets of the environment may be sent to this address. InvalidInput for anything else,
    MissingExtra without the library.
    """
    if address == LANCEDB:
        return _lance(folder)
    if address.startswith(("postgresql://", "postgres://")):
        return _postgres(address, credentials.postgres_password(address))
    if address == "qdrant" or address.startswith(("http://", "https://")):
        if address == "qdrant":
            return _qdrant({"path": str(folder)})
        return _qdrant({"url": address, "api_key": credentials.qdrant_key(address)})
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


def _postgres(address: str, password: bool) -> Store:
    try:
        from upsize.store.pgvector import PgvectorStore
    except ImportError as error:
        raise MissingExtra("An index in PostgreSQL", error.name or "psycopg", "postgres") from None
    return PgvectorStore(address, environment_password=password)


def _qdrant(arguments: dict[str, Any]) -> Store:
    try:
        from upsize.store.qdrant import QdrantStore
    except ImportError as error:
        raise MissingExtra("An index in Qdrant", error.name or "qdrant-client", "qdrant") from None
    return QdrantStore(**arguments)
