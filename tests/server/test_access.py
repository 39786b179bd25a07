"""Bearer keys, load limits, metrics, the page of the API."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import msgspec
import pytest

from tests.server.live import live
from upsize.engine import Limits
from upsize.server.dialects import OPERATIONS

OPEN = {"/health", "/health_generate", "/ready", "/ping"}


@pytest.fixture(scope="module")
def locked(embedder_folder: Path):  # type: ignore[no-untyped-def]
    with live({"embed": embedder_folder}, keys=["one", "two"], protect_metrics=True) as client:
        yield client


def test_every_path_but_health_asks_for_a_key(locked: httpx.Client) -> None:
    paths = [(o.method, p) for o in OPERATIONS for p in o.paths]
    paths += [("GET", p) for p in ("/metrics", "/docs", "/openapi.json", "/no/such/path")]
    for method, path in paths:
        status = locked.request(method, path).status_code
        assert (status == 401) == (path not in OPEN), (path, status)


@pytest.mark.parametrize(
    ("header", "status"), [("Bearer one", 200), ("bearer two", 200), ("Bearer on", 401), ("one", 401)]
)
def test_keys(locked: httpx.Client, header: str, status: int) -> None:
    reply = locked.get("/v1/models", headers={"Authorization": header})
    assert reply.status_code == status
    if status == 401:
        assert reply.json()["error"]["code"] == "invalid_api_key"
        assert reply.headers["WWW-Authenticate"] == "Bearer"


def test_a_slash_at_the_end_of_an_open_path_asks_for_no_key(locked: httpx.Client) -> None:
    assert locked.get("/health/").status_code == 200
    assert locked.get("/v1/models/").status_code == 401


def test_pages_of_the_origins_given_may_call(embedder_folder: Path) -> None:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    with live({"embed": embedder_folder}, keys=["one"], origins=["https://page.example"]) as client:
        for origin, allowed in (("https://page.example", True), ("https://other.example", False)):
            permission = client.options("/v1/embeddings", headers=asked | {"Origin": origin})
            assert permission.is_success is allowed
            reply = client.post(
                "/v1/embeddings", json={"input": "a"}, headers={"Origin": origin, "Authorization": "Bearer one"}
            )
            assert (reply.headers.get("Access-Control-Allow-Origin") == origin) is allowed
            assert reply.status_code == 200


def test_metrics_are_open_by_default(embedder_folder: Path) -> None:
    with live({"embed": embedder_folder}, keys=["one"]) as client:
        assert client.get("/metrics").status_code == 200


def test_metrics_count_what_happened(embedder_folder: Path) -> None:
    with live({"embed": embedder_folder}, allow_truncation=True) as client:
        client.post("/v1/embeddings", json={"input": ["a b c", "word " * 3000]})
        client.post("/v1/embeddings", json={"input": "Instruct: x\nQuery: y", "input_type": "query"})
        client.post("/v1/embeddings", json={"input": ""})
        page = client.get("/metrics").text

    def value(sample: str) -> float:
        found = re.search(rf"^{re.escape(sample)} (\S+)$", page, re.MULTILINE)
        assert found, sample
        return float(found[1])

    assert value('upsize_requests_total{path="/v1/embeddings",status="200"}') == 2
    assert value('upsize_requests_total{path="/v1/embeddings",status="400"}') == 1
    assert value('upsize_suspicious_inputs_total{kind="instruction_twice",model="embed"}') == 1
    assert value('upsize_suspicious_inputs_total{kind="space_after_query",model="embed"}') == 1
    assert value('upsize_tokens_total{model="embed"}') > 1000
    assert value('upsize_truncated_tokens_total{model="embed"}') > 1000
    assert value('upsize_queue_tokens{model="embed"}') == 0
    for stage in ("tokenize", "queue", "compute"):
        assert value(f'upsize_{stage}_seconds_count{{model="embed"}}') == 2
    assert value('upsize_batch_tokens_count{model="embed"}') >= 2
    assert value('upsize_tokens_per_second{model="embed"}') > 0
    assert 'upsize_model_info{dtype="float32"' in page


def test_the_work_of_a_client_that_left_is_dropped(embedder_folder: Path) -> None:
    body = json.dumps({"input": ["word " * 100] * 2048}).encode()
    with live({"embed": embedder_folder}) as client:
        with socket.create_connection((client.base_url.host, client.base_url.port)) as leaving:
            head = f"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
            leaving.sendall(head.encode() + body)
            wait_for(client, lambda page: 'upsize_queue_sequences{model="embed"} 0.0' not in page)
        page = wait_for(client, lambda page: 'path="/v1/embeddings",status="499"} 1.0' in page)
        assert 'upsize_queue_sequences{model="embed"} 0.0' in page
        computed = re.search(r'^upsize_tokens_total\{model="embed"\} (\S+)$', page, re.MULTILINE)
        assert float(computed[1] if computed else 0) < 2048 * 100
        assert client.post("/v1/embeddings", json={"input": "the next"}).status_code == 200


def wait_for(client: httpx.Client, condition: Callable[[str], bool]) -> str:
    """The metrics, once they are so."""
    end = time.monotonic() + 30
    while not condition(page := client.get("/metrics").text):
        assert time.monotonic() < end, page
        time.sleep(0.005)
    return page


def test_overload_is_429_with_a_time_to_come_back(embedder_folder: Path) -> None:
    with live({"embed": embedder_folder}, limits=Limits(queue_seconds=0.001)) as client:
        replies: list[httpx.Response] = []

        def send() -> None:
            replies.append(client.post("/v1/embeddings", json={"input": ["word " * 100] * 64}))

        threads = [threading.Thread(target=send) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    statuses = {r.status_code for r in replies}
    assert statuses == {200, 429}
    refused = next(r for r in replies if r.status_code == 429)
    assert int(refused.headers["Retry-After"]) >= 1
    assert refused.json()["error"]["code"] == "overloaded"


def test_the_description_covers_every_endpoint(server: httpx.Client) -> None:
    described = server.get("/openapi.json").json()
    for operation in OPERATIONS:
        for path in (re.sub(r":\w+}", "}", path) for path in operation.paths):
            entry = described["paths"][path][operation.method.lower()]
            assert entry["description"]
            assert [p["name"] for p in entry.get("parameters", [])] == re.findall(r"{(\w+)}", path)
            if operation.body is not None:
                example = entry["requestBody"]["content"]["application/json"]["example"]
                msgspec.convert(example, operation.body)
                if "/indexes" not in path:  # those that make no index are asked
                    assert server.post(path, json=example).status_code == 200


def test_the_page_needs_nothing_from_afar(server: httpx.Client) -> None:
    page = server.get("/docs").text
    assert "http" not in page.replace("https://", "http").split("<body>")[1].replace("httpx", "")
    for asset in re.findall(r'(?:src|href)="(docs/[^"]+)"', page):
        assert server.get("/" + asset).status_code == 200
