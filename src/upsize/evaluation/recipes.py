"""Recipes: a known question with everything but the data decided, so that figures can be laid beside published ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from upsize.evaluation.datasets import TaskKind
from upsize.evaluation.tasks.instructions import NEWS_TITLES


@dataclass(frozen=True)
class Recipe:
    """How a data set is to be read and asked."""

    kind: TaskKind
    instruction: str
    about: str
    """What it measures, what it needs, and what it may be compared to."""


RECIPES: Mapping[str, Recipe] = {
    "zh-news-clustering": Recipe(
        TaskKind.CLUSTERING,
        NEWS_TITLES,
        "Clustering of Chinese news titles by their section, as MTEB's ThuNewsClusteringS2S: mini-batch k-means with "
        "as many clusters as labels, V-measure, and Hungarian macro F1 and pairwise F1 beside it. Needs labelled "
        "titles, a file of {text, label}.",
    ),
}
"""By name."""
