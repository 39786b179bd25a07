"""Clustering: how well k-means finds the labels, given their number.

This is MTEB's protocol of the published Chinese figures (`AbsTaskClusteringLegacy`): mini-batch k-means over all texts
with as many clusters as labels, batches of 500, one k-means++ start, V-measure. MTEB's newer protocol clusters
bootstrap samples; here the caller resamples. The start is random, so several seeds are averaged.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import MiniBatchKMeans

from upsize.evaluation.datasets import LabelledData
from upsize.evaluation.metrics import Columns, HungarianF1, Metric, PairwiseF1, VMeasure
from upsize.evaluation.tasks.base import Group, GroupVectors
from upsize.evaluation.tasks.lint import lint_labelled
from upsize.evaluation.tasks.unit_task import UnitTask

BATCH = 500
"""Texts of a mini-batch of k-means, as in MTEB."""


class ClusteringTask(UnitTask[LabelledData]):
    """Texts with a label each."""

    metric: ClassVar[Metric] = VMeasure()
    also: ClassVar[tuple[Metric, ...]] = (HungarianF1(), PairwiseF1())
    seeded: ClassVar[bool] = True

    @property
    def _unit_texts(self) -> Sequence[str]:
        return self.data.texts

    @cached_property
    def _labels(self) -> NDArray[np.int64]:
        return np.unique(self.data.labels, return_inverse=True)[1]

    @property
    def _judged(self) -> Sequence[Hashable]:
        return self.data.labels

    def _lint(self) -> Iterator[str]:
        return lint_labelled(self.data)

    def groups(self) -> Mapping[str, Group]:
        """All texts, with the instruction."""
        return {"texts": Group(self.data.texts, None, self.instruction)}

    def observe(self, vectors: GroupVectors, seed: int) -> Columns:
        """`label` and `cluster` of each text, whole numbers from 0."""
        kmeans = MiniBatchKMeans(self._labels.max() + 1, batch_size=BATCH, n_init="auto", random_state=seed)
        return {"label": self._labels, "cluster": kmeans.fit(vectors["texts"]).labels_.astype(np.int64)}
