"""SGLang's `/encode`, and its health and information endpoints."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from upsize.engine import EmbedRequest, RerankRequest, Result
from upsize.errors import InvalidInput, Overloaded, UpsizeError
from upsize.server.codec import dumps
from upsize.server.dialects.openai import inputs_of
from upsize.server.endpoint import Int64, Operation, read_body, reply, run, truncation
from upsize.server.foreign_fields import EMBEDDING, ForeignField
from upsize.server.service import ServedModel, Service
from upsize.version import __version__


class EncodeBody(msgspec.Struct):
    """Body of `/encode`: either `text` or `input_ids`."""

    foreign: ClassVar[Mapping[str, ForeignField]] = EMBEDDING

    text: str | list[str] | None = None
    input_ids: list[Int64 | list[Int64]] | None = None
    model: str | None = None
    dimensions: Int64 | None = None
    instruction: str | None = None
    input_type: Literal["query", "document"] | None = None
    truncate: bool | None = None
    truncation_side: Literal["left", "right"] | None = None
    encoding_format: Literal["float"] | None = None


async def encode(service: Service, request: Request) -> Response:
    """Embed texts, in SGLang's shape: one object for one text, a list of objects for a list."""
    body = await read_body(request, EncodeBody)
    given = body.text if body.text is not None else body.input_ids
    if given is None or (body.text is not None and body.input_ids is not None):
        raise InvalidInput("Send either text or input_ids.", param="text")
    model = service.model(body.model, "embedding")
    work = EmbedRequest(
        inputs_of(given),
        body.input_type,
        body.instruction,
        body.dimensions,
        truncation(service, body.truncate, body.truncation_side),
    )
    result = await run(service, request, model, work)
    single = isinstance(given, str) or (body.text is None and not isinstance(given[0], list))
    return await reply(result, lambda: _encoded(result)[0] if single else _encoded(result))


def _encoded(result: Result) -> list[dict[str, Any]]:
    return [
        {
            "embedding": vector,
            "meta_info": {
                "id": uuid.uuid4().hex,
                "prompt_tokens": tokens,
                "finish_reason": None,
                "e2e_latency": result.times.total,
            },
        }
        for vector, tokens in zip(result.values, result.tokens, strict=True)
    ]


async def health(service: Service, _: Request) -> Response:
    """200 while the service takes requests, else 503 with its state. Computes nothing."""
    return _status(service.state)


async def health_generate(service: Service, _: Request) -> Response:
    """As `/health`, but runs a forward pass of every model first."""
    if service.state == "ok":
        engine = service.require_ready()
        try:
            await asyncio.gather(*(asyncio.wrap_future(engine.submit(m.name, _probe(m))) for m in service.models))
        except Overloaded:
            return _status(service.state)  # the engine is busy, so it computes
        except UpsizeError as error:
            return _json({"status": "failing", "error": str(error)}, 503)
    return _status(service.state)


def _probe(model: ServedModel) -> EmbedRequest | RerankRequest:
    return EmbedRequest(["ok"]) if model.kind == "embedding" else RerankRequest("ok", ["ok"])


async def model_info(service: Service, request: Request) -> Response:
    """Name, limits, precision and fingerprint of one model (`?model=…`, default the first)."""
    model = service.model(request.query_params.get("model"))
    return _json(_describe(model) | {"weight_version": "default"})


async def server_info(service: Service, _: Request) -> Response:
    """Version and state of the service, and every model with the length of its queue."""
    queues = service.queues()
    models = [
        _describe(m) | {"queued_sequences": queues[m.name][0], "queued_tokens": queues[m.name][1]}
        for m in service.models
    ]
    return _json({"version": __version__, "status": service.state, "models": models})


def _describe(model: ServedModel) -> dict[str, Any]:
    loaded, checkpoint = model.loaded, model.loaded.checkpoint
    described: dict[str, Any] = {
        "model_path": model.path,
        "served_model_name": model.name,
        "tokenizer_path": str(checkpoint.folder),
        "is_generation": False,
        "preferred_sampling_params": None,
        "model_type": "qwen3",
        "architectures": [checkpoint.config.architecture],
        "kind": checkpoint.kind,
        "published_as": checkpoint.member.name if checkpoint.member else None,
        "device": loaded.plan.device,
        "dtype": loaded.plan.precision,
        "max_model_len": loaded.plan.max_length,
        "max_batch_tokens": loaded.plan.budget,
        "fingerprint": loaded.fingerprint.id,
    }
    if checkpoint.kind == "embedding":
        described["embedding"] = {
            "dimension": checkpoint.config.hidden_size,
            "pooling": "last_token",
            "normalize": True,
            "is_matryoshka": True,
        }
    return described


def _status(state: str) -> Response:
    return _json({"status": state}, 200 if state == "ok" else 503)


def _json(value: dict[str, Any], status: int = 200) -> Response:
    return Response(dumps(value), status, media_type="application/json")


OPERATIONS = (
    Operation("POST", ("/encode",), encode, "Embed texts (SGLang)", EncodeBody, {"text": "How are you today"}),
    Operation("GET", ("/health", "/ready", "/ping"), health, "Whether the service takes requests"),
    Operation("GET", ("/health_generate",), health_generate, "Whether a forward pass works"),
    Operation("GET", ("/model_info", "/get_model_info"), model_info, "One model"),
    Operation("GET", ("/server_info", "/get_server_info"), server_info, "The service"),
)
