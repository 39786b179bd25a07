"""Search: the ladder from a small model's nearest to a large one's judgement, and what each rung costs.

    L0   the nearest by the generation that answers
    L2   the first of them scored again by a larger model's generation, which keeps the vectors that it makes
    L1   the first of them scored again by a reranker

Each rung is a setting of the index, and may be asked for or left out by a single question.
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

MOST = 1000
"""Results of one search."""
SLACK = 16
"""Hits that are fetched beyond those wanted, in place of documents that were deleted a moment ago."""


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
        lacks: Callable[[Generation], tuple[int, int]],
    ) -> None:
        """`lacks` gives the documents that a generation lacks: still to be embedded, and refused by its model."""
        self._state, self._documents, self._store, self._models, self._lacks = state, documents, store, models, lacks

    def search(self, request: SearchRequest) -> SearchResult:
        """Run the stages that are set or asked for.

        A search whose generation was dropped by a switch meanwhile runs once more.
        """
        active = self._state().active
        # A scan and the stages around it want the machine to themselves; a backfill always has more work.
        engine = self._models.engine
        with engine.throttle_bulk() if request.priority is Priority.INTERACTIVE else nullcontext():
            try:
                return self._search(request)
            except StoreDamaged:
                if request.generation or self._state().active == active:
                    raise
                return self._search(request)

    def _search(self, question: SearchRequest) -> SearchResult:
        state, clock = self._state(), _Clock()
        canary_failed: str | None = None
        new_vectors: NewVectors | None = None
        if not 1 <= question.k <= MOST:
            raise InvalidInput(f"k is {question.k}; give 1 to {MOST}.", param="k")
        generation = state.generation(question.generation) if question.generation else self._answering(question)
        rerank = _setting(question.rerank, state.rerank)
        if rerank and rerank.depth > MOST:
            raise InvalidInput(f"depth is {rerank.depth}; give 1 to {MOST}.", param="rerank")
        rescore = _setting(question.rescore, state.rescore)
        depth = max(question.k, rerank.depth if rerank else 0, rescore.depth if rescore else 0)
        try:
            vector = self._vector(question, generation)
        except CANNOT:
            if question.generation or generation.id == state.active:
                raise
            canary_failed, generation = generation.id, state.serving  # the query is too much for the new model alone
            vector = self._vector(question, generation)
        clock("embed")
        funnel = state.funnel if question.funnel is None else min(question.funnel, MOST)
        hits = self._store.search(
            state.table(generation),
            vector,
            depth + SLACK,
            where=question.where,
            exact=question.exact,
            coarse=max(funnel, depth) if funnel and generation.coarse else None,
        )
        clock("search")
        documents = self._documents.get([hit.id for hit in hits])
        standing = _standing(hits, documents, question)
        found = [SearchHit(documents[h.id], h.score, {"cosine": h.score}) for h in standing][:depth]
        clock("texts")
        rungs = ["L0"]
        if found and rescore and rescore.generation != generation.id:
            found, new_vectors = self._rescored(question, found, rescore)
            rungs.append("L2")
            clock("rescore")
        if found and rerank:
            found = self._reranked(question, found, rerank)
            rungs.append("L1")
            clock("rerank")
        missing, refused = self._lacks(generation)
        return SearchResult(
            found[: question.k], generation, tuple(rungs), clock.seconds, missing, refused, new_vectors, canary_failed
        )

    def _answering(self, question: SearchRequest) -> Generation:
        """That which answers; of a move with a canary, by chance the new one, once it holds nearly all. A question of
        one space, by its vector or dimension, is for the generation that answers."""
        state = self._state()
        move = state.move
        free = question.query is not None and question.dimension is None
        chosen = move and free and move.phase == "backfill" and random.random() < move.canary
        if move and chosen and ready(self._documents, move.target):
            return state.generation(move.target)
        return state.serving

    def _vector(self, question: SearchRequest, generation: Generation) -> NDArray[np.float32]:
        dimension = question.dimension or generation.dimension
        if dimension not in (generation.dimension, generation.coarse):
            there = " or ".join(str(d) for d in (generation.dimension, generation.coarse) if d)
            raise InvalidInput(f"dimension is {dimension}; this index holds vectors of {there}.", param="dimension")
        if (question.query is None) == (question.vector is None):
            raise InvalidInput("Give a query's text, or its vector with its fingerprint.", param="query")
        if question.vector is not None:
            return cut(self._given(question, generation), dimension)
        assert question.query is not None
        if not question.query.strip():
            raise InvalidInput("The query is empty.", param="query")
        return self._models.embed_query(
            self._models.of(generation, self._state().name),
            question.query,
            dimension,
            self._instruction(question),
            question.priority,
        )

    def _given(self, question: SearchRequest, generation: Generation) -> NDArray[np.float32]:
        """A vector that the client brought: of this generation's space, or refused."""
        wanted = generation.fingerprint
        if not question.fingerprint or question.fingerprint not in (wanted.id, generation.former_fingerprint):
            what = f"is of the space {question.fingerprint}" if question.fingerprint else "comes without a fingerprint"
            raise FingerprintMismatch(
                f"The query's vector {what}; generation {generation.id} of {self._state().name!r} holds vectors of "
                f"{wanted.id} ({generation.model}, {generation.dimension} dimensions, {wanted.dtype}). Vectors of two "
                "spaces cannot be compared: send the text, or a vector of that model with its fingerprint."
            )
        vector = np.asarray(question.vector, np.float64)
        largest = np.abs(vector).max(initial=0.0)
        if vector.shape != (generation.dimension,) or not np.isfinite(largest) or not largest:
            raise InvalidInput(
                f"vector: {generation.dimension} finite numbers are wanted, not all zero; these are {vector.size}.",
                param="vector",
            )
        scaled: NDArray[np.float32] = (vector / largest).astype(np.float32)  # no square of it overflows
        return scaled

    def _instruction(self, question: SearchRequest) -> str | None:
        return question.instruction if question.instruction is not None else self._state().instruction

    def _text(self, question: SearchRequest, rung: str) -> str:
        if question.query is None:
            raise InvalidInput(f"{rung} needs the query's text, not its vector.", param="query")
        return question.query

    def _rescored(
        self, question: SearchRequest, found: list[SearchHit], rescore: Rescore
    ) -> tuple[list[SearchHit], NewVectors | None]:
        """Score by the larger model's cosine. Vectors that its generation holds of the current texts are used; the
        others are made, and returned."""
        state, models = self._state(), self._models
        larger = state.generation(rescore.generation)
        name, priority, size = models.of(larger, state.name), question.priority, larger.dimension
        text = self._text(question, "Rescoring")
        query = models.start(name, [text], size, query=True, instruction=self._instruction(question), priority=priority)
        first = found[: max(rescore.depth, question.k)]
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
            # Of a text that was cut the backfill has to say that it is too long, unless the index cuts texts anyway.
            whole = [(d, vector) for d, vector, truncated in made if state.truncate or not truncated]
            if whole:
                kept_vectors = np.stack([vector for _, vector in whole])
                new_vectors = NewVectors(larger, [d for d, _ in whole], kept_vectors, rescore.keep_bytes)
        wanted = query.result().values[0]
        scores = [float(vectors[f.document.id] @ wanted) if f.document.id in vectors else None for f in first]
        return _by(first, scores, "larger"), new_vectors

    def _reranked(self, question: SearchRequest, found: list[SearchHit], rerank: Rerank) -> list[SearchHit]:
        first = found[: max(rerank.depth, question.k)]
        name = self._models.reranker(rerank.model, self._state().name)
        texts, query = [f.document.text for f in first], self._text(question, "Reranking")

        def score(part: Sequence[str]) -> list[np.float32]:
            return list(self._models.score(name, query, part, self._instruction(question), question.priority))

        made = each(score, texts, together=True)
        failed = [odds for odds in made if isinstance(odds, UpsizeError)]
        if len(failed) == len(made):  # then it is the query
            raise failed[0]
        scores = [None if isinstance(odds, UpsizeError) else float(probability(np.asarray(odds))) for odds in made]
        return _by(first, scores, "reranker")


def _setting(asked: Any, own: Any) -> Any:
    """What a question asks, or else the index's setting; False is none."""
    if asked is None or asked is True:
        return own
    return asked or None


def _standing(hits: Sequence[Hit], documents: Mapping[str, Document], question: SearchRequest) -> list[Hit]:
    """Without those whose document was deleted, is left out, or does not meet the filter as it stands: the store may
    hold the metadata of an older text."""
    there = (hit for hit in hits if hit.id in documents and hit.id not in question.without)
    return [hit for hit in there if meets(documents[hit.id].metadata, question.where)]


def _by(found: Sequence[SearchHit], scores: Sequence[float | None], stage: str) -> list[SearchHit]:
    """Best first; those that the stage's model cannot take (None) come last, as they were."""
    scored = [
        SearchHit(f.document, s, {**f.scores, stage: s}) for f, s in zip(found, scores, strict=True) if s is not None
    ]
    left = [f for f, s in zip(found, scores, strict=True) if s is None]
    return sorted(scored, key=lambda f: -f.score) + left
