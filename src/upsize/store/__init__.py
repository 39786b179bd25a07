"""Stores of vectors: one table for each generation of an index, behind one protocol.

`open_store` opens LanceDB (a folder, no server), PostgreSQL with pgvector, or Qdrant. A store keeps vectors and the
metadata that filters read; the index keeps the texts. A store knows nothing of models.
"""

from upsize.store.base import Hit, Store, Table, VectorRows
from upsize.store.credentials import ANY_STORE, Credentials, credentials_of
from upsize.store.filters import Condition, Filter, meets, parse_filter
from upsize.store.opening import open_store

__all__ = [
    "ANY_STORE",
    "Condition",
    "Credentials",
    "Filter",
    "Hit",
    "Store",
    "Table",
    "VectorRows",
    "credentials_of",
    "meets",
    "open_store",
    "parse_filter",
]
