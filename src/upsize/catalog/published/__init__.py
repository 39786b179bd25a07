"""Published quality of the three sizes: per-task scores, benchmark means, and rerankers over the small embedder.

`scores.csv` is condensed from the public results repository of MTEB by `python -m benchmarks.published_scores`;
`about.json` says from which commit, under which licence (CC0), and which broken runs were left out. The means are the
ones that the models' own pages state.
"""

from upsize.catalog.published.means import (
    BENCHMARKS,
    RERANKED,
    SIZES,
    Benchmark,
    Reranked,
)
from upsize.catalog.published.scores import About, TaskScores, about, task_scores

__all__ = [
    "BENCHMARKS",
    "RERANKED",
    "SIZES",
    "About",
    "Benchmark",
    "Reranked",
    "TaskScores",
    "about",
    "task_scores",
]
