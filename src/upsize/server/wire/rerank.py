"""`/v1/rerank`, `/rerank` (a superset of vLLM's and Jina's) and `/v2/rerank` (Cohere's)."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec
import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from upsize.engine import RerankRequest, Result
from upsize.errors import InvalidInput
from upsize.model import probability
from upsize.server.fields import RERANK, Foreign
from upsize.server.handling import Operation, Positive, read, reply, run, truncation
from upsize.server.service import ServedModel, Service


class Document(msgspec.Struct):
    """A document as Jina sends it."""

    text: str


class RerankBody(msgspec.Struct):
    """Body of the rerank endpoints."""

    foreign: ClassVar[Mapping[str, Foreign]] = RERANK

    query: str
    documents: list[str | Document]
    model: str | None = None
    top_n: Positive | None = None
    """How many results to return; default all."""
    return_documents: bool | None = None
    """Whether results carry their document; default true, at `/v2/rerank` false."""
    max_tokens_per_doc: Positive | None = None
    """Cut each document to so many tokens; the reply says what was cut."""
    instruction: str | None = None
    """The task, in English; default web search."""
    instruct: str | None = None
    """The same under SGLang's name."""
    truncate: bool | None = None
    """Cut documents that do not fit instead of refusing them. Default: the server's setting."""


async def rerank(service: Service, request: Request) -> Response:
    """Documents ordered by how well they meet the query."""
    body = await read(request, RerankBody)
    return await _answer(
        service, request, body, _superset, True if body.return_documents is None else body.return_documents
    )


async def rerank_v2(service: Service, request: Request) -> Response:
    """Documents ordered by how well they meet the query, in Cohere's shape."""
    body = await read(request, RerankBody)
    return await _answer(service, request, body, _cohere, bool(body.return_documents))


async def _answer(service: Service, request: Request, body: RerankBody, shape: Any, with_documents: bool) -> Response:
    model = service.model(body.model, "reranker")
    if not body.documents:
        raise InvalidInput("documents is an empty list. Send at least one.", param="documents")
    texts = [d if isinstance(d, str) else d.text for d in body.documents]
    result = await run(
        service,
        request,
        model,
        RerankRequest(
            body.query,
            texts,
            body.instruction or body.instruct,
            truncation(service, body.truncate),
            body.max_tokens_per_doc,
        ),
    )
    scores = probability(result.values)
    # By log-odds: far from zero, different log-odds round to the same probability.
    order = np.argsort(-result.values, kind="stable")[: body.top_n]
    results: list[dict[str, Any]] = []
    for place in order:
        item: dict[str, Any] = {"index": int(place), "relevance_score": float(scores[place])}
        if with_documents:
            item["document"] = {"text": texts[place]}
        results.append(item)
    warnings = [f"documents[{i}]: {lost} tokens were cut off" for i, lost in enumerate(result.lost) if lost]
    return await reply(result, lambda: shape(model, result, results, warnings))


def _superset(model: ServedModel, result: Result, results: list[dict[str, Any]], warnings: list[str]) -> dict[str, Any]:
    tokens = sum(result.tokens)
    body = {
        "id": f"rerank-{uuid.uuid4().hex}",
        "object": "list",
        "model": model.name,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        "results": results,
    }
    return body | ({"warnings": warnings} if warnings else {})


def _cohere(_: ServedModel, __: Result, results: list[dict[str, Any]], warnings: list[str]) -> dict[str, Any]:
    meta: dict[str, Any] = {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}}
    if warnings:
        meta["warnings"] = warnings
    return {"id": str(uuid.uuid4()), "results": results, "meta": meta}


_EXAMPLE = {
    "query": "What is the capital of China?",
    "documents": ["The capital of China is Beijing.", "Gravity pulls bodies towards each other."],
}

OPERATIONS = (
    Operation(
        "POST", ("/v1/rerank", "/rerank"), rerank, "Order documents for a query (vLLM, Jina)", RerankBody, _EXAMPLE
    ),
    Operation("POST", ("/v2/rerank",), rerank_v2, "Order documents for a query (Cohere)", RerankBody, _EXAMPLE),
)
