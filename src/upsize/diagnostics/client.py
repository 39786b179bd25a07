"""An HTTP client for the service under test. Failures to reach the service become findings."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import httpx

from upsize.diagnostics.findings import Finding, unreachable, wrong
from upsize.errors import UnusableProxy
from upsize.proxies import client_options, proxy_for

FINGERPRINT = "x-upsize-fingerprint"
CONNECT_SECONDS = 10.0
"""Seconds to connect at most; an answer may take longer. Chosen."""


class StopError(Exception):
    """The diagnosis ends with this finding: no further check is possible."""

    def __init__(self, finding: Finding) -> None:
        self.finding = finding
        super().__init__(finding.message)


class Client:
    """Calls one service by its OpenAI base URL. A call raises StopError if no answer comes."""

    def __init__(self, base_url: str, api_key: str | None, timeout: float) -> None:
        self.base_url, self.key, self.timeout = base_url, bool(api_key), timeout
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        limits = httpx.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS))
        try:
            self._proxy = proxy_for(base_url)
            self._client = httpx.Client(headers=headers, timeout=limits, **client_options(base_url))
        except UnusableProxy as error:
            raise StopError(wrong("proxy", str(error))) from None
        self.fingerprints: list[str] = []
        """The fingerprint header of each reply that has one."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    @property
    def root(self) -> str:
        """The base URL without /v1."""
        return self.base_url.removesuffix("/v1")

    def get(self, path: str) -> httpx.Response:
        """Get a path below the root."""
        return self._send("GET", f"{self.root}{path}", None)

    def embed(
        self, texts: list[str], model: str | None, dimensions: int | None = None, base: str | None = None
    ) -> httpx.Response:
        """Call the embeddings endpoint."""
        body: dict[str, Any] = {"input": texts, "encoding_format": "float"}
        body |= {} if model is None else {"model": model}
        body |= {} if dimensions is None else {"dimensions": dimensions}
        return self._send("POST", f"{base or self.base_url}/embeddings", body)

    def rerank(self, query: str, documents: list[str], model: str | None) -> httpx.Response:
        """Call the rerank endpoint."""
        body: dict[str, Any] = {"query": query, "documents": documents}
        body |= {} if model is None else {"model": model}
        return self._send("POST", f"{self.base_url}/rerank", body)

    def _send(self, method: str, url: str, body: dict[str, Any] | None) -> httpx.Response:
        try:
            reply = self._client.request(method, url, json=body)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            limit = min(self.timeout, CONNECT_SECONDS) if isinstance(error, httpx.ConnectTimeout) else self.timeout
            raise StopError(unreachable(error, url, limit, self._proxy)) from None
        if reply.is_redirect:
            advice = f"Use the address that it points to: {reply.headers.get('location', '(none)')}."
            raise StopError(wrong("redirect", f"{url} answers with a redirect, which clients do not follow.", advice))
        if FINGERPRINT in reply.headers:
            self.fingerprints.append(reply.headers[FINGERPRINT])
        return reply
