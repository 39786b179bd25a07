"""Indexes over HTTP: a real server, a client that knows nothing of the code behind."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.index.conftest import QUERIES, TEXTS
from tests.server.live import live
from upsize import demo

DOCUMENTS = [{"id": id, "text": text, "metadata": {"length": len(text)}} for id, text in TEXTS.items()]


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def add(**changes: Any) -> dict[str, Any]:
    return {"documents": [{"id": "a", "text": "x"} | changes]}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UPSIZE_INDEXES", str(tmp_path_factory.mktemp("indexes")))
        with live({"demo-xs": demo.folder("demo-xs")}) as served:
            yield served


@pytest.fixture
def index(client: httpx.Client, request: pytest.FixtureRequest) -> Iterator[str]:
    name = f"i{abs(hash(request.node.name)) % 10**6}"
    post(client, "/v1/indexes", {"name": name, "model": "demo-xs"})
    post(client, f"/v1/indexes/{name}/documents", {"documents": DOCUMENTS})
    yield f"/v1/indexes/{name}"
    client.delete(f"/v1/indexes/{name}")


def post(client: httpx.Client, path: str, body: Any = None) -> Any:
    reply = client.post(path, json=body)
    assert reply.status_code == 200, reply.text
    return reply.json()


def error(reply: httpx.Response) -> tuple[int, str, str]:
    payload = reply.json()["error"]
    return reply.status_code, payload["code"], payload["message"]


def test_a_line_feed_belongs_to_an_id(client: httpx.Client, index: str) -> None:
    id = DOCUMENTS[0]["id"]
    assert client.get(f"{index}/documents/{id}").status_code == 200
    for sent, named in ((f"{id}%0a", rf"{id}\n"), (f"%0a{id}", rf"\n{id}"), (f"a%0a{id}", rf"a\n{id}")):
        status, code, message = error(client.get(f"{index}/documents/{sent}"))
        assert (status, code) == (404, "document_not_found")
        assert f"'{named}'" in message


def test_documents_are_written_found_read_and_deleted(client: httpx.Client, index: str) -> None:
    reply = client.post(f"{index}/search", json={"query": "recipe for onion soup", "k": 2})
    results = reply.json()["results"]
    assert results[0] == {
        "id": "soup",
        "score": results[0]["score"],
        "text": TEXTS["soup"],
        "metadata": {"length": len(TEXTS["soup"])},
    }
    assert len(results) == 2
    payload = client.get(index).json()
    assert reply.headers["x-upsize-fingerprint"] == payload["generations"][0]["fingerprint"]
    assert (payload["documents"], payload["active"], payload["generations"][0]["vectors"]) == (6, "g1", 6)
    assert client.get(f"{index}/documents/soup").json()["text"] == TEXTS["soup"]
    assert post(client, f"{index}/delete", {"ids": ["soup", "x"]}) == {"deleted": ["soup"], "not_found": ["x"]}
    assert "soup" not in [r["id"] for r in post(client, f"{index}/search", {"query": "soup"})["results"]]
    assert error(client.get(f"{index}/documents/soup"))[0] == 404
    assert index.rsplit("/", 1)[1] in client.get("/v1/indexes").json()["indexes"]


def test_the_model_that_is_served_is_used_and_not_loaded_again(client: httpx.Client, index: str) -> None:
    metrics = client.get("/metrics").text
    assert 'upsize_tokens_total{model="demo-xs"}' in metrics
    assert 'model="demo-xs#2"' not in metrics
    assert index


def test_metrics_tell_how_far_each_generation_is(client: httpx.Client, index: str) -> None:
    name, path = index.rsplit("/", 1)[1], demo.folder("demo-xs")
    page = client.get("/metrics").text.splitlines()
    assert f'upsize_index_documents{{index="{name}"}} 6.0' in page
    assert f'upsize_index_missing{{generation="g1",index="{name}",model="{path}"}} 0.0' in page
    assert f'upsize_index_active{{generation="g1",index="{name}",model="{path}"}} 1.0' in page


def test_explain_says_which_rungs_answered_and_how_long_each_took(client: httpx.Client, index: str) -> None:
    body = {"query": "recipe for onion soup", "explain": True, "rerank": {"model": "demo-rerank", "depth": 3}, "k": 3}
    payload = post(client, f"{index}/search", body)
    assert payload["explain"]["rungs"] == ["L0", "L1"]
    assert payload["explain"]["model"] == str(demo.folder("demo-xs"))
    assert payload["explain"]["milliseconds"].keys() == {"embed", "search", "texts", "rerank"}
    assert all(r["scores"].keys() == {"cosine", "reranker"} for r in payload["results"])


def test_a_move_over_http(client: httpx.Client, index: str) -> None:
    plan = post(client, f"{index}/move/plan", {"to": "demo-s", "price": 1.5})
    assert plan["documents"] == 6
    assert plan["money"] > 0
    assert plan["problems"] == []
    started = post(client, f"{index}/move/start", {"to": "demo-s", "shadow": 1.0})
    assert (started["phase"], started["source"]["model"], started["target"]["model"]) == (
        "backfill",
        str(demo.folder("demo-xs")),
        "demo-s",
    )
    end = time.monotonic() + 20
    while not (payload := client.get(f"{index}/move").json())["ready"]:
        assert time.monotonic() < end, payload
        time.sleep(0.02)
    labelled = [{"query": query, "relevant": [{"id": id}]} for query, id in QUERIES.items()]
    verdict = post(client, f"{index}/move/compare", {"queries": labelled})
    assert verdict["queries"] == 6
    assert post(client, f"{index}/move/tune", {"canary": 0.5})["canary"] == 0.5
    switched = post(client, f"{index}/move/switch")
    assert (switched["phase"], switched["active"]) == ("switched", "g2")
    assert post(client, f"{index}/search", {"query": "soup", "explain": True})["explain"]["model"] == "demo-s"
    assert post(client, f"{index}/move/rollback")["active"] == "g1"
    assert post(client, f"{index}/move/switch", {"force": False})["active"] == "g2"
    assert post(client, f"{index}/move/finish") == {
        "index": index.rsplit("/", 1)[1],
        "phase": "none",
        "active": "g2",
        "ready": False,
        "missing": 0,
        "dropped": "g1",
    }


def test_rungs_are_set_measured_and_left(client: httpx.Client, index: str) -> None:
    payload = post(
        client,
        f"{index}/ladder",
        {"rerank": {"model": "demo-rerank", "depth": 3}, "rescore": {"model": "demo-s", "depth": 4}},
    )
    assert payload["rerank"] == {"model": "demo-rerank", "depth": 3}
    assert payload["rescore"]["depth"] == 4
    labelled = [{"query": query, "relevant": [{"id": id}]} for query, id in QUERIES.items()]
    body = {"queries": labelled, "rerank": [{"model": "demo-rerank", "depth": 3}], "rescore": [2]}
    assert len(post(client, f"{index}/ladder/measure", body)["ways"]) == 3
    assert post(client, f"{index}/ladder", {"rerank": None})["rerank"] is None
    payload = post(client, f"{index}/ladder", {"rescore": None})
    assert payload["rescore"] is None
    assert len(payload["generations"]) == 1


@pytest.mark.parametrize(
    ("path", "body", "status", "code", "message"),
    [
        ("/search", {"query": "x", "fliter": {"lang": "en"}}, 400, "invalid_value", "fliter"),
        ("/search", {"query": ""}, 400, "invalid_value", "The query is empty"),
        ("/search", {"query": "x", "k": 0}, 400, "invalid_value", "k: Expected a whole number >= 1"),
        ("/search", {"query": "x", "filter": {"a": [1]}}, 400, "invalid_value", "filter.a"),
        ("/search", {"query": "x", "rerank": {"model": "some/model"}}, 403, "not_allowed", "--allow-model"),
        ("/search", {"query": "x", "rerank": {"model": "demo-rerank", "depth": 10**6}}, 400, "invalid_value", "depth"),
        ("/search", {"query": "x", "rerank": {"model": "demo-xs"}}, 400, "invalid_model", "reranker"),
        ("/search", {"vector": [1.0], "fingerprint": "abc"}, 409, "fingerprint_mismatch", "is of the space abc"),
        ("/documents", {"documents": [{"id": "a", "text": ""}]}, 400, "invalid_value", "documents[0].text"),
        (
            "/documents",
            {"documents": [{"id": 7, "text": "x"}]},
            400,
            "invalid_value",
            "documents[0].id: Expected a string",
        ),
        ("/documents", {"documents": [{"id": "a", "text": "w " * 9000}]}, 400, "context_length_exceeded", "tokens"),
        ("/documents", {"documents": [{"id": "a", "text": "x"}] * 2049}, 400, "invalid_value", "2048"),
        ("/documents", add(metadata={"a": nested(31)} | {"b": nested(40)}), 400, "invalid_value", "deeper than 32"),
        ("/documents", add(metadata={"a": nested(260)}), 400, "invalid_value", "deep"),
        ("/documents", add(metadata={"a": 2**64}), 400, "invalid_value", "more than 64 bits"),
        ("/documents", add(metadata={"embedding": [0.5] * 8}), 400, "invalid_value", "holds a vector"),
        ("/documents", add(embedding=[0.5] * 8), 400, "invalid_value", "takes no vectors of another"),
        ("/documents", add(metadata={"a": "x" * 10**6}), 400, "invalid_value", "65,536"),
        ("/documents", add(id="a\nb"), 400, "invalid_value", "control character"),
        ("/delete", {"ids": ["a"] * 10_001}, 400, "invalid_value", "ids"),
        ("/search", {"query": "x", "k": 2**70}, 400, "invalid_value", "k"),
        ("/search", {"query": "x", "k": 1001}, 400, "invalid_value", "1 to 1000"),
        ("/search", {"query": "x", "funnel": -1}, 400, "invalid_value", "funnel"),
        ("/search", {"query": "x", "dimension": 2**64}, 400, "invalid_value", "dimension"),
        ("/ladder", {"rescore": {"model": "demo-s", "keep_bytes": 2**64}}, 400, "invalid_value", "keep_bytes"),
        ("/ladder", {"rescore": {"model": "demo-s", "keep_bytes": -1}}, 400, "invalid_value", "keep_bytes"),
        ("/ladder", {"rerank": {"model": "demo-rerank", "depth": 2**64}}, 400, "invalid_value", "depth"),
        ("/ladder", {"funnel": 2**64}, 400, "invalid_value", "funnel"),
        ("/move/plan", {"to": "demo-s", "price": -1}, 400, "invalid_value", "price"),
        ("/move/plan", {"to": "demo-s", "price": 1e300}, 400, "invalid_value", "price"),
        ("/move/plan", {"to": "demo-s", "max_length": 2**64}, 400, "invalid_value", "max_length"),
        ("/move/start", {"to": "demo-s", "shadow": 1e308}, 400, "invalid_value", "shadow"),
        ("/move/compare", {"queries": [], "delta": -1e300}, 400, "invalid_value", "delta"),
        (
            "/move/compare",
            {"queries": [{"query": "x", "relevant": [{"id": "soup", "grade": 2**64}]}]},
            400,
            "invalid_value",
            "grade",
        ),
        ("/move/switch", {}, 409, "refused", "not on a move"),
        ("/move/start", {"to": "demo-xs"}, 409, "refused", "already"),
        ("/move/start", {}, 409, "refused", "no backfill to resume"),
        ("/move/compare", {"queries": []}, 409, "refused", "not on a move"),
        ("/ladder/measure", {"queries": [], "rescore": [5]}, 400, "invalid_value", "no larger model"),
    ],
)
def test_mistakes_have_their_messages(
    client: httpx.Client, index: str, path: str, body: Any, status: int, code: str, message: str
) -> None:
    found = error(client.post(f"{index}{path}", json=body))
    assert message in found[2]
    assert found[:2] == (status, code)
    assert client.get(index).json()["documents"] == 6


def test_an_index_that_is_not_there(client: httpx.Client) -> None:
    for reply in (
        client.get("/v1/indexes/nope"),
        client.post("/v1/indexes/nope/search", json={"query": "x"}),
        client.delete("/v1/indexes/..%2f.."),
    ):
        assert reply.status_code == 404
    found = error(client.get("/v1/indexes/nope"))
    assert found[1] == "index_not_found"
    assert "upsize index create nope" in found[2]


def test_indexes_outlive_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSIZE_INDEXES", str(tmp_path))
    models: dict[str, Path | str] = {"demo-xs": demo.folder("demo-xs")}
    with live(models) as client:
        post(client, "/v1/indexes", {"name": "kept", "model": "demo-xs"})
        post(client, "/v1/indexes/kept/documents", {"documents": DOCUMENTS})
    with live(models) as client:
        assert post(client, "/v1/indexes/kept/search", {"query": "recipe for onion soup"})["results"][0]["id"] == "soup"
