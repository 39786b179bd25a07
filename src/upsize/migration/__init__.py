"""Migration: an index moves to another model while it serves searches, with a way back.

`plan_move` estimates what a move takes, `move` makes it. `compare` judges both generations on labelled queries with the
statistics of `upsize.evaluation`; it is imported where it is needed, so that a server starts without scipy.
"""

from upsize.migration import move
from upsize.migration.labels import LabelledQuery, Relevant
from upsize.migration.plan import MovePlan, plan_move

__all__ = ["LabelledQuery", "MovePlan", "Relevant", "move", "plan_move"]
