"""Requests of the index commands: to a running service that has the indexes, or to the same HTTP app in this process.

A command therefore does exactly what the HTTP request does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

import httpx
import typer

from upsize.errors import InvalidInput, UpsizeError
from upsize.io import ReadOptions
from upsize.proxies import async_client_options, proxy_for

BaseUrl = Annotated[
    str | None,
    typer.Option(
        "--base-url",
        metavar="URL",
        help="A running service. Default: the one that has the indexes of UPSIZE_INDEXES, otherwise this process.",
    ),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The index.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the reply as JSON.")]
ApiKey = Annotated[str | None, typer.Option(envvar="UPSIZE_API_KEY", help="Key of the running service.")]

TIMEOUT = 24 * 3600.0
"""Seconds. Chosen long: a plan loads a model, and a comparison searches for thousands of queries."""


class CallFailed(UpsizeError):
    """The service refused a request; the message is the service's. `index` is the position of the item at fault, where
    the service names one."""

    def __init__(self, message: str, index: int | None = None) -> None:
        self.index = index
        super().__init__(message)


class IndexClient:
    """Sends requests and returns the decoded replies."""

    def __init__(self, client: httpx.AsyncClient, runner: asyncio.Runner, local: bool) -> None:
        self._client, self._runner = client, runner
        self.local = local
        """Whether this process does the work, so that a backfill stops when it ends."""

    def __call__(self, method: Literal["GET", "POST", "DELETE"], path: str, body: Any = None) -> Any:
        """The decoded reply. Raises CallFailed with the service's message."""
        where = self._client.base_url
        try:
            content = None if body is None else json.dumps(body, allow_nan=False, ensure_ascii=False).encode()
            target = quote(path)
        except UnicodeEncodeError as error:
            excerpt = error.object[max(error.start - 20, 0) : error.end + 20]
            raise CallFailed(f"{excerpt!r} is not valid UTF-8.") from None
        except (TypeError, ValueError) as error:
            raise CallFailed(
                f"A row cannot be sent as JSON: {error}. Write dates as strings, and leave out NaN."
            ) from None
        try:
            reply = self._runner.run(self._client.request(method, target, content=content))
        except httpx.HTTPError as error:
            why = f"{where} does not answer: {str(error) or type(error).__name__}"
            if not self.local and (proxy := proxy_for(str(where))):
                raise CallFailed(f"{why}, through the proxy of {proxy.shown}. Unset it, or set NO_PROXY.") from None
            raise CallFailed(f"{why}. Is the service running there?") from None
        try:
            value = reply.json() if reply.content else None
        except ValueError:
            raise CallFailed(
                f"{where} answers, but not with JSON as upsize does (status {reply.status_code})."
            ) from None
        if reply.is_error:
            key = " (--api-key, or UPSIZE_API_KEY)" if reply.status_code == 401 else ""
            raise CallFailed((_message(value) or f"{path}: status {reply.status_code}") + key, _index(value))
        return value


@contextlib.contextmanager
def calls(base_url: str | None, api_key: str | None, *, fills: bool = False) -> Iterator[IndexClient]:
    """A client, closed at the end. In this process backfills run only if `fills`."""
    from upsize.server.discovery import running_service

    if base_url and not base_url.startswith(("http://", "https://")):
        raise InvalidInput(f"--base-url {base_url}: write it with http:// or https:// in front.")
    url = (base_url or "").rstrip("/").removesuffix("/v1") or running_service()
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    with asyncio.Runner() as runner:
        if url:
            patience = httpx.Timeout(TIMEOUT, connect=10)
            try:  # a service found by discovery is on this machine
                options = async_client_options(url, direct=base_url is None)
                client = httpx.AsyncClient(base_url=url, headers=headers, timeout=patience, **options)
            except httpx.InvalidURL as error:
                raise InvalidInput(f"--base-url {url}: {error}.") from None
            try:
                yield IndexClient(client, runner, local=False)
            finally:
                runner.run(client.aclose())
            return
        from upsize.server import Allowed, Service, create_app

        service = Service(backfill=fills, allowed=Allowed(anything=True))
        service.start(())
        transport = httpx.ASGITransport(create_app(service))
        client = httpx.AsyncClient(base_url="http://localhost", transport=transport, timeout=TIMEOUT)
        try:
            yield IndexClient(client, runner, local=True)
        finally:
            runner.run(client.aclose())
            service.finish()


def _message(value: Any) -> str | None:
    with contextlib.suppress(TypeError, KeyError):
        return str(value["error"]["message"])
    return None


def _index(value: Any) -> int | None:
    """Position of the item at fault; None where the reply names none."""
    error = value.get("error") if isinstance(value, dict) else None
    index = error.get("index") if isinstance(error, dict) else None
    return index if isinstance(index, int) else None


def print_json(value: Any) -> None:
    """Print a value as JSON to standard output."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def labelled_queries(path: Path, reading: ReadOptions) -> list[dict[str, Any]]:
    """Labelled queries of a file or folder, as a request body. Prints what was detected to standard error."""
    import msgspec

    from upsize.migration.compare import read_labelled

    queries, notes = read_labelled(path, reading)
    for note in notes:
        typer.echo(note, err=True)
    typer.echo(f"Searching for {len(queries):,} queries in every variant …", err=True)
    value: list[dict[str, Any]] = msgspec.to_builtins(queries)
    return value
