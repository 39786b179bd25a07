"""Runs texts through a loaded model without the engine, so that a check controls the batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from upsize.compute import LoadedModel, run_to_end
from upsize.diagnostics.sample_texts import QUERY
from upsize.engine import EmbedRequest, RerankRequest
from upsize.engine.request_encoding import encode
from upsize.model import Truncation, require_finite, unit_vectors
from upsize.model.pooling import Vectors
from upsize.model.tokenizer import Ids


def ids_of(model: LoadedModel, texts: Sequence[str], *, query: bool = False) -> list[Ids]:
    """Token ids of texts as documents or queries, or as pairs with QUERY for a reranker. Long texts are truncated."""
    cut = Truncation(allowed=True)
    if model.checkpoint.kind == "reranker":
        request: EmbedRequest | RerankRequest = RerankRequest(QUERY, texts, truncation=cut)
    else:
        request = EmbedRequest(texts, "query" if query else "document", truncation=cut)
    return [e.ids for e in encode(model, request)]


def raw(model: LoadedModel, sequences: Sequence[Ids]) -> Vectors:
    """Hidden states (n, hidden) of the last tokens, or log-odds (n,), of one packed batch. They may be NaN."""
    return run_to_end(model.run(sequences))


def values(model: LoadedModel, sequences: Sequence[Ids]) -> Vectors:
    """Unit vectors (n, hidden) or log-odds (n,), packed into batches within the plan's budget.

    Raises NonFiniteVector with the index of the sequence.
    """
    states = [raw(model, batch) for batch in _batches(sequences, model.plan.budget)]
    return normalised_values(np.concatenate(states), model.plan.precision)


def normalised_values(states: Vectors, precision: str) -> Vectors:
    """Unit vectors of hidden states (n, hidden); log-odds (n,) unchanged. Raises NonFiniteVector."""
    if states.ndim == 1:
        require_finite(states[:, None], precision)
        return states
    return unit_vectors(states, states.shape[1], precision)


def _batches(sequences: Sequence[Ids], budget: int) -> Iterator[list[Ids]]:
    batch: list[Ids] = []
    for ids in sequences:
        if batch and sum(map(len, batch)) + len(ids) > budget:
            yield batch
            batch = []
        batch.append(ids)
    yield batch
