"""Connections that take too much, or ask for another protocol. Times are short here; nothing waits for a clock."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from queue import Queue

import httpx
import pytest
import uvicorn
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tests.server.live import live
from tests.server.raw import code_of, connect, crowd, embed, ended, read_reply, request
from upsize.server import Address, ConnectionLimits
from upsize.server.http.body import UNCOUNTED, Bodies
from upsize.server.http.pool import Pool
from upsize.server.run import bind, config_of

SHORT = ConnectionLimits(head_seconds=0.2, body_seconds=0.2, idle_seconds=0.3, write_seconds=0.2, discard_bytes=1 << 20)

CHUNKED = b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module")
def hasty(embedder_folder: Path) -> Iterator[httpx.Client]:
    """A server that waits for nobody."""
    with live({"embed": embedder_folder}, connections=SHORT) as client:
        yield client


UPGRADES = [
    ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"),
    (
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
    ),
    ("Connection: keep-alive, upgrade", "UPGRADE: TLS/1.0, HTTP/2.0"),
]


@pytest.mark.parametrize("headers", UPGRADES)
@pytest.mark.parametrize("pieces", ["whole", "head first", "bytes"])
def test_a_wish_for_another_protocol_is_ignored(server: httpx.Client, headers: tuple[str, ...], pieces: str) -> None:
    body = embed()
    first, second = request("/v1/embeddings", body, *headers), request("/v1/models", method="GET")
    sizes = {"whole": len(first + second), "head first": len(first) - len(body), "bytes": 7}
    with connect(server) as connection:
        for start in range(0, len(first + second), sizes[pieces]):
            connection.sendall((first + second)[start : start + sizes[pieces]])
        status, _, content = read_reply(connection)
        assert (status, b'"embedding"' in content) == (200, True)
        assert read_reply(connection)[0] == 200


def test_a_chunked_body_beside_an_upgrade_is_read(server: httpx.Client) -> None:
    body = embed()
    head = "POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nUpgrade: h2c\r\n"
    with connect(server) as connection:
        connection.sendall(f"{head}Connection: upgrade\r\n\r\n{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n")
        assert read_reply(connection)[0] == 200
        connection.sendall(request(body=body))
        assert read_reply(connection)[0] == 200


def test_an_upgrade_that_also_closes_is_closed(server: httpx.Client) -> None:
    with connect(server) as connection:
        connection.sendall(request("/v1/embeddings", embed(), "Connection: close, Upgrade", "Upgrade: h2c"))
        assert read_reply(connection)[0] == 200
        assert ended(connection)


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"", None),
        (b"\r\n", (408, "timeout")),
        (b"POST /v1/emb", (408, "timeout")),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\nX-", (408, "timeout")),
        (request(body=b'{"input', length=100), (408, "timeout")),
        (request(length=100), (408, "timeout")),
        (CHUNKED + b"5;" + b"x" * 5000, (408, "timeout")),
    ],
)
def test_what_stops_half_way_is_closed(hasty: httpx.Client, sent: bytes, answer: tuple[int, str] | None) -> None:
    with connect(hasty) as connection:
        connection.sendall(sent)
        if answer:
            assert code_of(connection) == answer
        assert ended(connection)


@pytest.mark.parametrize("path", ["/no/such/path", "/v1/embeddings"])
def test_a_body_that_goes_on_after_its_reply_is_closed(hasty: httpx.Client, path: str) -> None:
    with connect(hasty) as connection:
        connection.sendall(request(path, b"{", "Content-Type: text/plain", length=1000))
        assert read_reply(connection)[0] in (404, 415)
        assert ended(connection)


def test_slow_drops_do_not_keep_a_connection(hasty: httpx.Client) -> None:
    """A byte at a time, each before any time-out: the whole has to arrive in time."""
    quick = request(body=b"x" * 500_000, length=30 << 20)  # which earns it no time for the rest
    for first in (request(length=100_000), quick, b"POST /v1/embeddings HTTP/1.1\r\nX-Long: "):
        with connect(hasty) as connection:
            connection.settimeout(0.02)
            connection.sendall(first)
            drops = 0
            while not _answered(connection):
                assert (drops := drops + 1) < 1000
                connection.sendall(b"a")


def _answered(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) is not None
    except TimeoutError:
        return False


def test_a_kept_connection_without_requests_is_closed(hasty: httpx.Client) -> None:
    with connect(hasty) as connection:
        for _ in range(2):
            connection.sendall(request("/v1/models", method="GET"))
            assert read_reply(connection)[0] == 200
        assert ended(connection)


def test_a_reply_that_is_not_read_is_dropped(embedder_folder: Path) -> None:
    limits = replace(SHORT, idle_seconds=30, body_seconds=30, write_rate=1 << 20)
    requests = request(body=embed(input=["word"] * 2048)) * 12
    with live({"embed": embedder_folder}, connections=limits) as client, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(20)
        connection.connect((client.base_url.host, client.base_url.port))
        connection.sendall(requests)
        assert _is_reset(connection)
        assert client.get("/health").status_code == 200


def _is_reset(connection: socket.socket) -> bool:
    """Whether the server drops the connection while nothing is read from it."""
    poll = select.poll()
    poll.register(connection, select.POLLHUP | select.POLLERR)
    return bool(poll.poll(20_000))


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"GET /%s HTTP/1.1\r\n\r\n" % (b"a" * 70_000), (414, "uri_too_long")),
        (b"GET /v1/models?%s HTTP/1.1\r\n\r\n" % (b"a" * 10**6), (414, "uri_too_long")),
        (b"GET / HTTP/1.1\r\nX: %s\r\n\r\n" % (b"a" * 70_000), (431, "headers_too_large")),
        (b"GET / HTTP/1.1\r\n%s\r\n" % (b"X: a\r\n" * 1000), (431, "headers_too_large")),
        (b"GET / HTTP/1.1\r\n%s" % (b"X: a\r\n" * 100_000), (431, "headers_too_large")),
        (b"GET / HTTP/1.1\r\nX: %s" % (b"a" * 10**6), (431, "headers_too_large")),
        (
            CHUNKED + b"1;" + b"x" * (3 << 20),
            (400, "invalid_request"),
        ),
        (
            CHUNKED + b"1\r\n{\r\n0\r\n" + b"X: a\r\n" * 1000,
            (431, "headers_too_large"),
        ),
        (b"CONNECT other:80 HTTP/1.1\r\nHost: other\r\n\r\n", (400, "invalid_request")),
        (b"OPTIONS * HTTP/1.1\r\n\r\n", (400, "invalid_request")),
        (b"OPTIONS * HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", (400, "invalid_request")),
        (b"GET http://other HTTP/1.1\r\n\r\n", (400, "invalid_request")),
        (b"GET /\xff HTTP/1.1\r\n\r\n", (400, "invalid_request")),
        (b"GET /\0 HTTP/1.1\r\n\r\n", (400, "invalid_request")),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}", (400, "invalid_request")),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", (400, "invalid_request")),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, "invalid_request")),
        (b"\x16\x03\x01\x02\x00", (400, "invalid_request")),
    ],
)
def test_what_is_too_large_or_no_request_is_refused_and_closed(
    server: httpx.Client, sent: bytes, answer: tuple[int, str]
) -> None:
    with connect(server) as connection:
        try:
            connection.sendall(sent)
        except ConnectionError:
            return  # refused while it was still being sent
        try:
            assert code_of(connection) == answer
        except ConnectionError:
            assert len(sent) > 10**5  # the rest of what was sent reset the connection, and with it the reply
        assert ended(connection)


def test_a_fault_after_a_request_does_not_answer_for_it(server: httpx.Client) -> None:
    """Of two requests of which the second is broken, the first gets its own reply."""
    with connect(server) as connection:
        connection.sendall(request(body=embed()) + b"NO REQUEST\r\n\r\n")
        assert read_reply(connection)[0] == 200
        assert ended(connection)


def test_requests_that_wait_for_an_earlier_one_are_bounded(server: httpx.Client) -> None:
    """A few bytes of each would be kilobytes here. Those within the bound are answered."""
    one = request("/v1/models", method="GET")
    for number in (20, 33):
        with connect(server) as connection:
            connection.sendall(one * number)
            assert [read_reply(connection)[0] for _ in range(number)] == [200] * number
    with connect(server) as connection:
        connection.sendall(one * 50)
        replies = [read_reply(connection) for _ in range(33)]
        assert [status for status, _, _ in replies] == [200] * 33
        assert [headers.get("connection") for _, headers, _ in replies] == [None] * 32 + ["close"]
        assert ended(connection)


def test_requests_before_one_that_is_broken_are_answered(server: httpx.Client) -> None:
    whole = request(body=embed())
    for broken in (b"NO REQUEST\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", CHUNKED + b"zz\r\n"):
        with connect(server) as connection:
            connection.sendall(whole * 3 + broken + whole)
            assert [read_reply(connection)[0] for _ in range(3)] == [200] * 3
            assert ended(connection)


def test_a_body_that_is_declared_too_large_is_refused_before_it_is_sent(server: httpx.Client) -> None:
    with connect(server) as connection:
        connection.sendall(request(length=65 << 20))
        assert code_of(connection) == (413, "request_too_large")
    with connect(server) as connection:
        connection.sendall(request("/v1/embeddings", b"", "Expect: 100-continue", length=65 << 20))
        assert code_of(connection) == (413, "request_too_large")
        assert ended(connection)


def test_who_waits_for_leave_to_send_gets_it(server: httpx.Client) -> None:
    with connect(server) as connection:
        connection.sendall(request("/v1/embeddings", b"", "Expect: 100-continue", length=len(embed())))
        assert read_reply(connection)[0] == 100
        connection.sendall(embed())
        assert read_reply(connection)[0] == 200


def test_connections_that_wait_make_room_for_new_ones(embedder_folder: Path) -> None:
    limits = ConnectionLimits(connections=8, spare=2, settled_seconds=0)
    with (
        live({"embed": embedder_folder}, connections=limits) as client,
        crowd(client, 20) as idle,
        crowd(client, 20, b"POST /v1/emb"),
        crowd(client, 20, request(body=b"{", length=1000)),
    ):
        for _ in range(3):
            with httpx.Client(base_url=client.base_url) as another:
                assert another.get("/health").status_code == 200
                assert another.post("/v1/embeddings", json={"input": "a"}).status_code == 200
        assert all(ended(connection) for connection in idle)


@contextmanager
def holding(limits: ConnectionLimits) -> Iterator[tuple[httpx.Client, Queue[str]]]:
    """A server that answers /held and /ready only when the client has gone; the paths that it was asked for."""
    asked: Queue[str] = Queue()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        asked.put(scope["path"])
        while scope["path"] in ("/held", "/ready") and (await receive())["type"] != "http.disconnect":
            pass
        await Response(b"here")(scope, receive, send)

    server = uvicorn.Server(config_of(app, Pool(limits)))
    with bind(Address(port=0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=20) as client:
                yield client, asked
        finally:
            server.should_exit = True
            thread.join()


def test_beyond_the_limit_health_is_served_and_other_requests_get_503() -> None:
    """Where all are being answered. Those that wait for their clients have made room before, however young."""
    with (
        holding(ConnectionLimits(connections=3, spare=2, settled_seconds=60)) as (client, asked),
        crowd(client, 3, request("/held", method="GET")),
        httpx.Client(base_url=client.base_url) as another,
    ):
        assert [asked.get(timeout=20) for _ in range(3)] == ["/held"] * 3
        assert another.get("/health").status_code == 200
        reply = another.get("/v1/models")
        assert (reply.status_code, reply.json()["error"]["code"]) == (503, "unavailable")
        assert reply.headers["Retry-After"]
        for _ in range(4):  # each takes the place of one that sends nothing
            with crowd(client, 5):
                assert another.get("/health").status_code == 200
        assert asked.get(timeout=20) == "/health"
        with crowd(client, 2, request("/ready", method="GET")):
            while asked.get(timeout=20) != "/ready":
                pass
            assert asked.get(timeout=20) == "/ready"
            with crowd(client, 1) as (sixth,):
                assert code_of(sixth) == (503, "unavailable")


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\r\n",
        b"GET /health HTTP/1.1\r\nHo",
        request("/health", method="GET") + b"GET /hea",
        request(body=b"{", length=1000),
        request("/v1/embeddings", b"", "Expect: 100-continue", length=1000),
    ],
)
def test_a_flood_of_what_is_half_sent_keeps_nobody_out(sent: bytes) -> None:
    """None of them is being answered, so the one that has waited longest for its client makes room."""
    with holding(ConnectionLimits(connections=20, spare=4, settled_seconds=60)) as (client, _), ExitStack() as flood:
        for _ in range(10):
            flood.enter_context(crowd(client, 15, sent))
            with connect(client) as one:
                one.sendall(request("/health", method="GET"))
                assert read_reply(one)[0] == 200
        statuses = []
        while 200 not in statuses:  # 503 only as long as they are all younger than a moment
            assert len(statuses) < 1000
            with connect(client) as one:
                one.sendall(request("/v1/models", method="GET"))
                statuses.append(read_reply(one)[0])
        assert set(statuses) <= {200, 503}


def test_a_flood_of_connections_does_not_keep_health_out(embedder_folder: Path) -> None:
    """Those that have sent nothing make room at once, however young they are."""
    limits = ConnectionLimits(connections=20, spare=4, settled_seconds=60)
    with live({"embed": embedder_folder}, connections=limits) as client, crowd(client, 100):
        for _ in range(20):
            assert client.get("/health").status_code == 200
        statuses = []
        while 200 not in statuses:  # 503 only as long as they are all younger than a moment
            assert len(statuses) < 1000
            statuses.append(client.post("/v1/embeddings", json={"input": "a"}).status_code)
        assert set(statuses) <= {200, 503}


def test_bodies_that_stall_do_not_fill_the_memory(embedder_folder: Path) -> None:
    """Beyond the budget new bodies are refused; small ones have room all the time."""
    part = b"x" * (1 << 20)
    bodies = Bodies(budget=3 << 20)
    stalled = request(body=part, length=30 << 20)
    with live({"embed": embedder_folder}, bodies=bodies) as client, crowd(client, 3, stalled):
        with connect(client) as connection:
            connection.sendall(request(body=part * 3, length=30 << 20))
            assert code_of(connection) == (503, "unavailable")
        assert bodies.held <= 3 << 20
        assert client.post("/v1/embeddings", json={"input": "a"}).status_code == 200


def test_a_body_that_stalls_loses_its_place_to_one_that_goes_on(embedder_folder: Path) -> None:
    bodies = Bodies(budget=3 << 20, stalled=0)
    with live({"embed": embedder_folder}, bodies=bodies) as client:
        stalled = request(body=b"x" * (2 << 20), length=30 << 20)
        with crowd(client, 1, stalled) as connections:
            while bodies.held < (2 << 20) - UNCOUNTED:
                client.get("/health")
            assert client.post("/v1/embeddings", content=b" " * (2 << 20) + embed()).status_code == 200
            assert code_of(connections[0]) == (408, "timeout")
        assert bodies.held == 0
