"""Findings about a service, with advice. Failures to reach a service are distinguished by their cause."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import httpx

from upsize.number_format import short
from upsize.proxies import Proxy

Level = Literal["ok", "note", "wrong"]


@dataclass(frozen=True)
class Finding:
    """A finding of a diagnosis."""

    level: Level
    kind: str
    """A stable identifier for programs, such as `wrong_key`."""
    message: str
    advice: str = ""


def wrong(kind: str, message: str, advice: str = "") -> Finding:
    """A problem that must be solved before the service is reliable."""
    return Finding("wrong", kind, message, advice)


def note(kind: str, message: str, advice: str = "") -> Finding:
    """A fact worth knowing."""
    return Finding("note", kind, message, advice)


def ok(kind: str, message: str) -> Finding:
    """A check that passed."""
    return Finding("ok", kind, message)


def unreachable(
    error: httpx.HTTPError | httpx.InvalidURL, url: str, timeout: float, proxy: Proxy | None = None
) -> Finding:
    """Why no answer came. The cause is below httpx's own exception."""
    causes = list(_causes(error))
    host = httpx.URL(url).host if not isinstance(error, httpx.InvalidURL) else url
    text = str(error) or type(error).__name__
    if isinstance(error, httpx.InvalidURL | httpx.UnsupportedProtocol):
        return wrong("bad_url", f"{url!r} is not the address of a service: {text}", "Write it as http://host:port/v1.")
    if proxy is not None and isinstance(error, httpx.ProxyError | httpx.ConnectError | httpx.ConnectTimeout):
        return wrong(
            "proxy",
            f"{url} is not reached through the proxy of {proxy.shown}: {text}",
            f"Unset {proxy.variable}, or set NO_PROXY={host} for local addresses.",
        )
    if any(isinstance(c, socket.gaierror) for c in causes) or "name resolution" in text or "not known" in text:
        return wrong("dns", f"The host name {host!r} cannot be resolved.", "Check its spelling, and DNS or VPN.")
    if any(isinstance(c, ssl.SSLCertVerificationError) for c in causes) or "CERTIFICATE_VERIFY" in text:
        return wrong(
            "tls_certificate",
            f"The certificate of {host} is not trusted: {text}",
            "Set SSL_CERT_FILE to your authority's certificate, or renew the server's.",
        )
    if any(isinstance(c, ssl.SSLError) for c in causes) or "SSL" in text:
        return wrong("tls", f"{host} does not speak TLS on this port: {text}", "Try http:// instead of https://.")
    if isinstance(error, httpx.ConnectTimeout):
        return wrong(
            "connect_timeout",
            f"No connection to {url} within {short(timeout)} s.",
            "A firewall drops the connection, or the host is down. Check address, port and network.",
        )
    if isinstance(error, httpx.TimeoutException):
        return wrong(
            "timeout",
            f"{url} accepted the request and did not answer within {short(timeout)} s.",
            "It is overloaded or still loading. Look at its log, or raise --timeout.",
        )
    if isinstance(error, httpx.ConnectError):
        return wrong(
            "refused",
            f"Nothing listens at {url}: {text}",
            "Start it and check the port. On another machine it must be started with --host 0.0.0.0.",
        )
    return wrong(
        "broken_connection",
        f"The connection to {url} broke: {text}",
        "Does it expect https://, or did it crash? Look at its log.",
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
