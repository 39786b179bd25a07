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
"""Headers of replies that scripts of other origins may read."""

PATH_SHOWN = 200
"""Characters of a path that is not there, in the message that says so."""


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
    """The application. With `keys`, every path but health (and metrics, unless protected) asks for one of them.

    Pages of the web `origins` ("*": of all) may call it from a browser. Without keys a request's Host has to be a
    name of this machine or one of `hosts`; `loopback` says that it listens for this machine alone.
    """
    description = dumps(describe(OPERATIONS))

    async def openapi(_: Request) -> Response:
        return Response(description, media_type="application/json")

    async def docs(_: Request) -> Response:
        return HTMLResponse(PAGE)

    async def metrics(_: Request) -> Response:
        page = await asyncio.to_thread(service.metrics.page)  # it counts the documents of large indexes
        return Response(page, media_type="text/plain; version=0.0.4")

    routes: list[WholeRoute | WholeMount] = [
        WholeRoute(path, endpoint(service, operation), methods=[operation.method])
        for operation in OPERATIONS
        for path in operation.paths
        for path in (path, f"{path}/")  # not redirected: many clients do not follow, and a proxy's scheme would be lost
    ]
    routes += [
        WholeRoute("/metrics", metrics),
        WholeRoute("/openapi.json", openapi),
        WholeRoute("/docs", docs),
        WholeMount("/docs/static", StaticFiles(directory=ASSETS)),
    ]
    middleware = []
    if origins:  # before the keys: a browser asks for permission without one
        anything = ("*",)
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=origins,
                allow_methods=anything,
                allow_headers=anything,
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
    path = request.scope["path"][:PATH_SHOWN]
    if error.status_code == 405:
        message = f"{request.method} {path} is not allowed; use {(error.headers or {}).get('Allow', 'another method')}."
    else:
        message = f"No such path: {path}. The base URL of OpenAI clients is http://host:port/v1; /docs lists all paths."
    kind = {"message": message, "type": "invalid_request_error", "param": None, "code": "no_such_path"}
    return Response(dumps({"error": kind}), error.status_code, error.headers, "application/json")
