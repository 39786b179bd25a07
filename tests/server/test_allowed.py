"""What requests may name: a server opens no store, folder or repository that its operator did not name."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.index.conftest import TEXTS
from tests.server.live import live
from upsize import demo
from upsize.errors import InvalidInput
from upsize.server import Allowed, parse_allowed

INDEX = "/v1/indexes/kept"
FIELDS = (
    ("/v1/indexes", lambda model: {"name": "other", "model": model}),
    (f"{INDEX}/ladder", lambda model: {"rerank": {"model": model}}),
    (f"{INDEX}/ladder", lambda model: {"rescore": {"model": model}}),
    (f"{INDEX}/ladder/measure", lambda model: {"queries": [], "rerank": [{"model": model}]}),
    (f"{INDEX}/move/plan", lambda model: {"to": model}),
    (f"{INDEX}/move/start", lambda model: {"to": model, "force": True}),
)
"""Every field over HTTP that names a model to be loaded."""


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, embedder_folder: Path) -> Iterator[httpx.Client]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UPSIZE_INDEXES", str(tmp_path_factory.mktemp("indexes")))
        allowed = parse_allowed(("mine=http://127.0.0.1:9/",), (f"extra={embedder_folder}",))
        with live({"demo-xs": demo.folder("demo-xs")}, allowed=allowed) as served:
            assert served.post("/v1/indexes", json={"name": "kept", "model": "demo-xs"}).is_success
            documents = [{"id": id, "text": text} for id, text in TEXTS.items()]
            assert served.post(f"{INDEX}/documents", json={"documents": documents}).is_success
            yield served


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Somebody else's port, to which nothing may connect."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        yield server


def refused(reply: httpx.Response) -> str:
    payload = reply.json()["error"]
    assert (reply.status_code, payload["code"]) == (403, "not_allowed"), reply.text
    return str(payload["message"])


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:{port}",
        "https://127.0.0.1:{port}",
        "HTTP://127.0.0.1:{port}",
        " http://127.0.0.1:{port}",
        "postgresql://me@127.0.0.1:{port}/db?sslmode=disable",
        "postgres:///db?host=127.0.0.1&port={port}",
        "mine@127.0.0.1:{port}",
        "",
    ],
)
def test_a_store_that_is_not_configured_is_not_connected_to(
    client: httpx.Client, listener: socket.socket, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QDRANT_API_KEY", "secret")
    open_port, closed_port = listener.getsockname()[1], 9
    body = {"name": "stolen", "model": "demo-xs"}
    here, away = (
        refused(client.post("/v1/indexes", json=body | {"store": address.format(port=port)}))
        for port in (open_port, closed_port)
    )
    assert here.replace(str(open_port), "9") == away
    assert "mine" in here
    with pytest.raises(BlockingIOError):
        listener.accept()
    assert "stolen" not in client.get("/v1/indexes").json()["indexes"]


def test_a_store_that_is_configured_is_asked_for_by_its_name(client: httpx.Client) -> None:
    reply = client.post("/v1/indexes", json={"name": "away", "model": "demo-xs", "store": "mine"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "store_unavailable")


@pytest.mark.parametrize(("path", "body"), FIELDS)
def test_a_model_that_is_not_configured_is_not_looked_for(
    client: httpx.Client,
    path: str,
    body: Any,
    reranker_folder: Path,
    tmp_path: Path,
    listener: socket.socket,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Folders that exist, those that do not, and repositories get the same words; nobody is asked for any of them."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{listener.getsockname()[1]}")
    said = set()
    for model in (str(reranker_folder), str(tmp_path / "none"), "../../etc", "somebody/model", "~", "/etc/passwd", "."):
        said.add(refused(client.post(path, json=body(model))).replace(repr(model), "MODEL"))
    assert len(said) == 1
    assert str(reranker_folder.parent) not in said.pop()
    with pytest.raises(BlockingIOError):
        listener.accept()


def test_a_long_name_is_not_given_back_whole(client: httpx.Client) -> None:
    payload = refused(client.post(f"{INDEX}/move/plan", json={"to": "x\n\x1b[31m" * 100}))
    assert len(payload) < 500
    assert payload.isprintable()


def test_models_that_are_configured_are_loaded(client: httpx.Client, embedder_folder: Path) -> None:
    for to in ("extra", str(embedder_folder.resolve()), "demo-s", str(demo.folder("demo-xs").resolve())):
        reply = client.post(f"{INDEX}/move/plan", json={"to": to})
        assert reply.status_code == 200, reply.text
    reply = client.post(f"{INDEX}/move/start", json={"to": "extra"})
    assert reply.status_code == 200, reply.text
    assert client.post(f"{INDEX}/move/start", json={"to": str(embedder_folder.resolve())}).status_code == 200


@pytest.mark.parametrize("store", ["lancedb=http://x", "a=ftp://x", "=http://x", "http://x", "a b=http://x", "a=/tmp"])
def test_a_wrong_store_flag_is_an_error(store: str) -> None:
    with pytest.raises(InvalidInput, match="NAME=ADDRESS"):
        parse_allowed((store,))


def test_a_process_of_the_users_own_opens_what_they_name() -> None:
    own = Allowed(anything=True)
    assert own.store("postgresql://me@db/texts") == "postgresql://me@db/texts"
    assert own.model("/srv/model", "model", [], ()) == "/srv/model"
    assert own.credentials.postgres_password("postgresql://me@db/texts")
