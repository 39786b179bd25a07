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
        ({"query": "q"}, 400, "missing required field `documents`"),
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
