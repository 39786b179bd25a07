"""Classification: the accuracy of a classifier that is trained on a few labelled vectors.

As in MTEB: ten random training sets of at most eight texts a label, logistic regression of at most 100 iterations, and
the mean accuracy of the ten on the test texts. Without training texts, MTEB's cross-validation: a classifier trained on
eight texts a label of four folds predicts the fifth. MTEB's seed is 42.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold

from upsize.evaluation.datasets import LabelledData
from upsize.evaluation.metrics import Columns, Mean, Metric
from upsize.evaluation.tasks.base import Group, GroupVectors
from upsize.evaluation.tasks.lint import lint_labelled
from upsize.evaluation.tasks.unit_task import UnitTask

EXAMPLES, EXPERIMENTS, FOLDS, ITERATIONS = 8, 10, 5, 100

Labels = NDArray[np.str_]
Vector = NDArray[np.float32]


class ClassificationTask(UnitTask[LabelledData]):
    """Texts with a label each, and optionally texts to train on."""

    metric: ClassVar[Metric] = Mean("accuracy")
    also: ClassVar[tuple[Metric, ...]] = ()
    seeded: ClassVar[bool] = True

    @property
    def _unit_texts(self) -> Sequence[str]:
        return self.data.texts

    @property
    def _judged(self) -> Sequence[Hashable]:
        return self.data.labels

    def _lint(self) -> Iterator[str]:
        return lint_labelled(self.data)

    def chance(self, columns: Columns) -> float:  # noqa: ARG002 (a guess needs no columns)
        """Accuracy of guessing one of the labels at random."""
        return 1 / len(set(self.data.labels))

    def groups(self) -> Mapping[str, Group]:
        """The test texts, and texts to train on where there are any, with the instruction."""
        texts = {"texts": Group(self.data.texts, None, self.instruction)}
        if self.data.train_texts:
            texts["train"] = Group(self.data.train_texts, None, self.instruction)
        return texts

    def observe(self, vectors: GroupVectors, seed: int) -> Columns:
        """`value`: the share of the experiments that predict the label of each text."""
        labels = np.array(self.data.labels)
        texts = vectors["texts"]
        right = np.zeros(len(labels))
        order: list[int] | None = None
        if self.data.train_texts:
            train, train_labels = vectors["train"], np.array(self.data.train_labels)
            for _ in range(EXPERIMENTS):
                order, drawn = draw(train_labels, seed, order)
                right += predict(train[drawn], train_labels[drawn], texts, seed) == labels
            return {"value": right / EXPERIMENTS}
        for others, judged in KFold(FOLDS, shuffle=True, random_state=seed).split(texts):
            order, drawn = draw(labels[others], seed, order)
            chosen = others[drawn]
            right[judged] = predict(texts[chosen], labels[chosen], texts[judged], seed) == labels[judged]
        return {"value": right}


def draw(labels: Labels, seed: int, order: list[int] | None) -> tuple[list[int], list[int]]:
    """(order, indices of at most eight texts a label). Each draw shuffles the order of the draw before, as in MTEB."""
    order = list(range(len(labels))) if order is None else order
    np.random.RandomState(seed).shuffle(order)
    seen: Counter[str] = Counter()
    drawn = []
    for place in order:
        label = str(labels[place])
        if seen[label] < EXAMPLES:
            drawn.append(place)
            seen[label] += 1
    return order, drawn


def predict(train: Vector, labels: Labels, texts: Vector, seed: int) -> Labels:
    """Labels predicted by logistic regression. Where all training texts have one label, that label."""
    if len(np.unique(labels)) == 1:
        return np.repeat(labels[:1], len(texts))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the protocol is 100 iterations, converged or not
        model = LogisticRegression(max_iter=ITERATIONS, random_state=seed).fit(train, labels)
    return np.asarray(model.predict(texts))
