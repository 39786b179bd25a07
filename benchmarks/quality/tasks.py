"""Tasks: from a model's vectors, or from a reference's scores, to outcomes. Protocols are MTEB's where it has one.

An encoder gives unit vectors; `instruction` makes its texts queries. Symmetric tasks (pairs, clusters, classes, bitext)
take plain texts on both sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import ir_measures
import numpy as np
from ir_measures import RR, nDCG
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.stats import spearmanr
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix, f1_score, v_measure_score

from benchmarks.quality.outcomes import Outcome, mean
from benchmarks.quality.sets import Labelled, Retrieval

Matrix = NDArray[np.float32]
DEPTH = 100
"""Documents of a ranking that are kept; nDCG@10 needs ten, the reciprocal rank of a document beyond counts as 0."""
METRICS = {"nDCG@10": nDCG @ 10, "MRR": RR}


class Encoder(Protocol):
    """Texts to unit vectors."""

    def __call__(self, texts: Sequence[str], instruction: str | None = None) -> Matrix:
        """Vectors (texts, dimension)."""


def similarity(cosines: NDArray[np.float32], gold: Sequence[float]) -> Outcome:
    """Spearman's rank correlation of cosine and gold similarity."""
    scores = np.asarray(gold)
    return Outcome(len(scores), lambda chosen: float(spearmanr(cosines[chosen], scores[chosen]).statistic))


def ranking(scores: Matrix, right: Sequence[set[int]], metric: str) -> Outcome:
    """The mean of nDCG@10 or of the reciprocal rank over queries, from scores (queries, documents)."""
    return mean(per_query(scores, right, metric))


def per_query(scores: Matrix, right: Sequence[set[int]], metric: str) -> NDArray[np.float64]:
    """The metric of every query."""
    depth = min(DEPTH, scores.shape[1])
    run = {
        str(query): {str(document): float(row[document]) for document in np.argpartition(-row, depth - 1)[:depth]}
        for query, row in enumerate(scores)
    }
    qrels = {str(query): {str(document): 1 for document in documents} for query, documents in enumerate(right)}
    values = {found.query_id: found.value for found in ir_measures.iter_calc([METRICS[metric]], qrels, run)}
    return np.array([values[str(query)] for query in range(len(scores))])


def bitext(scores: Matrix) -> Outcome:
    """F1 of taking the nearest sentence of the other side as the translation, which stands at the same place."""
    nearest, right = scores.argmax(1), np.arange(len(scores))

    def statistic(chosen: NDArray[np.int64]) -> float:
        return float(f1_score(right[chosen], nearest[chosen], average="weighted", zero_division=0))

    return Outcome(len(scores), statistic)


def clusters(vectors: NDArray[np.floating], labels: Sequence[str], seeds: int = 3) -> dict[str, Outcome]:
    """V-measure, and macro F1 with every cluster named by the best one-to-one assignment, of k-means into as many
    clusters as there are classes; the mean over `seeds` runs."""
    classes = np.unique(labels, return_inverse=True)[1]
    count = int(classes.max()) + 1
    runs = [KMeans(count, n_init=3, random_state=seed).fit_predict(vectors) for seed in range(seeds)]
    named = []
    for found in runs:
        table = confusion_matrix(classes, found, labels=range(count))
        rows, columns = linear_sum_assignment(-table)
        named.append(rows[np.argsort(columns)][found])

    def v_measure(chosen: NDArray[np.int64]) -> float:
        return float(np.mean([v_measure_score(classes[chosen], found[chosen]) for found in runs]))

    def f1(chosen: NDArray[np.int64]) -> float:
        scores = [f1_score(classes[chosen], names[chosen], average="macro", zero_division=0) for names in named]
        return float(np.mean(scores))

    return {"V-measure": Outcome(len(classes), v_measure), "Hungarian F1": Outcome(len(classes), f1)}


def accuracy(
    train: NDArray[np.floating], labels: Sequence[str], test: NDArray[np.floating], truth: Sequence[str]
) -> Outcome:
    """Share of test texts whose class a logistic regression on all training texts finds."""
    found = LogisticRegression(C=10, max_iter=1000).fit(train, labels).predict(test)
    return mean((found == np.asarray(truth)).astype(float))


__all__ = [
    "Encoder",
    "Labelled",
    "Retrieval",
    "accuracy",
    "bitext",
    "clusters",
    "per_query",
    "ranking",
    "similarity",
]
