"""Forward passes of a choice: each model embeds each group once, each reranker scores each pair once.

All dimensions are truncated from one set of vectors (MRL). All depths of reranking, and all first stages, share one set
of scores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from upsize.compute import LoadedModel, load_model
from upsize.engine import UNLIMITED, EmbedRequest, Engine, Priority, Request, RerankRequest, Result
from upsize.engine.submit_ahead import submit_ahead
from upsize.evaluation.tasks import Ranking, RankingTask
from upsize.model import HubOptions, Truncation, unit_vectors
from upsize.selection.candidates import CandidateModel
from upsize.selection.row_store import RowStore
from upsize.selection.tokenization import TokenizedTexts

TEXTS_PER_REQUEST = 64
"""Chosen: the engine always has a full batch, and a kill loses little."""
TRUNCATED_AT_ONCE = 65_536
"""Vectors truncated at a time, so that their double-precision copy stays small."""
SCORE_COLUMNS = 3
"""A row of a score store: query, document, log-odds, all float32."""
MAX_TEXTS = 1 << 24
"""Indices below this are exact in float32."""
KEPT_SHARE = 0.5
"""Share of the free memory that loaded models may fill; chosen: vectors and rankings need the rest."""


class ModelCache:
    """Keeps loaded models while their estimated memory fits, so that each is loaded once where memory allows."""

    def __init__(
        self, device: str, hub: HubOptions, memory: int, required_memory: Callable[[CandidateModel], int]
    ) -> None:
        """`memory` is what the device has free, `required_memory` what a model takes, both in bytes."""
        self._device, self._hub, self._required_memory = device, hub, required_memory
        self._limit = KEPT_SHARE * memory
        self._loaded: dict[CandidateModel, LoadedModel] = {}

    def get(self, *models: CandidateModel) -> tuple[LoadedModel, ...]:
        """The models, loaded together. Others are unloaded first, oldest first, where memory does not suffice."""
        for other in [m for m in self._loaded if m not in models]:
            if sum(map(self._required_memory, {*self._loaded, *models})) > self._limit:
                self.unload(other)
        for model in models:
            if model not in self._loaded:
                self._loaded[model] = load_candidate_model(model, self._device, self._hub)
        return tuple(self._loaded[model] for model in models)

    def unload(self, model: CandidateModel) -> None:
        """Free a model that is not used again."""
        self._loaded.pop(model, None)


def load_candidate_model(model: CandidateModel, device: str = "auto", hub: HubOptions = HubOptions()) -> LoadedModel:
    """Load the model on the device, in its precision."""
    return load_model(model.source, kind=model.checkpoint.kind, device=device, dtype=model.precision, hub=hub)


def unlimited_engine(models: Mapping[str, LoadedModel]) -> Engine:
    """An engine that admits every request of a choice."""
    return Engine(models, replace(UNLIMITED, requests=1 << 20))


def ordered_results(engine: Engine, name: str, requests: Iterable[Request]) -> Iterator[Result]:
    """Results of requests, in order; several requests are in flight at once."""
    with closing(submit_ahead(partial(engine.submit, name), requests)) as futures:
        for future in futures:
            yield future.result()


def embed_texts(
    store: RowStore, engine: Engine, name: str, tokens: TokenizedTexts, *, label: str, progress: bool
) -> None:
    """Fill `store` with the full-dimension vectors of all texts, from its last row on."""
    done = store.cost.rows
    if done >= len(tokens):
        return

    def rows() -> Iterator[tuple[NDArray[np.float32], int]]:
        requests = (
            EmbedRequest(
                [tokens[i].tolist() for i in range(first, min(first + TEXTS_PER_REQUEST, len(tokens)))],
                truncation=Truncation(True),
                priority=Priority.BULK,
            )
            for first in range(done, len(tokens), TEXTS_PER_REQUEST)
        )
        for result in ordered_results(engine, name, requests):
            yield result.values, sum(result.tokens)

    store.fill(len(tokens), rows(), label=f"{label} embedded", unit="texts", progress=progress)


def truncate_vectors(vectors: NDArray[np.float32], dimension: int) -> NDArray[np.float32]:
    """The first `dimension` values of each vector, normalised again: (rows, dimension)."""
    if dimension == vectors.shape[1]:
        return vectors
    truncated = np.empty((len(vectors), dimension), np.float32)
    for first in range(0, len(vectors), TRUNCATED_AT_ONCE):
        block = np.asarray(vectors[first : first + TRUNCATED_AT_ONCE])
        truncated[first : first + TRUNCATED_AT_ONCE] = unit_vectors(block, dimension, "")
    return truncated


class PairScoreStore:
    """A reranker's log-odds of (query, document) pairs, each scored once."""

    def __init__(self, folder: Path, name: str) -> None:
        self._store = RowStore(folder / name, SCORE_COLUMNS)
        self._scores: dict[tuple[int, int], float] = {}
        self._load_new_rows()

    def score(
        self,
        engine: Engine,
        name: str,
        task: RankingTask,
        ranking: Ranking,
        instruction: str | None,
        *,
        label: str,
        progress: bool,
    ) -> None:
        """Score the pairs of `ranking` (queries, depth) that have no score yet."""
        missing = self._missing(ranking)
        if not missing:
            return

        def requests() -> Iterator[Request]:
            for query_index, ranks in missing:
                query, documents = task.pairs(ranking, query_index)
                texts = [documents[rank] for rank in ranks]
                yield RerankRequest(query, texts, instruction, Truncation(True), priority=Priority.BULK)

        def rows() -> Iterator[tuple[NDArray[np.float32], int]]:
            for (query_index, ranks), result in zip(missing, ordered_results(engine, name, requests()), strict=True):
                yield _score_rows(query_index, ranking[query_index][ranks], result.values), sum(result.tokens)

        total = self._store.cost.rows + sum(len(ranks) for _, ranks in missing)
        self._store.fill(total, rows(), label=f"{label} scored", unit="pairs", progress=progress)
        self._load_new_rows()

    def read(self, ranking: Ranking) -> NDArray[np.float64]:
        """(queries, depth) log-odds of the ranking's pairs; NaN where it has no document."""
        return np.array(
            [[self._scores[query, int(d)] if d >= 0 else np.nan for d in row] for query, row in enumerate(ranking)]
        )

    def _missing(self, ranking: Ranking) -> list[tuple[int, list[int]]]:
        """(query, ranks) of the pairs without a score."""
        pairs = (
            (query, [rank for rank, d in enumerate(row) if d >= 0 and (query, int(d)) not in self._scores])
            for query, row in enumerate(ranking)
        )
        return [(query, ranks) for query, ranks in pairs if ranks]

    def _load_new_rows(self) -> None:
        for query, document, score in self._store.read().tolist()[len(self._scores) :]:
            self._scores[int(query), int(document)] = score


def _score_rows(
    query: int, documents: Sequence[int] | NDArray[np.int64], scores: NDArray[np.float32]
) -> NDArray[np.float32]:
    return np.stack([np.full(len(scores), query), documents, scores], axis=1).astype(np.float32)
