"""What every endpoint does alike: read the body, run the request, drop it if the client leaves, say where time went."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from upsize.engine import Request as EngineRequest
from upsize.engine import Result
from upsize.errors import InvalidInput, UpsizeError
from upsize.model import Truncation
from upsize.server.codec import dumps, parse
from upsize.server.error_replies import reply_to, status_of
from upsize.server.redaction import public
from upsize.server.service import ServedModel, Service

log = logging.getLogger("upsize.server")

OFF_THE_LOOP = 1 << 16
"""Values above which a reply is written in a worker thread, so that it holds up nobody else's."""

Whole = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
"""A whole number of 64 bits."""
Positive = Annotated[int, msgspec.Meta(ge=1, le=(1 << 31) - 1)]

T = TypeVar("T")


@dataclass(frozen=True)
class Operation:
    """One endpoint of a dialect: what the router and the documentation need to know."""

    method: str
    paths: tuple[str, ...]
    handler: Callable[[Service, Request], Awaitable[Response]]
    summary: str
    body: type | None = None
    example: dict[str, Any] = field(default_factory=dict)


async def read(request: Request, into: type[T], default: T | None = None) -> T:
    """The body as a struct of a dialect; InvalidInput or TooLarge. Of an empty one `default`, where that is allowed."""
    async with request.app.state.bodies.read(request) as body:
        if not body and default is not None:
            return default
        if not body:
            raise InvalidInput("The body is empty. Send a JSON object.")
        return await parse(body, into)


async def run(service: Service, request: Request, model: ServedModel, work: EngineRequest) -> Result:
    """Run one request on the engine. If the client leaves meanwhile, its work is dropped."""
    future = service.submit(model, work)
    result = await _unless_gone(request, future)
    service.metrics.result(model.name, result)
    return result


async def _unless_gone(request: Request, future: Future[Result]) -> Result:
    answered = asyncio.wrap_future(future)
    # The body has been read, so the next message can only be that the client has gone.
    gone = asyncio.ensure_future(request.receive())
    gone.add_done_callback(lambda _: answered.cancel())
    try:
        return await answered
    except asyncio.CancelledError:
        if gone.done() and not gone.cancelled():
            raise ClientDisconnect from None
        raise
    finally:
        gone.cancel()
        future.cancel()


async def reply(result: Result, body: Callable[[], dict[str, Any] | list[Any]]) -> Response:
    """The reply of a result. `body` is called where it holds up nobody, and may hold float32 arrays."""
    if result.values.size > OFF_THE_LOOP:
        content = await asyncio.to_thread(lambda: dumps(body()))
    else:
        content = dumps(body())
    return Response(content, headers=headers_of(result), media_type="application/json")


def headers_of(result: Result) -> dict[str, str]:
    """The vector space and the times in milliseconds (the names are text-embeddings-inference's)."""
    times = result.times
    headers = {
        "x-upsize-fingerprint": result.fingerprint.id,
        "x-compute-type": "upsize",
        "x-compute-time": f"{1e3 * times.total:.3f}",
        "x-compute-tokens": str(sum(result.tokens)),
        "x-total-time": f"{1e3 * times.total:.3f}",
        "x-tokenization-time": f"{1e3 * times.tokenize:.3f}",
        "x-queue-time": f"{1e3 * times.queue:.3f}",
        "x-inference-time": f"{1e3 * times.compute:.3f}",
    }
    if truncated := sum(result.truncated_tokens):
        headers["x-upsize-truncated-tokens"] = str(truncated)
    if result.lint:
        headers["x-upsize-input-lint"] = ", ".join(result.lint)
    return headers


def truncation(service: Service, asked: bool | None, side: str | None = None) -> Truncation:
    """What the request says, or else the server's setting."""
    return Truncation(service.allow_truncation if asked is None else asked, "left" if side == "left" else "right")


def endpoint(service: Service, operation: Operation) -> Callable[[Request], Awaitable[Response]]:
    """The operation as Starlette calls it: errors become replies, everything is counted."""

    async def handle(request: Request) -> Response:
        started, path = time.monotonic(), request.scope["path"]
        try:
            response = await operation.handler(service, request)
        except ClientDisconnect:
            response = Response(status_code=499)  # nobody reads it; it is there for the count
        except Exception as error:
            message = str(error) if service.allowed.anything else public(error, service.folders)
            if status_of(error)[0] == 500:
                log.error("%s: %s", path, error, exc_info=not isinstance(error, UpsizeError))
            elif message != str(error):
                log.warning("%s: %s", path, error)  # the reply has names in place of folders
            response = reply_to(error, path, message)
        service.metrics.request(operation.paths[0], response.status_code, time.monotonic() - started)
        return response

    return handle
