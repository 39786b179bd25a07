"""Where vectors live: one table a generation, behind one protocol.

`open_store` gives LanceDB (a folder, nothing to start), PostgreSQL with pgvector, or Qdrant. A store keeps vectors and
what they are filtered by; the texts are the index's. It knows nothing of models.
"""

from upsize.store.base import Hit, Rows, Store, Table
from upsize.store.filters import Condition, Filter, parse_filter
from upsize.store.opening import open_store
from upsize.store.secrets import Secrets, secrets_of

__all__ = ["Condition", "Filter", "Hit", "Rows", "Secrets", "Store", "Table", "open_store", "parse_filter", "secrets_of"]
