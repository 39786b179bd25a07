"""The ASGI application: every dialect's endpoints over one service."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles

from upsize.server.auth import BearerAuth
from upsize.server.codec import dumps
from upsize.server.dialects import OPERATIONS
from upsize.server.endpoint import endpoint
from upsize.server.http.body import Bodies
from upsize.server.http.guard import Guard
from upsize.server.openapi import ASSETS, PAGE, describe
from upsize.server.routing import WholeMount, WholeRoute
from upsize.server.service import Service

EXPOSED = ("Retry-After", "x-upsize-fingerprint", "x-upsize-truncated-tokens", "x-upsize-input-lint")
"""Reply headers that scripts of other origins may read."""

MAX_QUOTED_PATH = 200
"""Characters of an unknown path in an error message."""


def create_app(
    service: Service,
    keys: Sequence[str] = (),
    protect_metrics: bool = False,
    origins: Sequence[str] = (),
    *,
    hosts: Sequence[str] = (),
    loopback: bool = False,
    bodies: Bodies | None = None,
) -> Starlette:
    """Create the application.

    With `keys`, every path needs one of them, except health, and metrics unless `protect_metrics`. Pages of the web
    `origins` ("*" for all) may call it from a browser. Without keys, the Host of a request must be a name of this
    machine or one of `hosts`. `loopback`: the server only listens on this machine's loopback address.
    """
    description = dumps(describe(OPERATIONS))

    async def openapi(_: Request) -> Response:
        return Response(description, media_type="application/json")

    async def docs(_: Request) -> Response:
        return HTMLResponse(PAGE)

    async def metrics(_: Request) -> Response:
        page = await asyncio.to_thread(service.metrics.page)  # counting the documents of large indexes takes time
        return Response(page, media_type="text/plain; version=0.0.4")

    routes: list[WholeRoute | WholeMount] = [
        WholeRoute(path, endpoint(service, operation), methods=[operation.method])
        for operation in OPERATIONS
        for path in operation.paths
        for path in (path, f"{path}/")  # no redirect: many clients do not follow it, and it would lose a proxy's scheme
    ]
    routes += [
        WholeRoute("/metrics", metrics),
        WholeRoute("/openapi.json", openapi),
        WholeRoute("/docs", docs),
        WholeMount("/docs/static", StaticFiles(directory=ASSETS)),
    ]
    middleware = []
    if origins:  # before BearerAuth: a preflight request has no key
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=origins,
                allow_methods=("*",),
                allow_headers=("*",),
                expose_headers=EXPOSED,
            )
        )
    middleware.append(Middleware(Guard, keyless=not keys, loopback=loopback, hosts=hosts, origins=origins))
    if keys:
        middleware.append(Middleware(BearerAuth, keys=keys, protect_metrics=protect_metrics))
    app = Starlette(
        routes=routes,
        middleware=middleware,
        exception_handlers={HTTPException: _no_such_path},
    )
    app.state.bodies = bodies or Bodies()
    return app


async def _no_such_path(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.scope["path"][:MAX_QUOTED_PATH]
    if error.status_code == 405:
        message = f"{request.method} {path} is not allowed; use {(error.headers or {}).get('Allow', 'another method')}."
    else:
        message = f"No such path: {path}. The base URL of OpenAI clients is http://host:port/v1; /docs lists all paths."
    kind = {"message": message, "type": "invalid_request_error", "param": None, "code": "no_such_path"}
    return Response(dumps({"error": kind}), error.status_code, error.headers, "application/json")
