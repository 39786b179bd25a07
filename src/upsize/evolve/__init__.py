"""Indexes that live: texts that can be searched, and moved to another model while they are.

What was written and deleted is in a `Journal`, on disk before anyone is told so; everything else in an `Index` is made
from it. `plan_move` says what a move takes, `move` makes it, `ladder` holds the steps before it. `compare` judges by
`choose`'s statistics; it is imported by whoever needs it, since a server that only serves shall start fast.
"""

from upsize.evolve import ladder, move
from upsize.evolve.creation import Setup, Wanted
from upsize.evolve.incoming import Incoming, Written
from upsize.evolve.index import Index
from upsize.evolve.indexes import Indexes, home
from upsize.evolve.journal import Delete, Entry, Journal, Upsert
from upsize.evolve.labels import LabelledQuery, Relevant
from upsize.evolve.models import Models
from upsize.evolve.plan import MovePlan, plan_move
from upsize.evolve.search import Answer, Found, Question
from upsize.evolve.state import Rerank, Rescore

__all__ = [
    "Answer",
    "Delete",
    "Entry",
    "Found",
    "Incoming",
    "Index",
    "Indexes",
    "Journal",
    "LabelledQuery",
    "Models",
    "MovePlan",
    "Question",
    "Relevant",
    "Rerank",
    "Rescore",
    "Setup",
    "Upsert",
    "Wanted",
    "Written",
    "home",
    "ladder",
    "move",
    "plan_move",
]
