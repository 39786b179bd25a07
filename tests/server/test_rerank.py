"""Rerank endpoints, in the shapes of vLLM, Jina and Cohere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from upsize import Reranker

QUERY = "What is the capital of China?"
DOCUMENTS = ["The capital of China is Beijing.", "Gravity pulls.", "北京是中国的首都。", "word " * 50]


@pytest.fixture(scope="module")
def reranker(reranker_folder: Path) -> Reranker:
    return Reranker(str(reranker_folder))


def test_the_superset_of_vllm_and_jina(server: httpx.Client, reranker: Reranker) -> None:
    for path in ("/v1/rerank", "/rerank"):
        reply = server.post(path, json={"model": "rank", "query": QUERY, "documents": DOCUMENTS}).json()
        scores = reranker.score(QUERY, DOCUMENTS)
        assert [r["index"] for r in reply["results"]] == list(np.argsort(-scores, kind="stable"))
        for r in reply["results"]:
            assert r["relevance_score"] == pytest.approx(scores[r["index"]], abs=1e-5)
            assert r["document"] == {"text": DOCUMENTS[r["index"]]}
        assert reply["object"] == "list"
        assert reply["model"] == "rank"
        assert reply["usage"]["total_tokens"] > 0
        assert reply["id"].startswith("rerank-")


def test_coheres_shape(server: httpx.Client) -> None:
    reply = server.post("/v2/rerank", json={"model": "rank", "query": QUERY, "documents": DOCUMENTS, "top_n": 2}).json()
    assert set(reply) == {"id", "results", "meta"}
    assert len(reply["results"]) == 2
    assert set(reply["results"][0]) == {"index", "relevance_score"}
    assert reply["meta"]["api_version"] == {"version": "2"}


def test_documents_as_objects_and_without(server: httpx.Client) -> None:
    body = {"query": QUERY, "documents": [{"text": d} for d in DOCUMENTS], "return_documents": False}
    reply = server.post("/v1/rerank", json=body).json()
    plain = server.post("/v1/rerank", json={"query": QUERY, "documents": DOCUMENTS}).json()
    assert "document" not in reply["results"][0]
    assert [r["index"] for r in reply["results"]] == [r["index"] for r in plain["results"]]


@pytest.mark.parametrize("path", ["/v1/rerank", "/rerank", "/v2/rerank"])
def test_fields_beside_the_text_are_named_and_change_nothing(server: httpx.Client, path: str) -> None:
    documents = [{"id": f"d{i}", "text": d, "title": f"Title {i}", "n": 1, "url": ""} for i, d in enumerate(DOCUMENTS)]
    plain = server.post(path, json={"query": QUERY, "documents": DOCUMENTS})
    reply = server.post(path, json={"query": QUERY, "documents": documents})
    scores = [r["relevance_score"] for r in reply.json()["results"]]
    assert scores == pytest.approx([r["relevance_score"] for r in plain.json()["results"]], abs=1e-5)
    payload = reply.json() if path != "/v2/rerank" else reply.json()["meta"]
    assert payload["warnings"] == ["documents: only `text` is ranked, not `title`"]
    assert reply.headers["x-upsize-input-lint"] == "ignored_document_fields"
    assert "x-upsize-input-lint" not in plain.headers
    only = server.post(path, json={"query": QUERY, "documents": [{"id": "a", "text": DOCUMENTS[0], "title": None}]})
    assert "warnings" not in only.text


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"text": "a", "image": "https://x/y.png"}, "documents[1].image: this server only ranks texts"),
        ({"Image_URL": {"url": "x"}}, "documents[1].Image_URL: this server only ranks texts"),
        (
            {"text": "a", "content": [{"type": "text", "text": "b"}]},
            "documents[1].content: this server only ranks texts",
        ),
        ({"title": "a"}, "documents[1].text: is missing"),
        ({"text": ["a"]}, "documents[1].text: is not a string but list"),
    ],
)
def test_documents_without_a_text_or_with_more_are_refused(
    server: httpx.Client, document: dict[str, object], message: str
) -> None:
    reply = server.post("/v1/rerank", json={"query": QUERY, "documents": ["a", document]})
    assert reply.status_code == 400
    assert message in reply.json()["error"]["message"]


def test_very_many_fields_are_named_in_short(server: httpx.Client) -> None:
    document = {"text": "a"} | {f"{i}-{'x' * 5000}": "b" for i in range(50)}
    reply = server.post("/v1/rerank", json={"query": QUERY, "documents": [document]})
    assert len(reply.json()["warnings"][0]) < 600


def test_the_instruction_counts_under_both_names(server: httpx.Client, reranker: Reranker) -> None:
    expected = sorted(reranker.score(QUERY, DOCUMENTS, "Find recipes"), reverse=True)
    for name in ("instruction", "instruct"):
        reply = server.post("/v1/rerank", json={"query": QUERY, "documents": DOCUMENTS, name: "Find recipes"}).json()
        assert [r["relevance_score"] for r in reply["results"]] == pytest.approx(expected, abs=1e-5)


def test_cut_documents_are_reported(server: httpx.Client) -> None:
    body: dict[str, Any] = {"query": QUERY, "documents": DOCUMENTS, "max_tokens_per_doc": 20}
    reply = server.post("/v1/rerank", json=body)
    assert [w.split(":")[0] for w in reply.json()["warnings"]] == ["documents[3]"]
    assert int(reply.headers["x-upsize-truncated-tokens"]) > 0
    assert server.post("/v2/rerank", json=body).json()["meta"]["warnings"] == reply.json()["warnings"]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"query": "", "documents": ["a"]}, 400, "query is an empty string"),
        ({"query": "q", "documents": []}, 400, "documents is an empty list"),
        ({"query": "q"}, 400, "no field `documents`"),
        ({"query": "q", "documents": ["a"], "top_n": 0}, 400, "top_n"),
        ({"query": "q", "documents": ["a"], "model": "embed"}, 404, "is not a reranker"),
        ({"query": "q", "documents": ["a", "word " * 3000]}, 400, "documents[1] has"),
        ({"query": "word " * 3000, "documents": ["a"]}, 400, "query has"),
    ],
)
def test_mistakes_get_their_own_answer(server: httpx.Client, body: dict[str, Any], status: int, words: str) -> None:
    reply = server.post("/v1/rerank", json=body)
    assert (reply.status_code, words in reply.json()["error"]["message"]) == (status, True)
    cohere = server.post("/v2/rerank", json=body)
    assert (cohere.status_code, words in cohere.json()["message"]) == (status, True)
