"""Tasks: what is asked of an embedding model, one file each, with MTEB's protocols so that figures are comparable."""

from upsize.measure.tasks.base import Group, Ranking, RankingTask, Slices, Task, Vectors, reorder

__all__ = ["Group", "Ranking", "RankingTask", "Slices", "Task", "Vectors", "reorder"]
