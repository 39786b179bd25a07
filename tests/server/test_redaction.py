"""Replies name models and indexes; the folders that they lie in are for the log."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.server.live import live
from upsize import demo, errors
from upsize.server.redaction import public, public_status

FOLDERS = {"/srv/my models/em": "embed", "/data/indexes": ""}


@pytest.mark.parametrize(
    ("error", "public_message"),
    [
        (errors.CheckpointError("/srv/my models/em", "a reranker", "an embedder"), "embed: expected a reranker"),
        (errors.CheckpointError("/srv/my models/em/config.json", "a", "b"), "embed/config.json: expected a"),
        (errors.CheckpointError("/root/.cache/hub/models--A--B/config.json", "a", "b"), "config.json: expected a"),
        (errors.DiskFull("/data/indexes/docs/index.json", "No space left"), "docs/index.json cannot be written"),
        (errors.JournalFailed(Path("/data/indexes/docs/journal"), "full", "Free"), "docs/journal: the entry"),
        (errors.JournalDamaged(Path("/data/indexes/docs/journal/0"), 3, "cut"), "docs/journal/0 is damaged"),
        (errors.JournalLocked(Path("/data/indexes/docs")), "docs is being written"),
        (errors.UnknownIndex("x", [], Path("/data/indexes")), "No index 'x' in the folder of indexes."),
        (errors.StoreDamaged("/mnt/other/docs/g1", "/mnt/other/docs/g1/data: gone"), "g1 cannot be used: data: gone"),
        (errors.StoreUnavailable("http://db:6333/a/b", "refused"), "http://db:6333/a/b does not answer"),
        (errors.Refused("POST /v1/indexes/docs/rebuild first"), "POST /v1/indexes/docs/rebuild first"),
        (errors.InvalidInput("model is '/etc/passwd'; choose"), "model is '/etc/passwd'"),
        (errors.InvalidInput("/data/indexes/docs is full"), "docs is full"),
        (errors.UnknownDocument("/a/b/c", "docs"), "No document '/a/b/c'"),
    ],
)
def test_messages_have_names_in_place_of_folders(error: Exception, public_message: str) -> None:
    message = public(error, FOLDERS)
    assert message.startswith(public_message)
    assert not any(folder in message for folder in (*FOLDERS, "/root", "/mnt"))


def test_messages_of_a_status_too() -> None:
    status = {
        "trouble": "/data/indexes/docs/g1 cannot be used",
        "generations": [{"error": "/a/b/c: x", "text": "/a/b"}],
    }
    payload = {"trouble": "docs/g1 cannot be used", "generations": [{"error": "c: x", "text": "/a/b"}]}
    assert public_status(status, FOLDERS) == payload


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UPSIZE_INDEXES", str(tmp_path_factory.mktemp("indexes")))
        with live({"demo-xs": demo.folder("demo-xs")}) as served:
            served.post("/v1/indexes", json={"name": "docs", "model": "demo-xs"})
            served.post("/v1/indexes/docs/documents", json={"documents": [{"id": "a", "text": "x"}]})
            yield served


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("docs/search", {"query": "a", "rerank": {"model": "demo-m"}}, 400),
        ("docs/ladder", {"rerank": {"model": "demo-m"}}, 400),
        ("docs/ladder", {"rescore": {"model": "demo-rerank"}}, 400),
        ("docs/move/plan", {"to": "demo-rerank"}, 400),
        ("docs/move/start", {"to": "demo-rerank"}, 400),
        ("nosuch/search", {"query": "a"}, 404),
        ("nosuch/move/plan", {"to": "demo-s"}, 404),
    ],
)
def test_no_reply_shows_a_folder_and_the_log_does(
    client: httpx.Client, path: str, body: object, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "upsize.server"):
        reply = client.post(f"/v1/indexes/{path}", json=body)
    assert reply.status_code == status
    payload = reply.json()["error"]["message"]
    assert str(demo.folder("demo-m").parent) not in payload
    assert "/tmp" not in payload
    assert str(demo.folder("demo-m").parent) in caplog.text or os.environ["UPSIZE_INDEXES"] in caplog.text


@pytest.mark.parametrize("model", ["/etc", "http://127.0.0.1:1/x", "no-such", "x" * 300, "rank"])
def test_a_search_with_a_model_that_is_not_served_is_not_allowed(client: httpx.Client, model: str) -> None:
    reply = client.post("/v1/indexes/docs/search", json={"query": "a", "rerank": {"model": model}})
    error = reply.json()["error"]
    assert (reply.status_code, error["code"], error["param"]) == (403, "not_allowed", "rerank.model")
    names = error["message"].split("may load ")[1].split(". To allow")[0].split(", ")
    assert len(names) == len(set(names))
