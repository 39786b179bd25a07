"""Metrics as functions of per-unit columns and of the units drawn.

ir-measures, scikit-learn and scipy compute once what each query, pair or text contributes (see `tasks/`). A bootstrap
then needs the metric of thousands of draws, so the metrics of a draw are written in numpy here. Tests compare each
with the library's own function to 1e-9.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.stats import rankdata

Columns = Mapping[str, NDArray[Any]]
"""Name → one observation of each unit (units,)."""
Indices = NDArray[np.integer]
"""Indices of units (draws,). A unit may be drawn several times."""


class Metric(Protocol):
    """A statistic of the units drawn. Higher is better."""

    @property
    def name(self) -> str:
        """The usual name: `nDCG@10`, `Spearman`, `V-measure`."""

    @property
    def mean(self) -> bool:
        """Whether the metric is the mean of one column. A caller may then vectorise over draws."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the metric reads. A mean reads one."""

    @property
    def range(self) -> tuple[float, float]:
        """The least and the greatest possible value."""

    def __call__(self, columns: Columns, chosen: Indices) -> float:
        """The metric over the units `chosen` (draws,)."""


@dataclass(frozen=True)
class Mean:
    """The mean of one column: nDCG@10, recall, MRR, accuracy, overlap."""

    name: str
    column: str = "value"
    mean: bool = True
    range: tuple[float, float] = (0.0, 1.0)

    @property
    def columns(self) -> tuple[str, ...]:
        """The column that is averaged."""
        return (self.column,)

    def __call__(self, columns: Columns, chosen: Indices) -> float:
        """The mean of the column over the units drawn."""
        return float(columns[self.column][chosen].mean())


@dataclass(frozen=True)
class Spearman:
    """Spearman's rank correlation of cosine and gold score, as `scipy.stats.spearmanr`.

    0 where either is constant in the draw, because there is no order to compare. scipy gives NaN there.
    """

    name: str = "Spearman"
    mean: bool = False
    columns: tuple[str, ...] = ("cosine", "gold")
    range: tuple[float, float] = (-1.0, 1.0)

    def __call__(self, columns: Columns, chosen: Indices) -> float:
        """Pearson's correlation of the average ranks."""
        ranks = rankdata(np.stack([columns["cosine"][chosen], columns["gold"][chosen]]), axis=1)
        centred = ranks - ranks.mean(axis=1, keepdims=True)
        scale = np.sqrt((centred[0] @ centred[0]) * (centred[1] @ centred[1]))
        return float(centred[0] @ centred[1] / scale) if scale else 0.0


@dataclass(frozen=True)
class AveragePrecision:
    """Area under precision over recall of pairs ordered by cosine, as `sklearn.metrics.average_precision_score`.

    Columns `cosine` and `gold` (0 or 1). 0 where the draw has no positive pair, as in scikit-learn.
    """

    name: str = "average precision"
    mean: bool = False
    columns: tuple[str, ...] = ("cosine", "gold")
    range: tuple[float, float] = (0.0, 1.0)

    def __call__(self, columns: Columns, chosen: Indices) -> float:
        """Σ (gain in recall at a threshold) × (precision at it), with one threshold for each distinct cosine."""
        cosine, gold = columns["cosine"][chosen], columns["gold"][chosen]
        order = np.argsort(-cosine, kind="stable")
        cosine, gold = cosine[order], gold[order]
        last = np.flatnonzero(np.append(cosine[1:] != cosine[:-1], True))  # the last of each group of equal cosines
        found = np.cumsum(gold)[last]
        if not found[-1]:
            return 0.0
        return float((np.diff(found, prepend=0) * found / (last + 1)).sum() / found[-1])


def contingency(columns: Columns, chosen: Indices) -> NDArray[np.int64]:
    """Contingency table (labels, clusters) of the units drawn. Labels and clusters are whole numbers from 0."""
    label, cluster = columns["label"], columns["cluster"]
    width = int(cluster.max()) + 1
    size = (int(label.max()) + 1) * width
    counts = np.bincount(label[chosen].astype(np.int64) * width + cluster[chosen], minlength=size)
    return counts.reshape(-1, width)


def _entropy(counts: NDArray[np.floating]) -> float:
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log(share)).sum())


