"""`/v1/rerank`, `/rerank` (a superset of vLLM's and Jina's) and `/v2/rerank` (Cohere's)."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import msgspec
import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from upsize.engine import RerankRequest, Result
from upsize.errors import InvalidInput
from upsize.model import probability
from upsize.server.endpoint import Operation, Positive, read_body, reply, run, truncation
from upsize.server.foreign_fields import RERANK, ForeignField
from upsize.server.service import ServedModel, Service

MEDIA_FIELDS = frozenset(("image", "images", "image_url", "image_base64", "video", "video_url", "audio", "audio_url"))
"""Fields of a document that hold something other than text."""
UNRANKED_FIELDS = ("text", "id", "_id")
LINT_IGNORED_FIELDS = "ignored_document_fields"
"""The lint finding for documents with texts in other fields than `text`."""
MAX_NAMED_FIELDS = 8
"""Ignored fields that a warning names."""
MAX_FIELD_NAME = 40
"""Characters of a field's name in a warning."""


class RerankBody(msgspec.Struct):
    """Body of the rerank endpoints."""

    foreign: ClassVar[Mapping[str, ForeignField]] = RERANK

    query: str
    documents: list[str | dict[str, Any]]
    """Texts, or objects with a field `text`, as for Cohere and Jina."""
    model: str | None = None
    top_n: Positive | None = None
    """Number of results; default all."""
    return_documents: bool | None = None
    """Whether results carry their document. Default: true, but false for `/v2/rerank`."""
    max_tokens_per_doc: Positive | None = None
    """Cut each document to so many tokens. The reply says how many were cut."""
    instruction: str | None = None
    """The task, in English; default web search."""
    instruct: str | None = None
    """SGLang's name of `instruction`."""
    truncate: bool | None = None
    """Cut documents that are too long instead of refusing them. Default: the server's setting."""


async def rerank(service: Service, request: Request) -> Response:
    """Order documents by their relevance to the query."""
    body = await read_body(request, RerankBody)
    return await _answer(
        service, request, body, _superset, True if body.return_documents is None else body.return_documents
    )


async def rerank_v2(service: Service, request: Request) -> Response:
    """Order documents by their relevance to the query, in Cohere's shape."""
    body = await read_body(request, RerankBody)
    return await _answer(service, request, body, _cohere, bool(body.return_documents))


async def _answer(service: Service, request: Request, body: RerankBody, shape: Any, with_documents: bool) -> Response:
    model = service.model(body.model, "reranker")
    if not body.documents:
        raise InvalidInput("documents is an empty list. Send at least one.", param="documents")
    texts, ignored = texts_of(body.documents)
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
    # Sort by log-odds: far from zero, different log-odds round to the same probability.
    order = np.argsort(-result.values, kind="stable")[: body.top_n]
    results: list[dict[str, Any]] = []
    for place in order:
        item: dict[str, Any] = {"index": int(place), "relevance_score": float(scores[place])}
        if with_documents:
            item["document"] = {"text": texts[place]}
        results.append(item)
    warnings = [f"documents[{i}]: {cut} tokens were cut off" for i, cut in enumerate(result.truncated_tokens) if cut]
    if ignored:
        result = replace(result, lint=(*result.lint, LINT_IGNORED_FIELDS))
        warnings.append(f"documents: only `text` is ranked, not {', '.join(f'`{name}`' for name in ignored)}")
    return await reply(result, lambda: shape(model, result, results, warnings))


def texts_of(documents: Sequence[str | Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """(the texts to rank, the names of ignored fields that hold texts, at most `MAX_NAMED_FIELDS`).

    As for Cohere, only the field `text` is ranked, so a title beside it does not count. Raises InvalidInput for a
    document without a text, or with an image or other media.
    """
    texts: list[str] = []
    ignored: dict[str, None] = {}
    for place, document in enumerate(documents):
        if isinstance(document, str):
            texts.append(document)
            continue
        parts = document.get("content")  # vLLM: a list of texts and images; otherwise an ordinary field
        media = next((name for name, value in document.items() if value and name.lower() in MEDIA_FIELDS), None)
        if media := media or ("content" if isinstance(parts, list | dict) else None):
            raise InvalidInput(
                f"documents[{place}].{media}: this server only ranks texts. Send the document's text.",
                param="documents",
            )
        if not isinstance(text := document.get("text"), str):
            missing = "is missing" if text is None else f"is not a string but {type(text).__name__}"
            raise InvalidInput(f"documents[{place}].text: {missing}.", param="documents")
        texts.append(text)
        for name, value in document.items():
            if (
                len(ignored) < MAX_NAMED_FIELDS
                and name not in UNRANKED_FIELDS
                and isinstance(value, str)
                and value.strip()
            ):
                ignored.setdefault(name[:MAX_FIELD_NAME])
    return texts, list(ignored)


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
