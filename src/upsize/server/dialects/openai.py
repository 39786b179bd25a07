"""OpenAI's `/v1/embeddings` and `/v1/models`, with the optional fields instruction, input_type and truncate."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, cast

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from upsize.engine import EmbedRequest, Result
from upsize.errors import InvalidInput
from upsize.server.codec import dumps
from upsize.server.endpoint import Int64, Operation, read_body, reply, run, truncation
from upsize.server.foreign_fields import EMBEDDING, ForeignField
from upsize.server.service import Service


class EmbeddingsBody(msgspec.Struct):
    """Body of `/v1/embeddings`."""

    foreign: ClassVar[Mapping[str, ForeignField]] = EMBEDDING

    input: str | list[str | Int64 | list[Int64]]
    """One text, several texts, the token ids of one text, or those of several."""
    model: str | None = None
    encoding_format: Literal["float", "base64"] | None = None
    """Default: float."""
    dimensions: Int64 | None = None
    user: Any = None
    """Ignored, as by OpenAI."""
    instruction: str | None = None
    """The task, in English. It makes every text a query: `Instruct: {instruction}\\nQuery:{text}`."""
    input_type: Literal["query", "document"] | None = None
    """`query` puts the model's default instruction before each text. Otherwise texts are embedded unchanged."""
    truncate: bool | None = None
    """Cut longer texts instead of refusing them. The reply says how many tokens were cut. Default: the server's
    setting."""
    truncation_side: Literal["left", "right"] | None = None
    """The side that is cut; default right."""


Given = str | Sequence[str] | Sequence[str | int | list[int]] | Sequence[int | list[int]]
"""The forms of `input` and `input_ids`."""


async def embeddings(service: Service, request: Request) -> Response:
    """Embed one or several texts."""
    body = await read_body(request, EmbeddingsBody)
    model = service.model(body.model, "embedding")
    inputs = inputs_of(body.input)
    result = await run(
        service,
        request,
        model,
        EmbedRequest(
            inputs,
            body.input_type,
            body.instruction,
            body.dimensions,
            truncation(service, body.truncate, body.truncation_side),
        ),
    )
    return await reply(result, lambda: _embeddings_reply(result, model.name, body.encoding_format == "base64"))


def inputs_of(given: Given) -> list[str] | list[list[int]]:
    """The inputs as a list of texts, or a list of lists of token ids. Raises InvalidInput for a mixture."""
    if isinstance(given, str):
        return [given]
    if not given:
        raise InvalidInput("input is an empty list. Send at least one text.", param="input")
    first = type(given[0])
    if len(set(map(type, given))) > 1:
        index = next(index for index, item in enumerate(given) if type(item) is not first)
        raise InvalidInput(
            f"input[{index}] and input[0] have different types. Send only texts, or only token ids.",
            param="input",
            index=index,
        )
    if first is int:
        return [cast(list[int], given)]
    return cast(list[str] | list[list[int]], given)


def _embeddings_reply(result: Result, model: str, as_base64: bool) -> dict[str, Any]:
    data = []
    for index, vector in enumerate(result.values):
        # OpenAI's client decodes base64 as little-endian float32.
        embedding = base64.b64encode(vector.astype("<f4", copy=False)).decode() if as_base64 else vector
        item: dict[str, Any] = {"object": "embedding", "index": index, "embedding": embedding}
        if result.truncated_tokens[index]:
            item["truncated_tokens"] = result.truncated_tokens[index]
        data.append(item)
    tokens = sum(result.tokens)
    return {
        "object": "list",
        "data": data,
        "model": model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


async def models(service: Service, _: Request) -> Response:
    """List the models that are served."""
    service.require_ready()
    data = [
        {
            "id": m.name,
            "object": "model",
            "created": service.created,
            "owned_by": "upsize",
            "root": m.path,
            "parent": None,
            "max_model_len": m.loaded.plan.max_length,
        }
        for m in service.models
    ]
    return Response(dumps({"object": "list", "data": data}), media_type="application/json")


OPERATIONS = (
    Operation(
        "POST",
        ("/v1/embeddings", "/embeddings"),
        embeddings,
        "Embed texts (OpenAI)",
        EmbeddingsBody,
        {"input": ["How are you today", "今天过得怎么样"], "dimensions": 64},
    ),
    Operation("GET", ("/v1/models", "/models"), models, "Models that are served (OpenAI)"),
)