@dataclass(frozen=True)
class VMeasure:
    """Harmonic mean of homogeneity and completeness (Rosenberg and Hirschberg 2007), MTEB's metric of clustering.

    Columns `label` and `cluster`, whole numbers from 0. Equals `sklearn.metrics.v_measure_score`.
    """

    name: str = "V-measure"
    mean: bool = False
    columns: tuple[str, ...] = ("label", "cluster")
    range: tuple[float, float] = (0.0, 1.0)

    def __call__(self, columns: Columns, chosen: Indices) -> float:
        """V-measure from the entropies of the labels, of the clusters, and of both together."""
        counts = contingency(columns, chosen).astype(np.float64)
        labels, clusters, both = _entropy(counts.sum(axis=1)), _entropy(counts.sum(axis=0)), _entropy(counts.ravel())
        mutual = max(labels + clusters - both, 0.0)
        homogeneity = mutual / labels if labels else 1.0
        completeness = mutual / clusters if clusters else 1.0
        total = homogeneity + completeness
        return 2 * homogeneity * completeness / total if total else 0.0


@dataclass(frozen=True)
class HungarianF1:
    """Macro F1 after the assignment of clusters to labels, one to one, that agrees with the most units.

    The assignment (`scipy.optimize.linear_sum_assignment`) is part of the metric, so each draw gets its own. The result
    equals `sklearn.metrics.f1_score(average="macro")` over the labels of the draw after the clusters were renamed to
    their labels. A cluster without a label is wrong for all its units.
    """

    name: str = "Hungarian macro F1"
    mean: bool = False
    columns: tuple[str, ...] = ("label", "cluster")
    range: tuple[float, float] = (0.0, 1.0)

    def __call__(self, columns: Columns, chosen: Indices) -> float:
        """Mean F1 over the labels drawn."""
        counts = contingency(columns, chosen)
        rows, places = linear_sum_assignment(counts, maximize=True)
        sizes, clusters = counts.sum(axis=1), counts.sum(axis=0)
        f1 = np.zeros(len(counts))
        f1[rows] = 2 * counts[rows, places] / np.maximum(sizes[rows] + clusters[places], 1)
        return float(f1[sizes > 0].mean())


@dataclass(frozen=True)
class PairwiseF1:
    """F1 of "these two belong together" over all pairs of units, from `sklearn.metrics.pair_confusion_matrix`."""

    name: str = "pairwise F1"
    mean: bool = False
    columns: tuple[str, ...] = ("label", "cluster")
    range: tuple[float, float] = (0.0, 1.0)

    def __call__(self, columns: Columns, chosen: Indices) -> float:
        """2 TP / (pairs within a cluster + pairs within a label), or 0 without any such pair."""
        counts = contingency(columns, chosen)
        both, labels, clusters = (int((n * (n - 1)).sum()) for n in (counts, counts.sum(axis=1), counts.sum(axis=0)))
        return 2 * both / (labels + clusters) if labels + clusters else 0.0


@dataclass(frozen=True)
class BitextF1:
    """F1 of the nearest sentence being the translation, weighted by support, as in MTEB.

    Columns `gold` and `predicted`: indices of the other side's sentences. Equals
    `sklearn.metrics.f1_score(average="weighted", zero_division=0)`.
    """

    name: str = "F1"
    mean: bool = False
    columns: tuple[str, ...] = ("gold", "predicted")
    range: tuple[float, float] = (0.0, 1.0)

    def __call__(self, columns: Columns, chosen: Indices) -> float:
        """Σ support × F1 over the sentences drawn, divided by their number."""
        gold, predicted = columns["gold"][chosen], columns["predicted"][chosen]
        size = int(max(columns["gold"].max(), columns["predicted"].max())) + 1
        support, found = np.bincount(gold, minlength=size), np.bincount(predicted, minlength=size)
        right = np.bincount(gold[gold == predicted], minlength=size)
        drawn = support > 0
        f1 = 2 * right[drawn] / (support[drawn] + found[drawn])
        return float(support[drawn] @ f1 / len(chosen))


def point_estimate(metric: Metric, columns: Columns) -> float:
    """The metric over every unit once."""
    return metric(columns, np.arange(len(columns[metric.columns[0]])))
