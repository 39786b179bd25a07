"""Where vectors live: one table a generation, behind one protocol.

`open_store` gives LanceDB (a folder, nothing to start), PostgreSQL with pgvector, or Qdrant. A store keeps vectors and
what they are filtered by; the texts are the index's. It knows nothing of models.
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
