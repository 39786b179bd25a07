"""Steps that all endpoints share: read the body, run the request, cancel it if the client disconnects, reply."""

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
from upsize.server.codec import decode_body, dumps
from upsize.server.error_replies import reply_to, status_of
from upsize.server.redaction import public
from upsize.server.service import ServedModel, Service

log = logging.getLogger("upsize.server")

INLINE_VALUES = 1 << 16
"""Values of a result above which a thread writes the reply, so that it does not hold up the event loop."""

Int64 = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
Positive = Annotated[int, msgspec.Meta(ge=1, le=(1 << 31) - 1)]

T = TypeVar("T", bound=msgspec.Struct)


@dataclass(frozen=True)
class Operation:
    """One endpoint of a dialect, for the router and the API documentation."""

    method: str
    paths: tuple[str, ...]
    handler: Callable[[Service, Request], Awaitable[Response]]
    summary: str
    body: type | None = None
    example: dict[str, Any] = field(default_factory=dict)


async def read_body(request: Request, into: type[T], default: T | None = None) -> T:
    """The body as a struct of a dialect. `default`, if given, stands for an empty body.

    Raises InvalidInput, TooLarge, TooSlow, Unavailable, and Starlette's ClientDisconnect.
    """
    async with request.app.state.bodies.read(request) as body:
        if not body and default is not None:
            return default
        if not body:
            raise InvalidInput("The body is empty. Send a JSON object.")
        return await decode_body(body, into)


async def run(service: Service, request: Request, model: ServedModel, work: EngineRequest) -> Result:
    """Run a request on the engine. If the client disconnects meanwhile, the work is cancelled: ClientDisconnect."""
    future = service.require_ready().submit(model.name, work)
    watcher = asyncio.create_task(_cancel_on_disconnect(request, future))
    try:
        result = await asyncio.wrap_future(future)
    except asyncio.CancelledError:
        if watcher.done():
            raise ClientDisconnect from None
        raise  # the server cancels this task
    finally:
        watcher.cancel()
        future.cancel()
    service.metrics.result(model.name, result)
    return result


async def _cancel_on_disconnect(request: Request, future: Future[Result]) -> None:
    await request.receive()  # the body has been read, so the next message says that the client has disconnected
    future.cancel()


async def reply(result: Result, body: Callable[[], dict[str, Any] | list[Any]]) -> Response:
    """The reply to a result. `body` makes its JSON value, which may hold float32 arrays; a thread calls it if large."""
    if result.values.size > INLINE_VALUES:
        content = await asyncio.to_thread(lambda: dumps(body()))
    else:
        content = dumps(body())
    return Response(content, headers=headers_of(result), media_type="application/json")


def headers_of(result: Result) -> dict[str, str]:
    """Headers with the fingerprint, and the times in milliseconds under the names of text-embeddings-inference."""
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


def truncation(service: Service, truncate: bool | None, side: str | None = None) -> Truncation:
    """The truncation of a request. Without `truncate`, the server's setting decides."""
    return Truncation(service.allow_truncation if truncate is None else truncate, "left" if side == "left" else "right")


def endpoint(service: Service, operation: Operation) -> Callable[[Request], Awaitable[Response]]:
    """The operation as a Starlette endpoint. It turns errors into replies, and counts every reply."""

    async def handle(request: Request) -> Response:
        started, path = time.monotonic(), request.scope["path"]
        try:
            response = await operation.handler(service, request)
        except ClientDisconnect:
            response = Response(status_code=499)  # only for the metrics: the client is gone
        except Exception as error:
            message = str(error) if service.allowed.anything else public(error, service.folders)
            if status_of(error)[0] == 500:
                log.error("%s: %s", path, error, exc_info=not isinstance(error, UpsizeError))
            elif message != str(error):
                log.warning("%s: %s", path, error)  # the reply shows names in place of folders
            response = reply_to(error, path, message)
        service.metrics.request(operation.paths[0], response.status_code, time.monotonic() - started)
        return response

    return handle
