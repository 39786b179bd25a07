"""Live indexes: a journal of writes, the documents, their vectors in generations, and searches.

Every write goes to the `Journal` first, and is acknowledged once it is on disk. Everything else in an `Index` is
derived from the journal. `upsize.migration` moves an index to another model.
"""

from upsize.index import cascade
from upsize.index.creation import Setup, VectorSpec
from upsize.index.index import Index
from upsize.index.indexes import Indexes, home
from upsize.index.journal import Delete, Entry, Journal, Upsert
from upsize.index.models import ModelPool
from upsize.index.state import Rerank, Rescore
from upsize.index.types import SearchHit, SearchRequest, SearchResult
from upsize.index.writes import DocumentWrite, WriteResult

__all__ = [
    "Delete",
    "DocumentWrite",
    "Entry",
    "Index",
    "Indexes",
    "Journal",
    "ModelPool",
    "Rerank",
    "Rescore",
    "SearchHit",
    "SearchRequest",
    "SearchResult",
    "Setup",
    "Upsert",
    "VectorSpec",
    "WriteResult",
    "cascade",
    "home",
]
