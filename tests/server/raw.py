"""Bytes to and from a server, for clients that no library would be."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx


def connect(client: httpx.Client) -> socket.socket:
    """A connection of its own to the server of this client."""
    return socket.create_connection((client.base_url.host, client.base_url.port), timeout=20)


@contextmanager
def crowd(client: httpx.Client, number: int, sent: bytes = b"") -> Iterator[list[socket.socket]]:
    """So many connections that have each sent this."""
    with ExitStack() as stack:
        connections = [stack.enter_context(connect(client)) for _ in range(number)]
        for connection in connections:
            connection.sendall(sent)
        yield connections


def request(
    path: str = "/v1/embeddings", body: bytes = b"", *headers: str, method: str = "POST", length: int | None = None
) -> bytes:
    """A request of these bytes; `length` is said in place of the body's own."""
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: localhost",
        f"Content-Length: {len(body) if length is None else length}",
    ]
    return "\r\n".join([*lines, *headers, "", ""]).encode() + body


def read_reply(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """One whole reply: status, headers, body. ConnectionError where the connection ends before."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += _some(connection, 1)  # no byte of the next reply
    line, *lines = head.decode().strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = b""
    while left := int(headers.get("content-length", 0)) - len(body):
        body += _some(connection, left)
    return int(line.split()[1]), headers, body


def code_of(connection: socket.socket) -> tuple[int, str]:
    """Status and code of an error."""
    status, _, body = read_reply(connection)
    return status, json.loads(body)["error"]["code"]


def ended(connection: socket.socket) -> bool:
    """Whether the server has closed it; waits for what comes."""
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def embed(**fields: Any) -> bytes:
    """A body that is small and right."""
    return json.dumps({"input": "some words"} | fields).encode()


def _some(connection: socket.socket, most: int) -> bytes:
    if not (data := connection.recv(most)):
        raise ConnectionError("closed")
    return data
