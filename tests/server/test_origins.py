"""Requests that a browser sends for a page of somebody else: forms, scripts, and names that point here by rebinding."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from starlette.testclient import TestClient

from tests.server.live import live
from tests.server.raw import embed
from upsize.server import Service, create_app
from upsize.server.dialects import OPERATIONS
from upsize.server.endpoint import Operation

EVIL = "http://evil.example"


@pytest.fixture(scope="module")
def open_server(embedder_folder: Path) -> Iterator[httpx.Client]:
    """Without keys, for this machine, with one page of another origin that may call."""
    with live(
        {"embed": embedder_folder}, origins=["https://page.example"], hosts=["api.example", ".below.example"]
    ) as c:
        yield c


def code(reply: httpx.Response) -> tuple[int, str | None]:
    return reply.status_code, None if reply.is_success else reply.json()["error"]["code"]


FORBIDDEN, MEDIA = (403, "forbidden"), (415, "unsupported_media_type")


CHANGING = [o for o in OPERATIONS if o.method != "GET"]


@pytest.mark.parametrize("operation", CHANGING, ids=lambda o: f"{o.method} {o.paths[0]}")
def test_no_route_that_changes_anything_takes_a_page_of_another_origin(
    open_server: httpx.Client, operation: Operation
) -> None:
    path = operation.paths[0].replace("{name}", "docs")
    for headers in ({"Origin": EVIL}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}, {"Host": "evil.example"}):
        for kind in ("text/plain", "application/json"):
            reply = open_server.request(operation.method, path, headers=headers | {"Content-Type": kind}, content=b"{}")
            assert reply.status_code == 403, headers


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Content-Type": "text/plain"}, MEDIA),
        ({"Content-Type": "text/plain;charset=UTF-8"}, MEDIA),
        ({"Content-Type": "multipart/form-data; boundary=x"}, MEDIA),
        ({"Content-Type": "text/html"}, MEDIA),
        ({"Content-Type": "application/jsonx"}, MEDIA),
        ({"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin"}, MEDIA),
        ({"Content-Encoding": "gzip"}, MEDIA),
        ({"Content-Encoding": "identity, br"}, MEDIA),
        ({}, (200, None)),
        ({"Content-Type": "application/json; charset=utf-8"}, (200, None)),
        ({"Content-Type": "Application/JSON"}, (200, None)),
        ({"Content-Type": "application/vnd.api+json"}, (200, None)),
        ({"Content-Type": "application/octet-stream"}, (200, None)),
        ({"Content-Type": "application/x-www-form-urlencoded"}, (200, None)),  # curl -d
        ({"Content-Encoding": "identity"}, (200, None)),
        ({"Sec-Fetch-Site": "none"}, (200, None)),
        ({"Sec-Fetch-Site": "same-site"}, FORBIDDEN),
        ({"Origin": "https://page.example"}, (200, None)),
        ({"Origin": "https://page.example", "Sec-Fetch-Site": "cross-site"}, (200, None)),
        ({"Origin": "http://page.example"}, FORBIDDEN),
        ({"Origin": "https://page.example.evil.example"}, FORBIDDEN),
        ({"Origin": "http://localhost:1"}, FORBIDDEN),
        ({"Origin": "http://127.0.0.1"}, FORBIDDEN),
        ({"Origin": ""}, FORBIDDEN),
        ({"Origin": "http://["}, FORBIDDEN),
    ],
)
def test_what_a_browser_or_a_client_says(
    open_server: httpx.Client, headers: dict[str, str], expected: tuple[int, str | None]
) -> None:
    assert code(open_server.post("/v1/embeddings", content=embed(), headers=headers)) == expected


def test_a_page_of_the_server_itself_may_call(open_server: httpx.Client) -> None:
    own = str(open_server.base_url).rstrip("/")
    headers = {"Origin": own, "Sec-Fetch-Site": "same-origin"}
    reply = open_server.post("/v1/embeddings", json={"input": "a"}, headers=headers)
    assert reply.status_code == 200


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("localhost", True),
        ("LOCALHOST:1234", True),
        ("localhost.", True),
        ("127.0.0.1:30000", True),
        ("192.168.1.7", True),
        ("[::1]:30000", True),
        ("docs.localhost", True),
        ("host.docker.internal:30000", True),
        ("api.example", True),
        ("API.example:443", True),
        ("a.below.example", True),
        ("below.example", True),
        ("evil.example", False),
        ("evil.example:30000", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("notbelow.example", False),
        ("x.api.example", False),
        ("attacker", False),
    ],
)
def test_names_that_reach_a_server_of_this_machine(open_server: httpx.Client, host: str, allowed: bool) -> None:
    """For reading too: a page whose name was pointed here would be of the same origin."""
    for reply in (
        open_server.get("/v1/models", headers={"Host": host}),
        open_server.post("/v1/embeddings", content=embed(), headers={"Host": host}),
    ):
        assert code(reply) == ((200, None) if allowed else FORBIDDEN)


def test_a_page_that_may_call_can_read_why_it_was_refused(open_server: httpx.Client) -> None:
    headers = {"Origin": "https://page.example", "Content-Type": "text/plain"}
    reply = open_server.post("/v1/embeddings", content=embed(), headers=headers)
    assert code(reply) == MEDIA
    assert reply.headers["Access-Control-Allow-Origin"] == "https://page.example"


def test_health_is_open_to_every_host(open_server: httpx.Client) -> None:
    assert open_server.get("/health", headers={"Host": "balancer.example"}).status_code == 200


def test_work_is_not_done_for_the_pictures_of_a_page(open_server: httpx.Client) -> None:
    picture = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}
    assert code(open_server.get("/health_generate", headers=picture)) == FORBIDDEN
    assert open_server.get("/docs", headers=picture | {"Sec-Fetch-Mode": "navigate"}).status_code == 200


def test_forwarded_headers_change_nothing(open_server: httpx.Client) -> None:
    forwarded = {"X-Forwarded-Host": "localhost", "X-Forwarded-For": "127.0.0.1", "Forwarded": "host=localhost"}
    assert code(open_server.get("/v1/models", headers=forwarded | {"Host": "evil.example"})) == FORBIDDEN


@pytest.mark.parametrize(
    ("keys", "loopback", "hosts", "host", "status"),
    [
        ((), False, (), "upsize", 503),  # a container's name
        ((), False, (), "evil.example", 403),
        ((), True, (), "upsize", 403),
        ((), True, ("*",), "evil.example", 503),
        (("key",), True, (), "evil.example", 401),  # which no page can give
    ],
)
def test_names_by_how_the_server_was_started(
    keys: tuple[str, ...], loopback: bool, hosts: tuple[str, ...], host: str, status: int
) -> None:
    """503 is what the endpoint itself says, since it has no models."""
    client = TestClient(create_app(Service(), keys, hosts=hosts, loopback=loopback), base_url=f"http://{host}")
    assert client.post("/v1/embeddings", content=embed()).status_code == status


def test_any_origin_may_be_let_in() -> None:
    client = TestClient(create_app(Service(), origins=["*"]), base_url="http://localhost")
    for origin in (EVIL, "null"):
        assert client.post("/v1/embeddings", content=embed(), headers={"Origin": origin}).status_code == 503
