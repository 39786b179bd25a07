"""The passes through the network: vectors of each group once a model, scores of each pair once a reranker.

All dimensions are cut from one pass (MRL), all depths of reranking read one set of scores, and what another first stage
ranks as well is scored once for both.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from upsize.compute import LoadedModel, load_model
from upsize.engine import UNLIMITED, EmbedRequest, Engine, Priority, Request, RerankRequest, Result
from upsize.evaluation.tasks import Ranking, RankingTask
from upsize.model import HubOptions, Truncation, unit_vectors
from upsize.selection.candidates import CandidateModel
from upsize.selection.row_store import ComputeCost, RowStore
from upsize.selection.tokenization import TokenizedTexts

CALL, AHEAD = 64, 4
"""Texts of one request, and requests in the engine at once."""
CUT = 65_536
"""Vectors cut at a time: the double precision that they are normalised in is never there for all."""
SCORE = 3
"""A row of a reranker's store: query, document, log-odds. Places below 2^24 are exact in float32."""
MOST_PLACES = 1 << 24


def load_candidate_model(model: CandidateModel, device: str = "auto", hub: HubOptions = HubOptions()) -> LoadedModel:
    """The model on the device, in its precision."""
    return load_model(model.asked, kind=model.checkpoint.kind, device=device, dtype=model.precision, hub=hub)


def unlimited_engine(models: Mapping[str, LoadedModel]) -> Engine:
    """An engine that refuses no work of ours."""
    return Engine(models, replace(UNLIMITED, requests=1 << 20))


def ordered_results(engine: Engine, name: str, requests: Iterable[Request]) -> Iterator[Result]:
    """Results of requests in their order, a few being under way at once."""
    under_way: deque[Future[Result]] = deque()
    try:
        for request in requests:
            under_way.append(engine.submit(name, request))
            if len(under_way) > AHEAD:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        for future in under_way:
            future.cancel()


def embed(
    store: RowStore, engine: Engine, name: str, tokens: TokenizedTexts, *, label: str, progress: bool
) -> ComputeCost:
    """Fill `store` with the full-size vectors of all texts, from where it stopped."""
    done = store.spent.rows

    def rows() -> Iterator[tuple[NDArray[np.float32], int]]:
        requests = (
            EmbedRequest(
                [tokens[i].tolist() for i in range(first, min(first + CALL, len(tokens)))],
                truncation=Truncation(True),
                priority=Priority.BULK,
            )
            for first in range(done, len(tokens), CALL)
        )
        for result in ordered_results(engine, name, requests):
            yield result.values, sum(result.tokens)

    if done < len(tokens):
        store.fill(len(tokens), rows(), label=f"{label} embedded", unit="texts", progress=progress)
    return store.spent


def truncate_vectors(vectors: NDArray[np.float32], dimension: int) -> NDArray[np.float32]:
    """The first `dimension` values of each vector, of length 1 again: (rows, dimension)."""
    if dimension == vectors.shape[1]:
        return vectors
    whole = np.empty((len(vectors), dimension), np.float32)
    for first in range(0, len(vectors), CUT):
        whole[first : first + CUT] = unit_vectors(np.asarray(vectors[first : first + CUT]), dimension, "")
    return whole


class PairScoreStore:
    """A reranker's log-odds of (query, document) pairs, each scored once."""

    def __init__(self, folder: Path, name: str) -> None:
        self._store = RowStore(folder / name, SCORE)
        self._known: dict[tuple[int, int], float] = {}
        self._read()

    @property
    def spent(self) -> ComputeCost:
        """Pairs, tokens and seconds so far."""
        return self._store.spent

    def missing(self, ranking: Ranking) -> list[tuple[int, list[int]]]:
        """(query, places in its ranking) that are not scored yet."""
        wanted = (
            (unit, [k for k, place in enumerate(row) if place >= 0 and (unit, int(place)) not in self._known])
            for unit, row in enumerate(ranking)
        )
        return [(unit, places) for unit, places in wanted if places]

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
        """Score what of the ranking is not scored yet."""
        todo = self.missing(ranking)

        def requests() -> Iterator[Request]:
            for unit, places in todo:
                query, documents = task.pairs(ranking, unit)
                chosen = [documents[k] for k in places]
                yield RerankRequest(query, chosen, instruction, Truncation(True), priority=Priority.BULK)

        def rows() -> Iterator[tuple[NDArray[np.float32], int]]:
            for (unit, places), result in zip(todo, ordered_results(engine, name, requests()), strict=True):
                yield _rows(unit, ranking[unit][places], result.values), sum(result.tokens)

        total = self._store.spent.rows + sum(len(places) for _, places in todo)
        if todo:
            self._store.fill(total, rows(), label=f"{label} scored", unit="pairs", progress=progress)
            self._read()

    def of(self, ranking: Ranking) -> NDArray[np.float64]:
        """(queries, depth) log-odds; NaN where a ranking has no document."""
        return np.array(
            [[self._known[unit, int(p)] if p >= 0 else np.nan for p in row] for unit, row in enumerate(ranking)]
        )

    def _read(self) -> None:
        for unit, place, value in self._store.read().tolist()[len(self._known) :]:
            self._known[int(unit), int(place)] = value


def _rows(unit: int, places: Sequence[int] | NDArray[np.int64], values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.stack([np.full(len(values), unit), places, values], axis=1).astype(np.float32)
