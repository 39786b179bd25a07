"""The demo family's tasks: test sets as `benchmarks.datasets` lays them out, judged by `upsize.diagnostics`.

Retrieval puts the models' own default instruction before queries; other tasks embed plain texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from benchmarks.quality import references
from benchmarks.quality.outcomes import Outcome, mean, outcomes
from upsize.catalog import WEB_SEARCH
from upsize.evaluation.datasets import Dataset, LabelledData, PairsData, RetrievalData, load_dataset
from upsize.evaluation.metrics import Columns
from upsize.evaluation.tasks import Group, RankingTask, Task, UnjudgedTask, task_of
from upsize.evaluation.tasks.ranking import DEPTH

Vectors = Mapping[str, NDArray[np.float32]]
Encoder = Callable[[Group], NDArray[np.float32]]
"""A group's texts to unit vectors."""
SEEDS = 3
"""Runs of a task that draws: k-means' starts, training sets."""
METRICS = ("nDCG@10", "Spearman", "F1", "V-measure", "Hungarian macro F1", "accuracy")


@dataclass(frozen=True)
class LabelledSet:
    """One of them, read when it is first asked for."""

    name: str
    path: Path
    kind: str | None = None
    """Where it is not to be detected."""
    language: str = "en"
    """The words that BM25 matches."""
    metrics: tuple[str, ...] = METRICS

    @property
    def english(self) -> bool:
        """Whether an English model can do it."""
        return self.language == "en"

    @cached_property
    def data(self) -> Dataset:
        """As a user's would be read."""
        return load_dataset(self.path, self.kind)

    @cached_property
    def task(self) -> Task:
        """What is to be done with it."""
        found = task_of(self.data, WEB_SEARCH if isinstance(self.data, RetrievalData) else "")
        assert not isinstance(found, UnjudgedTask)
        return found

    def embed(self, encode: Encoder) -> Vectors:
        """Every text of it."""
        return {name: encode(group) for name, group in self.task.groups().items()}

    def judge(self, vectors: Mapping[str, Any]) -> Iterator[tuple[str, Outcome]]:
        """ "task, metric" and outcome."""
        seeds = range(SEEDS if self.task.seeded else 1)
        yield from self._outcomes([self.task.observe(vectors, seed) for seed in seeds])
        if isinstance(self.data, LabelledData) and "train" in vectors:
            found = LogisticRegression(C=10, max_iter=1000).fit(vectors["train"], self.data.train_labels)
            right = (found.predict(vectors["texts"]) == np.asarray(self.data.labels)).astype(float)
            yield f"{self.name}, accuracy with all training texts", mean(right)

    def match_words(self) -> Iterator[tuple[str, str, Outcome]]:
        """ "task, metric", the reference that needs no model, and its outcome; nothing where there is none."""
        data, task = self.data, self.task
        if isinstance(data, RetrievalData):
            assert isinstance(task, RankingTask)
            scores = references.bm25(data.queries, data.documents, self.language)
            ranking = np.argsort(-scores, kind="stable")[:, :DEPTH]
            found = self._outcomes([task.observe_ranking(ranking)])
            yield from ((name, "BM25", outcome) for name, outcome in found)
        elif isinstance(data, PairsData):
            left, right = references.tf_idf(data.left, data.right)
            cosine = np.asarray(left.multiply(right).sum(1)).ravel()
            found = self._outcomes([{"cosine": cosine, "gold": np.array(data.scores)}])
            yield from ((name, "TF-IDF of character n-grams", outcome) for name, outcome in found)
        elif isinstance(data, LabelledData) and data.train_texts:
            train, texts = references.tf_idf(data.train_texts, data.texts)
            found = self.judge({"train": train, "texts": texts})
            yield from ((name, "TF-IDF of character n-grams", outcome) for name, outcome in found)
        elif isinstance(data, LabelledData):
            found = self.judge({"texts": references.tf_idf_svd(data.texts).astype(np.float32)})
            yield from ((name, "TF-IDF + SVD", outcome) for name, outcome in found)

    def _outcomes(self, observed: list[Columns]) -> Iterator[tuple[str, Outcome]]:
        for metric, outcome in outcomes(self.task, observed, self.metrics):
            yield f"{self.name}, {metric}", outcome


def labelled_sets(data: Path) -> list[LabelledSet]:
    """All of them, from the folder that `benchmarks.datasets` wrote."""
    return [
        *(LabelledSet(f"STS-B {lang}", data / f"stsb-{lang}.csv", language=lang) for lang in ("en", "zh", "fr", "de")),
        LabelledSet("XQuAD en", data / "xquad-en"),
        LabelledSet("XQuAD zh", data / "xquad-zh", language="zh"),
        LabelledSet("XQuAD zh question, en paragraph", data / "xquad-zh-en", language="zh"),
        LabelledSet("SciFact", data / "scifact"),
        LabelledSet("CosQA", data / "cosqa", metrics=("MRR@10",)),
        *(
            LabelledSet(f"Tatoeba {lang}-en", data / f"tatoeba-{lang}-en.jsonl", language=lang, metrics=("F1",))
            for lang in ("zh", "de", "fr")
        ),
        LabelledSet("THUCNews titles", data / "thucnews.jsonl", "clustering", "zh"),
        LabelledSet("TNEWS", data / "tnews.jsonl", "clustering", "zh"),
        LabelledSet("Banking77", data / "banking77"),
    ]
