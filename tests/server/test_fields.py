"""Fields of other servers: those that change what an answer means are honoured or refused, the others let pass."""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np
import pytest

TEXT = {"input": "How are you today"}
PAIR = {"query": "light", "documents": ["a lamp", "a recipe"]}


def vector(server: httpx.Client, **fields: Any) -> np.ndarray[Any, Any]:
    reply = server.post("/v1/embeddings", json=TEXT | fields)
    assert reply.status_code == 200, reply.text
    return np.array(reply.json()["data"][0]["embedding"], np.float32)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("input_type", "search_query"),
        ("input_type", "Query"),
        ("task", "retrieval.query"),
        ("task_type", "RETRIEVAL_QUERY"),
        ("text_type", "query"),
        ("prompt_name", "query"),
        ("is_query", True),
    ],
)
def test_a_query_by_any_name_is_a_query(server: httpx.Client, field: str, value: str) -> None:
    np.testing.assert_array_equal(vector(server, **{field: value}), vector(server, input_type="query"))
    assert np.abs(vector(server) - vector(server, **{field: value})).max() > 0.01


@pytest.mark.parametrize(
    "fields",
    [
        {"input_type": "search_document"},
        {"task": "retrieval.passage"},
        {"prompt_name": "document"},
        {"normalize": True, "normalized": True, "add_special_tokens": True, "late_chunking": False},
        {"embedding_types": ["float"], "embedding_type": "float", "output_dtype": "float"},
        {"truncate": "END"},
        {"truncate": "NONE"},
        {"truncate_prompt_tokens": -1},
        {"task": None, "prompt": None, "normalize": None, "output_dimension": None, "input_type": None},
        {"user": "me", "metadata": {"a": [1]}, "drop_params": True, "service_tier": "auto", "priority": 1},
    ],
)
def test_what_is_done_anyway_or_means_nothing_passes(server: httpx.Client, fields: dict[str, Any]) -> None:
    np.testing.assert_array_equal(vector(server, **fields), vector(server))


@pytest.mark.parametrize("field", ["output_dimension", "output_dimensionality", "dim", "truncate_dim"])
def test_dimensions_by_other_names(server: httpx.Client, field: str) -> None:
    np.testing.assert_array_equal(vector(server, **{field: 32}), vector(server, dimensions=32))
    assert server.post("/v1/embeddings", json=TEXT | {field: 31}).status_code == 400
    assert server.post("/v1/embeddings", json=TEXT | {field: 32, "dimensions": 40}).status_code == 400


@pytest.mark.parametrize("fields", [{"embedding_types": ["base64"]}, {"embedding_type": "base64"}])
def test_the_encoding_by_other_names(server: httpx.Client, fields: dict[str, Any]) -> None:
    asked = [server.post("/v1/embeddings", json=TEXT | f).json() for f in (fields, {"encoding_format": "base64"})]
    assert asked[0] == asked[1]


def test_a_cut_by_cohere_and_tei(server: httpx.Client) -> None:
    long = {"input": "word " * 2000}
    replies = {
        name: server.post("/v1/embeddings", json=long | fields).json()
        for name, fields in {
            "left": {"truncate": True, "truncation_side": "left"},
            "START": {"truncate": "START"},
            "direction": {"truncate": True, "truncation_direction": "Left"},
            "none": {"truncate": "NONE"},
        }.items()
    }
    assert replies["left"] == replies["START"] == replies["direction"]
    assert replies["none"]["error"]["code"] == "context_length_exceeded"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("task", "text-matching"),
        ("task", "classification"),
        ("input_type", "clustering"),
        ("prompt_name", "STS"),
        ("prompt", "query: "),
        ("normalize", False),
        ("normalized", False),
        ("embedding_types", ["int8"]),
        ("embedding_types", ["float", "int8"]),
        ("embedding_type", "binary"),
        ("output_dtype", "ubinary"),
        ("truncate_prompt_tokens", 128),
        ("late_chunking", True),
        ("add_special_tokens", False),
        ("pooling", "mean"),
        ("messages", [{"role": "user", "content": "x"}]),
        ("lora_path", "x"),
        ("truncate", "MIDDLE"),
        ("truncation_direction", "middle"),
        ("endianness", "big"),
        ("max_length", 2),
        ("pooling_method", "cls"),
        ("query_instruction", "Find it"),
        ("precision", "binary"),
        ("long_text_mode", "mean"),
        ("max_tokens", 2),
        ("prefix", "query: "),
        ("quantization", "int8"),
        ("return_sparse", True),
        ("return_dense", False),
        ("role", "user"),
        ("is_query", "perhaps"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/embeddings", "/encode"])
def test_what_would_change_a_vector_is_refused(server: httpx.Client, path: str, field: str, value: Any) -> None:
    reply = server.post(path, json={("text" if path == "/encode" else "input"): "How are you today", field: value})
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert error["param"] == field
    assert error["message"].startswith(f"{field}: ")


@pytest.mark.parametrize(
    ("field", "meant"),
    [
        ("taskType", "task_type"),
        ("outputDimensionality", "output_dimensionality"),
        ("INPUT_TYPE", "input_type"),
        ("input-type", "input_type"),
    ],
)
def test_a_field_in_another_case_is_misspelt(server: httpx.Client, field: str, meant: str) -> None:
    reply = server.post("/v1/embeddings", json=TEXT | {field: "query"})
    assert reply.status_code == 400
    assert reply.json()["error"]["message"] == f"{field} is not a field here. Did you mean {meant}?"


@pytest.mark.parametrize(
    ("field", "value", "status"),
    [
        ("max_doc_length", 5, 400),
        ("return_logits", True, 400),
        ("rank_fields", ["title", "text"], 400),
        ("rank_fields", ["text"], 200),
        ("raw_scores", True, 400),
        ("raw_scores", False, 200),
        ("use_activation", False, 400),
        ("max_chunks_per_doc", 10, 400),
        ("truncate", "START", 400),
        ("truncate", "END", 200),
        ("truncation_direction", "left", 400),
        ("truncate_prompt_tokens", 100, 400),
        ("prompt", "x", 400),
        ("top_k", 1, 400),
        ("topK", 1, 400),
        ("score_threshold", 0.5, 400),
        ("user", "me", 200),
        ("priority", 1, 200),
    ],
)
@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank", "/rerank"])
def test_at_rerank(server: httpx.Client, path: str, field: str, value: Any, status: int) -> None:
    assert server.post(path, json=PAIR | {field: value}).status_code == status


def test_a_search_refuses_what_it_does_not_know(server: httpx.Client) -> None:
    reply = server.post("/v1/indexes/none/search", json={"query": "x", "task": "retrieval.query"})
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == "task"
