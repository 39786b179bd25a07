"""Checks the host and the body framing of a request head by RFC 9112.

A request that two servers may interpret differently is refused, before any other check relies on its Host.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

Header = tuple[bytes, bytes]

_NAME = re.compile(rb"[A-Za-z0-9._~-]+\Z")
_SCHEMES = (b"http", b"https")
_MAX_PORT = 65_535


class HeadRefused(Exception):
    """Carries `status` and `message` of the reply. The connection is closed: the bytes that follow are ambiguous."""

    def __init__(self, status: int, message: str) -> None:
        self.status, self.message = status, message
        super().__init__(message)


def check_framing(headers: Sequence[Header], version: str) -> None:
    """Raise HeadRefused for any Transfer-Encoding other than a single `chunked`."""
    values = [value for name, value in headers if name == b"transfer-encoding"]
    if not values:
        return
    codings = [coding.strip(b" \t").lower() for value in values for coding in value.split(b",")]
    if any(coding != b"chunked" for coding in codings):
        raise HeadRefused(
            501,
            f"Transfer-Encoding is {_quoted(b', '.join(values))}; only chunked is supported. Send the body without it.",
        )
    if len(codings) > 1:
        raise HeadRefused(400, "Transfer-Encoding says chunked more than once.")
    if version == "1.0":
        raise HeadRefused(400, "HTTP/1.0 has no Transfer-Encoding. Send Content-Length.")
    if any(name == b"content-length" for name, _ in headers):
        raise HeadRefused(400, "The request has Transfer-Encoding and Content-Length. Send one of them.")


def host_of(headers: Sequence[Header], target: bytes, version: str) -> bytes | None:
    """The host of a request: that of an absolute target, otherwise the Host header. None for HTTP/1.0 without either.

    Raises HeadRefused if Host is missing in HTTP/1.1, given twice, or not a host with an optional port.
    """
    given = [value.strip(b" \t") for name, value in headers if name == b"host"]
    if len(given) > 1:
        raise HeadRefused(400, f"The request has {len(given)} Host headers. Send one.")
    if not given and version != "1.0":
        raise HeadRefused(400, "The request has no Host header, which HTTP/1.1 requires.")
    if given and not _is_authority(given[0]):
        raise HeadRefused(
            400, f"Host is {_quoted(given[0])}, which is not a host name or address with an optional port."
        )
    if target.startswith((b"/", b"*")):
        return given[0] if given else None
    scheme, _, rest = target.partition(b"://")
    authority = re.split(rb"[/?#]", rest, maxsplit=1)[0]
    if scheme.lower() not in _SCHEMES or not _is_authority(authority):
        raise HeadRefused(400, f"The request's target {_quoted(target)} is neither a path nor an http URL with a host.")
    return authority


def _is_authority(value: bytes) -> bool:
    """Whether it is `name`, `address` or `[IPv6]`, with or without `:port`."""
    if value.startswith(b"["):
        address, closed, port = value[1:].partition(b"]")
        if not closed or (port and not port.startswith(b":")):
            return False
        try:
            ipaddress.IPv6Address(address.decode("ascii"))
        except ValueError:
            return False
        port = port[1:]
    else:
        name, _, port = value.partition(b":")
        if not _NAME.match(name):
            return False
    return not port or (port.isdigit() and len(port) <= 5 and int(port) <= _MAX_PORT)


def _quoted(value: bytes) -> str:
    """A client's bytes as text, shortened and without control characters."""
    text = value[:80].decode("latin-1")
    return repr(f"{text}…" if len(value) > 80 else text)
