"""Heads of requests that two servers could read differently: hosts, transfer codings, paths with a line feed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.server.live import live
from tests.server.raw import code_of, connect, embed, ended, read_reply, request
from upsize.server.dialects import OPERATIONS
from upsize.server.http.head import HeadRefused, host_of


@pytest.fixture(scope="module")
def open_server(embedder_folder: Path) -> Iterator[httpx.Client]:
    """Without keys, so that Host counts."""
    with live({"embed": embedder_folder}) as client:
        yield client


@pytest.mark.parametrize(
    "hosts",
    [
        [],
        ["localhost", "localhost"],
        ["localhost", "evil.example"],
        ["evil.example", "localhost"],
        [""],
        [":80"],
        ["[::1"],
        ["[::1]x"],
        ["[::g]"],
        ["[127.0.0.1]"],
        ["::1"],
        ["localhost, evil.example"],
        ["localhost,localhost"],
        ["local host"],
        ["local\thost"],
        ["user@localhost"],
        ["localhost/path"],
        ["http://localhost"],
        ["localhost:http"],
        ["localhost:-1"],
        ["localhost:65536"],
        ["localhost:80:80"],
        ["local\xe9host"],
        ["local\x7fhost"],
        ["local\x01host"],
        ["'localhost'"],
    ],
)
@pytest.mark.parametrize("path", ["/health", "/v1/models", "http://localhost/v1/models"])
def test_no_request_without_one_valid_host(open_server: httpx.Client, hosts: list[str], path: str) -> None:
    lines = "".join(f"Host: {host}\r\n" for host in hosts)
    with connect(open_server) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1"))
        assert code_of(connection) == (400, "invalid_request")
        assert ended(connection)


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:", "a_b-c.localhost:1", "[::1]:80", "[fe80::1%25eth0]", "127.0.0.1"]
)
@pytest.mark.parametrize("space", ["", " ", "\t ", "   "])
def test_hosts_that_clients_send(open_server: httpx.Client, host: str, space: str) -> None:
    with connect(open_server) as connection:
        connection.sendall(f"GET /v1/models HTTP/1.1\r\nHost:{space}{host}{space}\r\n\r\n".encode())
        assert read_reply(connection)[0] == 200


def test_http_1_0_needs_no_host(open_server: httpx.Client) -> None:
    body = embed()
    for sent in (
        b"GET /health HTTP/1.0\r\n\r\n",
        b"POST /v1/embeddings HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body),
    ):
        with connect(open_server) as connection:
            connection.sendall(sent)
            assert read_reply(connection)[0] == 200
    for hosts in (b"Host: a\r\nHost: a\r\n", b"Host: [::1\r\n"):
        with connect(open_server) as connection:
            connection.sendall(b"GET /health HTTP/1.0\r\n" + hosts + b"\r\n")
            assert read_reply(connection)[0] == 400


@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        ("http://localhost/v1/models", "localhost", 200),
        ("HTTP://LocalHost:30000/v1/models", "localhost", 200),
        ("https://[::1]/v1/models?x=1", "localhost", 200),
        ("http://localhost/v1/models", "evil.example", 200),  # the target counts
        ("http://evil.example/v1/models", "localhost", 403),
        ("http://evil.example:80/v1/models", "localhost", 403),
        ("http://EVIL.example/v1/embeddings/../models", "localhost", 403),
        ("http://evil.example/health", "localhost", 200),  # which a balancer may ask under any name
        ("http://user@localhost/v1/models", "localhost", 400),
        ("http://evil.example@localhost/v1/models", "localhost", 400),
        ("http://localhost,evil.example/v1/models", "localhost", 400),
        ("http:///v1/models", "localhost", 400),
        ("ftp://localhost/v1/models", "localhost", 400),
        ("http://[::1/v1/models", "localhost", 400),
    ],
)
@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_the_host_of_an_absolute_target_counts(
    open_server: httpx.Client, target: str, host: str, status: int, version: str
) -> None:
    for upgrade in ("", "Connection: upgrade\r\nUpgrade: h2c\r\n"):
        with connect(open_server) as connection:
            connection.sendall(f"GET {target} HTTP/{version}\r\nHost: {host}\r\n{upgrade}\r\n".encode())
            assert read_reply(connection)[0] == status


@given(st.binary(max_size=30), st.sampled_from([b"/", b"http://localhost/"]))
def test_whatever_a_host_is_it_is_taken_or_refused(host: bytes, target: bytes) -> None:
    try:
        taken = host_of([(b"host", host)], target, "1.1")
    except HeadRefused as error:
        refused = error
    else:
        assert taken is not None
        assert not set(taken) & set(b" ,\t\r\n\0/@?#\\")
        return
    assert refused.status == 400
    assert refused.message.isprintable()


CHUNKED = f"{len(embed()):x}\r\n{embed().decode()}\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("codings", "status"),
    [
        (["chunked"], 200),
        (["Chunked "], 200),
        (["gzip, chunked"], 501),
        (["gzip", "chunked"], 501),
        (["deflate,chunked"], 501),
        (["identity, chunked"], 501),
        (["chunked, gzip"], 400),  # by the parser: chunked has to be the last
        (["gzip"], 501),
        (["identity"], 501),
        (["xchunked"], 501),
        (["chunked;q=1"], 501),
        (["chunked, chunked"], 400),
        (["chunked", "chunked"], 400),
    ],
)
def test_no_coding_but_chunked_is_read(open_server: httpx.Client, codings: list[str], status: int) -> None:
    lines = "".join(f"Transfer-Encoding: {coding}\r\n" for coding in codings)
    head = f"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n"
    with connect(open_server) as connection:
        connection.sendall((head + CHUNKED).encode())
        assert read_reply(connection)[0] == status
        assert status == 200 or ended(connection), "what follows could be taken for another request"


@pytest.mark.parametrize("first", ["Content-Length: 5", "Transfer-Encoding: chunked"])
@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_a_body_of_two_lengths_is_refused_and_nothing_after_it_is_served(
    open_server: httpx.Client, first: str, version: str
) -> None:
    second = "Transfer-Encoding: chunked" if first.startswith("Content") else "Content-Length: 5"
    head = f"POST /v1/embeddings HTTP/{version}\r\nHost: localhost\r\n{first}\r\n{second}\r\n\r\n"
    with connect(open_server) as connection:
        connection.sendall(f"{head}0\r\n\r\n".encode() + request("/v1/models", method="GET"))
        assert code_of(connection) == (400, "invalid_request")
        assert ended(connection)


PATHS = sorted({(o.method, path) for o in OPERATIONS for path in o.paths})


@pytest.mark.parametrize(("method", "path"), [*PATHS, ("GET", "/metrics"), ("GET", "/docs"), ("GET", "/openapi.json")])
def test_a_line_feed_at_the_end_of_a_path_is_part_of_it(open_server: httpx.Client, method: str, path: str) -> None:
    path = path.replace("{name}", "docs").replace("{id:path}", "3")
    for end in ("%0a", "%0d", "%0a%0a", "/%0a"):
        reply = open_server.request(method, path + end, content=b"{}" if method == "POST" else None)
        # 405 where the line feed is a name or an id itself, which can be asked for, but not posted to
        assert reply.status_code in (404, 405), end


def test_the_files_of_the_docs_end_where_their_names_do(open_server: httpx.Client) -> None:
    for end, status in (("", 200), ("%0a", 404), ("%0d", 404)):
        assert open_server.get(f"/docs/static/swagger-ui.css{end}").status_code == status
