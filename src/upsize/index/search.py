"""Search: a cascade of stages, with the time of each.

    L0   nearest documents by the vectors of the active generation
    L2   a larger model rescores the first results; its generation keeps the vectors that it makes
    L1   a reranker reorders the first results

Each stage is a setting of the index, which a search may override.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upsize.engine import Priority
from upsize.errors import FingerprintMismatch, InvalidInput, StoreDamaged, UpsizeError
from upsize.index.bisection import CANNOT, each
from upsize.index.coverage import ready
from upsize.index.documents import Document, Documents
from upsize.index.models import ModelPool
from upsize.index.state import Generation, Rerank, Rescore, State
from upsize.index.types import NewVectors, SearchHit, SearchRequest, SearchResult
from upsize.model import probability
from upsize.store import Hit, Store, meets
from upsize.store.base import cut

MAX_RESULTS = 1000
"""Results of one search at most."""
SLACK = 16
"""Hits fetched beyond those wanted, to replace documents that were deleted a moment ago."""


class _Clock:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def __call__(self, part: str) -> None:
        now = time.perf_counter()
        self.seconds[part] = self.seconds.get(part, 0.0) + now - self._last
        self._last = now


class Searcher:
    """Answers the searches of one index. A search changes nothing."""

    def __init__(
        self,
        state: Callable[[], State],
        documents: Documents,
        store: Store,
        models: ModelPool,
        unsearchable: Callable[[Generation], tuple[int, int]],
    ) -> None:
        """`unsearchable` counts documents that a generation lacks: its backlog, and those that its model refused."""
        self._state, self._documents, self._store, self._models, self._unsearchable = (
            state,
            documents,
            store,
            models,
            unsearchable,
        )

    def search(self, request: SearchRequest) -> SearchResult:
        """Run the stages that are set, or asked for by the request.

        A search whose generation was dropped by a switch meanwhile runs once more.
        """
        active = self._state().active
        # Bulk work would compete with the store's scan, and a backfill always has more of it.
        engine = self._models.engine
        with engine.throttle_bulk() if request.priority is Priority.INTERACTIVE else nullcontext():
            try:
                return self._search(request)
            except StoreDamaged:
                if request.generation or self._state().active == active:
                    raise
                return self._search(request)

    def _search(self, request: SearchRequest) -> SearchResult:
        state, clock = self._state(), _Clock()
        canary_failed: str | None = None
        new_vectors: NewVectors | None = None
        if not 1 <= request.k <= MAX_RESULTS:
            raise InvalidInput(f"k is {request.k}; give 1 to {MAX_RESULTS}.", param="k")
        generation = state.generation(request.generation) if request.generation else self._generation_for(request)
        rerank = _setting(request.rerank, state.rerank)
        if rerank and rerank.depth > MAX_RESULTS:
            raise InvalidInput(f"depth is {rerank.depth}; give 1 to {MAX_RESULTS}.", param="rerank")
        rescore = _setting(request.rescore, state.rescore)
        depth = max(request.k, rerank.depth if rerank else 0, rescore.depth if rescore else 0)
        try:
            vector = self._vector(request, generation)
        except CANNOT:
            if request.generation or generation.id == state.active:
                raise
            canary_failed, generation = generation.id, state.serving  # only the new model cannot embed the query
            vector = self._vector(request, generation)
        clock("embed")
        funnel = state.funnel if request.funnel is None else min(request.funnel, MAX_RESULTS)
        hits = self._store.search(
            state.table(generation),
            vector,
            depth + SLACK,
            where=request.where,
            exact=request.exact,
            coarse=max(funnel, depth) if funnel and generation.coarse else None,
        )
        clock("search")
        documents = self._documents.get([hit.id for hit in hits])
        current = _current_hits(hits, documents, request)
        found = [SearchHit(documents[h.id], h.score, {"cosine": h.score}) for h in current][:depth]
        clock("texts")
        rungs = ["L0"]
        if found and rescore and rescore.generation != generation.id:
            found, new_vectors = self._rescored(request, found, rescore)
            rungs.append("L2")
            clock("rescore")
        if found and rerank:
            found = self._reranked(request, found, rerank)
            rungs.append("L1")
            clock("rerank")
        missing, refused = self._unsearchable(generation)
        return SearchResult(
            found[: request.k], generation, tuple(rungs), clock.seconds, missing, refused, new_vectors, canary_failed
        )

    def _generation_for(self, request: SearchRequest) -> Generation:
        """The generation to search: the active one, or by chance the target of a move with a canary, once it is ready.
        A query vector or a dimension belongs to the active generation."""
        state = self._state()
        move = state.move
        free = request.query is not None and request.dimension is None
        chosen = move and free and move.phase == "backfill" and random.random() < move.canary
        if move and chosen and ready(self._documents, move.target):
            return state.generation(move.target)
        return state.serving

    def _vector(self, request: SearchRequest, generation: Generation) -> NDArray[np.float32]:
        dimension = request.dimension or generation.dimension
        if dimension not in (generation.dimension, generation.coarse):
            there = " or ".join(str(d) for d in (generation.dimension, generation.coarse) if d)
            raise InvalidInput(f"dimension is {dimension}; this index holds vectors of {there}.", param="dimension")
        if (request.query is None) == (request.vector is None):
            raise InvalidInput("Give a query's text, or its vector with its fingerprint.", param="query")
        if request.vector is not None:
            return cut(self._client_vector(request, generation), dimension)
        assert request.query is not None
        if not request.query.strip():
            raise InvalidInput("The query is empty.", param="query")
        return self._models.embed_query(
            self._models.of(generation, self._state().name),
            request.query,
            dimension,
            self._instruction(request),
            request.priority,
        )

    def _client_vector(self, request: SearchRequest, generation: Generation) -> NDArray[np.float32]:
        """The client's query vector. Raises FingerprintMismatch unless the generation's model made it."""
        wanted = generation.fingerprint
        if not request.fingerprint or request.fingerprint not in (wanted.id, generation.former_fingerprint):
            what = f"is of the space {request.fingerprint}" if request.fingerprint else "comes without a fingerprint"
            raise FingerprintMismatch(
                f"The query's vector {what}; generation {generation.id} of {self._state().name!r} holds vectors of "
                f"{wanted.id} ({generation.model}, {generation.dimension} dimensions, {wanted.dtype}). Vectors of two "
                "spaces cannot be compared: send the text, or a vector of that model with its fingerprint."
            )
        vector = np.asarray(request.vector, np.float64)
        largest = np.abs(vector).max(initial=0.0)
        if vector.shape != (generation.dimension,) or not np.isfinite(largest) or not largest:
            raise InvalidInput(
                f"vector: {generation.dimension} finite numbers are wanted, not all zero; these are {vector.size}.",
                param="vector",
            )
        scaled: NDArray[np.float32] = (vector / largest).astype(np.float32)  # scaled, so that no square overflows
        return scaled

    def _instruction(self, request: SearchRequest) -> str | None:
        return request.instruction if request.instruction is not None else self._state().instruction

    def _text(self, request: SearchRequest, stage: str) -> str:
        if request.query is None:
            raise InvalidInput(f"{stage} needs the query's text, not its vector.", param="query")
        return request.query

    def _rescored(
        self, request: SearchRequest, found: list[SearchHit], rescore: Rescore
    ) -> tuple[list[SearchHit], NewVectors | None]:
        """Score by the larger model's cosine. Vectors that its generation holds of the current texts are used; the
        others are made, and returned."""
        state, models = self._state(), self._models
        larger = state.generation(rescore.generation)
        name, priority, size = models.of(larger, state.name), request.priority, larger.dimension
        text = self._text(request, "Rescoring")
        query = models.start(name, [text], size, query=True, instruction=self._instruction(request), priority=priority)
        first = found[: max(rescore.depth, request.k)]
        kept = self._store.vectors(state.table(larger), [f.document.id for f in first])
        new = [f.document for f in first if kept.get(f.document.id, (-1,))[0] != f.document.number]
        vectors = {id: v for id, (_, v) in kept.items()}
        for document in new:  # its vector is of an older text
            vectors.pop(document.id, None)
        new_vectors: NewVectors | None = None
        if new:

            def embed(part: Sequence[Document]) -> list[tuple[NDArray[np.float32], int]]:
                texts = [d.text for d in part]
                result = models.start(name, texts, size, priority=priority, truncate=True).result()
                return list(zip(result.values, result.truncated_tokens, strict=True))

            made = [
                (d, *one)
                for d, one in zip(new, each(embed, new, together=True), strict=True)
                if not isinstance(one, UpsizeError)
            ]
            vectors |= {d.id: vector for d, vector, _ in made}
            # A truncated vector is not kept unless the index truncates: the backfill must refuse the text.
            whole = [(d, vector) for d, vector, truncated in made if state.truncate or not truncated]
            if whole:
                kept_vectors = np.stack([vector for _, vector in whole])
                new_vectors = NewVectors(larger, [d for d, _ in whole], kept_vectors, rescore.keep_bytes)
        wanted = query.result().values[0]
        scores = [float(vectors[f.document.id] @ wanted) if f.document.id in vectors else None for f in first]
        return _sorted_by(first, scores, "larger"), new_vectors

    def _reranked(self, request: SearchRequest, found: list[SearchHit], rerank: Rerank) -> list[SearchHit]:
        first = found[: max(rerank.depth, request.k)]
        name = self._models.reranker(rerank.model, self._state().name)
        texts, query = [f.document.text for f in first], self._text(request, "Reranking")

        def score(part: Sequence[str]) -> list[np.float32]:
            return list(self._models.score(name, query, part, self._instruction(request), request.priority))

        made = each(score, texts, together=True)
        failed = [odds for odds in made if isinstance(odds, UpsizeError)]
        if len(failed) == len(made):  # then the query is at fault
            raise failed[0]
        scores = [None if isinstance(odds, UpsizeError) else float(probability(np.asarray(odds))) for odds in made]
        return _sorted_by(first, scores, "reranker")


def _setting(setting: Any, default: Any) -> Any:
    """The search's setting, or else the index's; None turns the stage off."""
    if setting is None or setting is True:
        return default
    return setting or None


def _current_hits(hits: Sequence[Hit], documents: Mapping[str, Document], request: SearchRequest) -> list[Hit]:
    """Hits whose document exists, is not left out, and meets the filter with its current metadata: the store may hold
    that of an older text."""
    there = (hit for hit in hits if hit.id in documents and hit.id not in request.without)
    return [hit for hit in there if meets(documents[hit.id].metadata, request.where)]


def _sorted_by(found: Sequence[SearchHit], scores: Sequence[float | None], stage: str) -> list[SearchHit]:
    """Best first; documents that the stage's model cannot score (None) come last, in their former order."""
    scored = [
        SearchHit(f.document, s, {**f.scores, stage: s}) for f, s in zip(found, scores, strict=True) if s is not None
    ]
    left = [f for f, s in zip(found, scores, strict=True) if s is None]
    return sorted(scored, key=lambda f: -f.score) + left
