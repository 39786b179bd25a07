"""The runs of candidates: from the passes' vectors and scores to one value a unit, kept on disk."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upsize.compute.loaded_model import QUANTIZATIONS
from upsize.errors import InvalidInput
from upsize.evaluation.datasets import Dataset
from upsize.evaluation.datasets.own_documents import leaves_out
from upsize.evaluation.metrics import point_estimate
from upsize.evaluation.tasks import Ranking, RankingTask, Task, reorder
from upsize.fingerprint import Fingerprint
from upsize.selection.candidates import Candidate, CandidateModel
from upsize.selection.inference import MOST_PLACES, PairScoreStore, truncate_vectors
from upsize.selection.row_store import RowStore
from upsize.selection.run import Run, find_run, write_run
from upsize.version import __version__

SEEDS = 5
"""Of tasks whose algorithm draws: k-means, training sets. MTEB's is the first."""
FIRST_SEED = 42
DEPTH = 100
"""Documents of the first stage that are ranked and judged."""

Vectors = Mapping[str, NDArray[np.float32]]


def digest_of(dataset: Dataset) -> str:
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


class Quality:
    """What is known of each candidate's quality, and what is missing. Everything lies below `out`."""

    def __init__(self, out: Path, task: Task, dataset: Dataset, instruction: str | None) -> None:
        self.task, self._out, self._instruction = task, out, instruction
        self.digest = digest_of(dataset)
        self.seeds = tuple(range(FIRST_SEED, FIRST_SEED + SEEDS)) if task.seeded else (FIRST_SEED,)

    def store(self, model: CandidateModel, group: str) -> RowStore:
        """The full-size vectors of a group."""
        name = f"{self._fingerprint(model)}-{self.digest}-{group}"
        asked = hashlib.sha256(str(self.task.groups()[group].instruction).encode()).hexdigest()[:8]
        return RowStore(self._out / "work" / "vectors" / f"{name}-{asked}", model.checkpoint.config.hidden_size)

    def scores(self, reranker: CandidateModel) -> PairScoreStore:
        """The reranker's log-odds."""
        asked = hashlib.sha256(str(self.rerank_instruction).encode()).hexdigest()[:8]
        return PairScoreStore(self._out / "work" / "scores", f"{self._fingerprint(reranker)}-{self.digest}-{asked}")

    @property
    def rerank_instruction(self) -> str | None:
        """The queries' own; None: the reranker's default."""
        return self.task.groups()["queries"].instruction if "queries" in self.task.groups() else None

    @property
    def runs(self) -> Path:
        """The folder of runs."""
        return self._out / "runs"

    def config(self, candidate: Candidate) -> dict[str, Any]:
        """All that shapes a candidate's values."""
        model, reranker = candidate.model, candidate.reranker
        return {
            "upsize": __version__,
            "model": model.name,
            "fingerprint": self.fingerprint(candidate),
            "dimension": candidate.dimension,
            "precision": model.precision,
            "reranker": reranker.name if reranker else None,
            "reranker_fingerprint": self._fingerprint(reranker) if reranker else None,
            "depth": candidate.depth,
            "task": self.task.name,
            "metric": self.task.metric.name,
            "instruction": self._instruction,
            "data": self.digest,
            "seeds": list(self.seeds),
        }

    def fingerprint(self, candidate: Candidate) -> str:
        """Of the candidate's vectors."""
        return _space(candidate.model).at(candidate.dimension).id

    def found(self, candidate: Candidate) -> Run | None:
        """Its run, where it is complete."""
        return find_run(candidate.id, self.config(candidate), self.runs)

    def vectors(self, candidate: Candidate) -> Vectors:
        """Of each group, cut to the candidate's dimension."""
        return {
            name: truncate_vectors(self.store(candidate.model, name).read(), candidate.dimension)
            for name in self.task.groups()
        }

    def ranking(self, candidate: Candidate) -> Ranking:
        """The first stage's, as deep as it is judged."""
        vectors = self.vectors(candidate)
        if sum(len(v) for v in vectors.values()) > MOST_PLACES:
            raise InvalidInput(f"Reranking is measured on at most {MOST_PLACES:,} texts; there are more.")
        return rankable(self.task).rank(vectors, max(DEPTH, candidate.depth or 0))

    def measure(self, candidate: Candidate) -> Run:
        """Observe every unit, from what the passes left, and write the run. Vectors and scores must be complete."""
        if candidate.reranker is None:
            vectors = self.vectors(candidate)
            columns = [self.task.observe(vectors, seed) for seed in self.seeds]
        else:
            ranking = self.ranking(candidate)
            scores = self.scores(candidate.reranker).of(ranking[:, : candidate.depth])
            columns = [rankable(self.task).observe_ranking(reorder(ranking, scores))]
        statistic = tuple(point_estimate(self.task.metric, c) for c in columns)
        run = Run(candidate.id, self.config(candidate), self.task.units, tuple(columns), statistic)
        write_run(run, self.runs)
        return run

    @staticmethod
    def _fingerprint(model: CandidateModel) -> str:
        return _space(model).id


def _space(model: CandidateModel) -> Fingerprint:
    """Of the full-size vectors that it makes when it is served."""
    quantization = QUANTIZATIONS.get(model.precision, "none")
    return model.checkpoint.fingerprint(model.precision, model.checkpoint.context, quantization)


def rankable(task: Task) -> RankingTask:
    """The task as one whose documents can be reranked; InvalidInput where there is nothing to rank."""
    if not isinstance(task, RankingTask):
        raise InvalidInput(f"--rerankers: a {task.name} task has no documents to rerank. Leave rerankers out.")
    return task
