"""Quality of candidates: from the vectors and scores on disk to one value a unit, kept as runs."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upsize.errors import InvalidInput
from upsize.evaluation.datasets import Dataset
from upsize.evaluation.datasets.own_documents import leaves_out
from upsize.evaluation.metrics import point_estimate
from upsize.evaluation.tasks import Group, Ranking, RankingTask, Task, reorder
from upsize.selection.candidates import Candidate, CandidateModel
from upsize.selection.inference import MAX_TEXTS, PairScoreStore, truncate_vectors
from upsize.selection.row_store import RowStore
from upsize.selection.run import Run, find_run, write_run
from upsize.version import __version__

SEEDS = 5
"""Runs of a task whose algorithm draws (k-means, training sets), each with its own seed; chosen for their time."""
FIRST_SEED = 42
"""MTEB's seed; the others follow it."""
DEPTH = 100
"""Documents of the first stage that are ranked and judged: as deep as recall@100 looks."""

Vectors = Mapping[str, NDArray[np.float32]]


def dataset_digest(dataset: Dataset) -> str:
    """16 hexadecimal digits of all that a dataset says: texts, ids, judgements, and which documents are left out."""
    hashed = hashlib.sha256()
    for field in dataclasses.fields(dataset):
        if field.name not in ("name", "notes", "row_errors", "named"):
            for piece in _pieces(getattr(dataset, field.name)):
                hashed.update(piece.encode("utf-8", "surrogatepass") + b"\0")
    if leaves_out(dataset):  # earlier versions did not, and their runs have other values
        hashed.update(b"without own documents")
    return hashed.hexdigest()[:16]


def _pieces(value: Any) -> Iterator[str]:
    if isinstance(value, str) or value is None or isinstance(value, int | float):
        yield str(value)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield str(key)
            yield from _pieces(item)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from _pieces(getattr(value, field.name))
    else:
        yield str(len(value))
        for item in value:
            yield from _pieces(item)


def ranking_task(task: Task) -> RankingTask:
    """The task as one whose documents can be reranked; InvalidInput where there is nothing to rank."""
    if not isinstance(task, RankingTask):
        raise InvalidInput(f"--rerankers: a {task.name} task has no documents to rerank. Leave rerankers out.")
    return task


def rerank_instruction(groups: Mapping[str, Group]) -> str | None:
    """The queries' instruction; None means the reranker's default."""
    return groups["queries"].instruction if "queries" in groups else None


class QualityStore:
    """Vectors, scores and runs of candidates in the folder `out`."""

    def __init__(
        self, out: Path, task: Task, groups: Mapping[str, Group], digest: str, instruction: str | None
    ) -> None:
        self._out, self._task, self._groups, self._digest, self._instruction = out, task, groups, digest, instruction
        self._seeds = tuple(range(FIRST_SEED, FIRST_SEED + SEEDS)) if task.seeded else (FIRST_SEED,)

    def vector_store(self, model: CandidateModel, group: str) -> RowStore:
        """The full-dimension vectors of a group."""
        name = f"{model.fingerprint.id}-{self._digest}-{group}-{_short_digest(self._groups[group].instruction)}"
        return RowStore(self._out / "work" / "vectors" / name, model.checkpoint.config.hidden_size)

    def score_store(self, reranker: CandidateModel) -> PairScoreStore:
        """The reranker's log-odds of (query, document) pairs."""
        name = f"{reranker.fingerprint.id}-{self._digest}-{_short_digest(rerank_instruction(self._groups))}"
        return PairScoreStore(self._out / "work" / "scores", name)

    def find_run(self, candidate: Candidate) -> Run | None:
        """The candidate's run, if it is complete."""
        return find_run(candidate.id, self._config(candidate), self._out / "runs")

    def ranking(self, candidate: Candidate) -> Ranking:
        """(queries, depth) places of documents by the first stage, as deep as they are judged or reranked."""
        vectors = self._vectors(candidate)
        if sum(len(v) for v in vectors.values()) > MAX_TEXTS:
            raise InvalidInput(f"Reranking is measured on at most {MAX_TEXTS:,} texts; there are more.")
        return ranking_task(self._task).rank(vectors, max(DEPTH, candidate.depth or 0))

    def write_run(self, candidate: Candidate) -> Run:
        """Evaluate every unit and write the run. Vectors and scores must be complete."""
        if candidate.reranker is None:
            vectors = self._vectors(candidate)
            columns = [self._task.observe(vectors, seed) for seed in self._seeds]
        else:
            ranking = self.ranking(candidate)
            scores = self.score_store(candidate.reranker).read(ranking[:, : candidate.depth])
            columns = [ranking_task(self._task).observe_ranking(reorder(ranking, scores))]
        statistic = tuple(point_estimate(self._task.metric, c) for c in columns)
        run = Run(candidate.id, self._config(candidate), self._task.units, tuple(columns), statistic)
        write_run(run, self._out / "runs")
        return run

    def _config(self, candidate: Candidate) -> dict[str, Any]:
        """Everything that determines the candidate's values."""
        model, reranker = candidate.model, candidate.reranker
        return {
            "upsize": __version__,
            "model": model.name,
            "fingerprint": candidate.fingerprint.id,
            "dimension": candidate.dimension,
            "precision": model.precision,
            "reranker": reranker.name if reranker else None,
            "reranker_fingerprint": reranker.fingerprint.id if reranker else None,
            "depth": candidate.depth,
            "task": self._task.name,
            "metric": self._task.metric.name,
            "instruction": self._instruction,
            "data": self._digest,
            "seeds": list(self._seeds),
        }

    def _vectors(self, candidate: Candidate) -> Vectors:
        """Group → its vectors, truncated to the candidate's dimension."""
        return {
            name: truncate_vectors(self.vector_store(candidate.model, name).read(), candidate.dimension)
            for name in self._groups
        }


def _short_digest(instruction: str | None) -> str:
    return hashlib.sha256(str(instruction).encode()).hexdigest()[:8]
