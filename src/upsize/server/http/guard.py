"""Guard: refuses requests of pages of other origins, requests for other hosts, and bodies that are not JSON.

A page in a browser can send requests to any server that the browser reaches: to 127.0.0.1, and by DNS rebinding under a
name of its own. Bearer keys stop both. Without keys, Host and Origin are checked, as Ollama and Jupyter do.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from upsize.server.auth import OPEN
from upsize.server.error_replies import Forbidden, UnsupportedMedia, reply_to

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
PRIVATE = (".localhost", ".local", ".internal", ".home.arpa")
"""Domains that nobody can register, so no page of the web has a name in them."""
FORM = "application/x-www-form-urlencoded"
"""The Content-Type that curl sends without -H. A browser sends it only for a form."""
JSON = frozenset({"application/json", "text/json", "application/octet-stream"})


class Guard:
    """Middleware that replies 403 or 415, or passes a request on."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        keyless: bool,
        loopback: bool = False,
        hosts: Sequence[str] = (),
        origins: Sequence[str] = (),
    ) -> None:
        """Create the middleware.

        `keyless`: no API key is required. `loopback`: the server only listens on the loopback address. `hosts`: further
        names of the server; `.example.com` includes its subdomains, `*` allows any. `origins`: pages that may call it;
        `*` allows any.
        """
        self._app, self._keyless, self._loopback = app, keyless, loopback
        self._hosts = frozenset(host.lower().rstrip(".") for host in (*hosts, "localhost", socket.gethostname()))
        self._any_host = "*" in hosts
        self._any_origin = "*" in origins
        self._origins = frozenset(origin.lower().rstrip("/") for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check a request."""
        if scope["type"] == "http":
            try:
                self._check(scope["method"], scope["path"], Headers(scope=scope))
            except (Forbidden, UnsupportedMedia) as refused:
                await reply_to(refused, scope["path"])(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, method: str, path: str, headers: Headers) -> None:
        if self._keyless:
            if path.rstrip("/") not in OPEN:  # a load balancer may check health under any name
                for host in headers.getlist("host"):
                    self._check_host(host)
            self._check_origin(method, headers)
        if method not in SAFE:
            _check_media(headers)

    def _check_host(self, host: str) -> None:
        name = _name(host)
        if self._any_host or name in self._hosts or not name or _is_address(name) or name.endswith(PRIVATE):
            return
        if "." not in name and not self._loopback:  # a name in the local network, or a container
            return
        if any(name == h[1:] or name.endswith(h) for h in self._hosts if h.startswith(".")):
            return
        raise Forbidden(
            f"Host is {host[:80]!r}, which is not a name of this server. If it is one, start the server with "
            "--allowed-host NAME."
        )

    def _check_origin(self, method: str, headers: Headers) -> None:
        if self._any_origin:
            return
        cross_site = headers.get("sec-fetch-site") in ("cross-site", "same-site")
        # A page cannot read the reply to a GET, but it can cause work. Following a link is harmless.
        if method in SAFE and (not cross_site or method == "OPTIONS" or headers.get("sec-fetch-mode") == "navigate"):
            return
        own = {host.lower() for host in headers.getlist("host")}
        origins = headers.getlist("origin")
        for origin in origins:
            if origin.lower() not in self._origins and _authority(origin) not in own:
                raise _cross_origin(origin)
        if not origins and cross_site:
            raise _cross_origin("another site")


def _check_media(headers: Headers) -> None:
    for encoding in headers.getlist("content-encoding"):
        if encoding.strip().lower() not in ("", "identity"):
            raise UnsupportedMedia(f"Content-Encoding is {encoding[:80]!r}. Send the body as it is, not compressed.")
    browser = "origin" in headers or "sec-fetch-site" in headers
    for given in headers.getlist("content-type"):
        kind = given.partition(";")[0].strip().lower()
        if kind in JSON or kind.endswith("+json") or (kind in ("", FORM) and not browser):
            continue
        raise UnsupportedMedia(
            f"Content-Type is {given[:80]!r}. Send a body of JSON with Content-Type: application/json."
        )


def _cross_origin(origin: str) -> Forbidden:
    return Forbidden(
        f"The request comes from a page of {origin[:80]!r}. To allow it, start the server with --cors-origin ORIGIN, "
        "or require a key with --api-key."
    )


def _name(host: str) -> str:
    """The name without the port, in lower case; IPv6 without brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower().rstrip(".")


def _is_address(name: str) -> bool:
    """Whether it is an IP address, which DNS rebinding cannot use."""
    try:
        ipaddress.ip_address(name)
        return True
    except ValueError:
        return False


def _authority(origin: str) -> str | None:
    """Host and port in the form of the Host header. None for `null` and anything that is not an origin."""
    try:
        parts = urlsplit(origin)
        return parts.netloc.lower() if parts.scheme in ("http", "https") and parts.netloc else None
    except ValueError:
        return None
