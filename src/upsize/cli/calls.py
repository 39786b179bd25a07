"""Calls: what commands ask of an index, over HTTP: of a running service that has the indexes, or else in process.

So a command and a request are the same thing, and do the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import httpx
import typer

from upsize.errors import UpsizeError

BaseUrl = Annotated[
    str | None,
    typer.Option(
        "--base-url",
        metavar="URL",
        help="A running service. Default: the one that serves this machine's indexes, or none: in this process.",
    ),
]
ApiKey = Annotated[str | None, typer.Option(envvar="UPSIZE_API_KEY", help="Of the running service.")]

TIMEOUT = 24 * 3600.0
"""Seconds: a plan loads a model, a comparison asks thousands of queries."""


class CallFailed(UpsizeError):
    """The service refused, with its own words."""


class Calls:
    """Sends requests and gives the replies' values."""

    def __init__(self, client: httpx.AsyncClient, runner: asyncio.Runner, local: bool) -> None:
        self._client, self._runner = client, runner
        self.local = local
        """Whether it is this process that does the work: when it ends, so does a backfill."""

    def __call__(self, method: Literal["GET", "POST", "DELETE"], path: str, body: Any = None) -> Any:
        """The reply's value; CallFailed with the service's message."""
        try:
            reply = self._runner.run(self._client.request(method, path, json=body))
        except httpx.HTTPError as error:
            raise CallFailed(
                f"{self._client.base_url} does not answer: {error or type(error).__name__}. Is the service running?"
            ) from None
        value = reply.json() if reply.content else None
        if reply.is_error:
            raise CallFailed(_message(value) or f"{path}: status {reply.status_code}")
        return value


@contextlib.contextmanager
def calls(base_url: str | None, api_key: str | None) -> Iterator[Calls]:
    """A way to the indexes, closed at the end."""
    from upsize.server.presence import running_service

    url = (base_url or "").rstrip("/").removesuffix("/v1") or running_service()
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    with asyncio.Runner() as runner:
        if url:
            client = httpx.AsyncClient(base_url=url, headers=headers, timeout=TIMEOUT)
            try:
                yield Calls(client, runner, local=False)
            finally:
                runner.run(client.aclose())
            return
        from upsize.server import Service, create_app

        service = Service()
        service.start(())
        transport = httpx.ASGITransport(create_app(service))
        client = httpx.AsyncClient(base_url="http://in.process", transport=transport, timeout=TIMEOUT)
        try:
            yield Calls(client, runner, local=True)
        finally:
            runner.run(client.aclose())
            service.finish()


def _message(value: Any) -> str | None:
    with contextlib.suppress(TypeError, KeyError):
        return str(value["error"]["message"])
    return None


def print_json(value: Any) -> None:
    """To standard output."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def labelled_queries(path: Path) -> list[dict[str, Any]]:
    """The body of a comparison from a file or folder of judgements, and what was detected, said."""
    import msgspec

    from upsize.evolve.compare import read_labelled

    queries, notes = read_labelled(path)
    for note in notes:
        typer.echo(note, err=True)
    value: list[dict[str, Any]] = msgspec.to_builtins(queries)
    return value
