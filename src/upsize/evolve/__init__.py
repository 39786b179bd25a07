"""Indexes that live: what was written and deleted, kept so that vectors of any model can be made from it again.

`journal` is what an index rests on. Everything else in an index is derived from it.
"""

from upsize.evolve.journal import Delete, Entry, Journal, Upsert

__all__ = ["Delete", "Entry", "Journal", "Upsert"]
