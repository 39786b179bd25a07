"""Proxies from the environment, read in one way for every HTTP client.

Requests to this machine never use a proxy. For other hosts HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY mean what
they mean to curl. A setting that cannot be used is an error that names the variable: httpx, and each library built on
it, would raise an error for every address that does not name it.
"""

from __future__ import annotations

import importlib.util
import ipaddress
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from upsize.errors import UnusableProxy

SCHEMES = ("http", "https", "socks5", "socks5h")
LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Proxy:
    """The proxy that the environment sets for an address."""

    variable: str
    url: str

    @property
    def shown(self) -> str:
        """`VARIABLE (address)`, without user and password."""
        parts = urlsplit(self.url)
        return f"{self.variable} ({parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''})"


def is_loopback(host: str) -> bool:
    """Return whether a host name or number is this machine."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return address.is_loopback or address.is_unspecified or (mapped is not None and mapped.is_loopback)


def proxy_for(url: str) -> Proxy | None:
    """Return the proxy that the environment sets for an address; None for this machine, or if no proxy is set.

    Raises UnusableProxy.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:  # no address at all: whoever connects says so
        return None
    if not host or is_loopback(host) or _excepted(host, port or {"https": 443}.get(parts.scheme, 80)):
        return None
    for name in (f"{parts.scheme}_proxy", "all_proxy"):
        for variable in (name, name.upper()):
            if variable == "HTTP_PROXY" and "REQUEST_METHOD" in os.environ:
                continue  # in a CGI program a client sets it, by the header Proxy
            if value := os.environ.get(variable, "").strip():
                return _checked(variable, value)
    return None


def client_options(url: str, *, direct: bool = False) -> dict[str, Any]:
    """Return arguments of `httpx.Client` for one address: its proxy, or a transport without one. `direct`: no proxy.

    Raises UnusableProxy.
    """
    proxy = None if direct else proxy_for(url)
    return {"transport": httpx.HTTPTransport()} if proxy is None else {"proxy": proxy.url}


def async_client_options(url: str, *, direct: bool = False) -> dict[str, Any]:
    """Return arguments of `httpx.AsyncClient`, as `client_options` does."""
    options = client_options(url, direct=direct)
    return {"transport": httpx.AsyncHTTPTransport()} if "transport" in options else options


@contextmanager
def readable_by_libraries(url: str) -> Iterator[None]:
    """Make other libraries read the environment's proxies as this module does, for the duration of the block.

    NO_PROXY gets the names of this machine, and loses brackets, which httpx does not parse. Raises UnusableProxy if a
    proxy variable has a value that this module or httpx cannot use.
    """
    proxy_for(url)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        for variable in (name, name.upper()):
            if value := os.environ.get(variable, "").strip():
                _checked(variable, value)
    before = {name: os.environ.get(name) for name in ("no_proxy", "NO_PROXY")}
    hosts = [_entry(entry)[0] for value in before.values() for entry in (value or "").split(",") if entry.strip()]
    wanted = ",".join(dict.fromkeys([*hosts, *LOOPBACK]))
    os.environ.update(dict.fromkeys(before, wanted))
    try:
        yield
    finally:
        for name, was in before.items():
            if was is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = was


def _checked(variable: str, value: str) -> Proxy:
    url = value if "://" in value else f"http://{value}"
    try:
        parts = urlsplit(url)
        usable = bool(parts.hostname) and parts.port != 0
        httpx.URL(url)
    except (ValueError, httpx.InvalidURL) as error:
        raise UnusableProxy(f"{variable} is not the address of a proxy ({error}). Correct it, or unset it.") from None
    proxy = Proxy(variable, url)
    if not usable:
        raise UnusableProxy(f"{variable} is not the address of a proxy: it has no host. Correct it, or unset it.")
    if parts.scheme not in SCHEMES:
        raise UnusableProxy(
            f"{proxy.shown}: a proxy of this kind cannot be used. Known: {', '.join(SCHEMES)}. Unset {variable}, or "
            "put the address into NO_PROXY."
        )
    if parts.scheme.startswith("socks") and importlib.util.find_spec("socksio") is None:
        raise UnusableProxy(
            f"{proxy.shown}: a SOCKS proxy needs the package 'socksio': pip install 'httpx[socks]'. Or unset "
            f"{variable}, or put the address into NO_PROXY."
        )
    return proxy


def _excepted(host: str, port: int) -> bool:
    """Return whether NO_PROXY matches the host: by name, domain, network, or `*`."""
    value = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    return any(_names(entry.strip().lower(), host.lower().rstrip("."), port) for entry in value.split(","))


def _names(entry: str, host: str, port: int) -> bool:
    name, own_port = _entry(entry)
    if entry == "*":
        return True
    if own_port not in (None, port):
        return False
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(name, strict=False)
    except ValueError:
        name = name.lstrip("*").strip(".")
        return bool(name) and (host == name or host.endswith(f".{name}"))


def _entry(entry: str) -> tuple[str, int | None]:
    """(host or network without brackets, port) of an entry of NO_PROXY, which may have a scheme."""
    bare = entry.strip().rpartition("://")[2]
    name, _, port = bare[1:].partition("]") if bare.startswith("[") else (bare, "", "")
    if not bare.startswith("[") and bare.count(":") == 1:
        name, _, port = bare.partition(":")
    port = port.removeprefix(":")
    return name, int(port) if port.isdecimal() else None
