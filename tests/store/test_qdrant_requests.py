"""Requests to a Qdrant server: by as many bytes as it takes, and with time-outs. A small server in its place."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from upsize.errors import RowsRefused, StoreUnavailable
from upsize.store import Table, VectorRows, qdrant
from upsize.store import circuit_breaker as gate
from upsize.store.qdrant import QdrantStore

LIMIT = 32 << 20
"""Qdrant's own, unless it is set otherwise."""


class Requests:
    """What came, and how long an answer takes."""

    def __init__(self, limit: int = LIMIT, status: int = 400) -> None:
        self.limit, self.status = limit, status
        self.sizes: list[int] = []
        self.refused: list[int] = []
        self.points: list[str] = []
        self.answer = threading.Event()
        self.answer.set()

    def put(self, body: bytes) -> tuple[int, dict[str, Any]]:
        if len(body) > self.limit:
            self.refused.append(len(body))
            told = (
                f"Payload error: JSON payload ({len(body)} bytes) is larger than allowed (limit: {self.limit} bytes)."
            )
            return self.status, {"status": {"error": told}}
        self.sizes.append(len(body))
        self.points += [p["payload"]["id"] for p in json.loads(body)["points"]]
        return 200, {"result": {"operation_id": 0, "status": "completed"}, "status": "ok", "time": 0.0}


@contextmanager
def serving(requests: Requests) -> Iterator[QdrantStore]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            requests.answer.wait(30)
            status, value = requests.put(body)
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_PUT  # noqa: N815 (http.server's name)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        store = QdrantStore(url=f"http://127.0.0.1:{server.server_port}")
        yield store
        requests.answer.set()
        store.close()
        server.shutdown()


def rows(count: int, dimension: int, metadata: Callable[[int], dict[str, Any]] = lambda _: {}) -> VectorRows:
    vectors = np.random.default_rng(0).standard_normal((count, dimension)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return VectorRows([f"d{i}" for i in range(count)], range(count), vectors, [metadata(i) for i in range(count)])


def test_large_vectors_go_in_requests_that_a_server_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert qdrant.REQUEST_BYTES < LIMIT
    part = 8  # of a server's limit and ours, and of a thousand vectors
    monkeypatch.setattr(qdrant, "REQUEST_BYTES", qdrant.REQUEST_BYTES // part)
    requests = Requests(limit=LIMIT // part)
    with serving(requests) as store:
        store.upsert(Table("t", 4096), rows(1000 // part, 4096))
    assert sorted(requests.points) == sorted(f"d{i}" for i in range(1000 // part))
    assert not requests.refused
    assert LIMIT / part / 2 < max(requests.sizes) < LIMIT / part
    assert sum(requests.sizes) > 2 * LIMIT / part  # more than two requests could have taken


@pytest.mark.parametrize("status", [400, 413])
def test_a_server_that_takes_less_gets_less_and_a_point_beyond_it_is_refused(status: int) -> None:
    requests = Requests(limit=40_000, status=status)
    heavy = {"d5": "x" * 50_000, "d6": "ж" * 30_000}
    with serving(requests) as store:
        some = rows(50, 64, lambda i: {"text": heavy.get(f"d{i}", "short")})
        with pytest.raises(RowsRefused, match=r"'d5', 'd6': .*max_request_size_mb") as caught:
            store.upsert(Table("t", 64), some)
        assert caught.value.ids == ["d5", "d6"]
        assert sorted(requests.points) == sorted({f"d{i}" for i in range(50)} - {"d5", "d6"})
        before = len(requests.refused)
        store.upsert(Table("t", 64), rows(30, 64))  # what it takes is known now
        assert len(requests.refused) == before


def test_ids_beyond_number_go_in_several_requests() -> None:
    requests = Requests(limit=1 << 20)
    sizes: list[int] = []
    requests.put = lambda body: (  # type: ignore[method-assign]
        sizes.append(len(body)) or (200, {"result": {"operation_id": 0, "status": "completed"}, "status": "ok"})
    )
    with serving(requests) as store:
        store.delete(Table("t", 4), [f"d{i}" for i in range(5_000)])
    assert max(sizes) < 1 << 16
    assert len(sizes) == 5


def test_a_server_that_does_not_answer_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qdrant, "SEARCH", 0.3)
    monkeypatch.setattr(gate, "PAUSE", 60.0)
    requests = Requests()
    requests.answer.clear()
    with serving(requests) as store:
        table, query = Table("t", 4), np.array([1, 0, 0, 0], np.float32)
        with pytest.raises(StoreUnavailable, match="time-out"):
            store.search(table, query, 3)
        for work in (
            lambda: store.search(table, query, 3),
            lambda: store.upsert(table, rows(1, 4)),
            lambda: store.delete(table, ["a"]),
            store.require_answering,
        ):
            with pytest.raises(StoreUnavailable, match="a moment ago"):
                work()
