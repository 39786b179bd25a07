"""`/v1/embeddings` as OpenAI's own client and plain HTTP use it."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from upsize import Embedder
from upsize.server.dialects.openai import EmbeddingsBody

TEXTS = ["How are you today", "今天过得怎么样", "a much longer text " * 30]


@pytest.fixture(scope="module")
def client(server: httpx.Client) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.base_url}/v1", api_key="EMPTY", max_retries=0)


@pytest.fixture(scope="module")
def embedder(embedder_folder: Path) -> Embedder:
    return Embedder(str(embedder_folder))


def vectors(reply: Any) -> np.ndarray:
    return np.array([item["embedding"] for item in reply.json()["data"]], np.float32)


def test_the_articles_cell(client: openai.OpenAI, embedder: Embedder) -> None:
    response = client.embeddings.create(model="embed", input="How are you today")
    assert response.model == "embed"
    np.testing.assert_allclose(response.data[0].embedding, embedder.encode("How are you today"), atol=1e-6)
    assert response.usage.prompt_tokens == response.usage.total_tokens > 3


def test_float_and_base64_are_the_same_vectors(server: httpx.Client) -> None:
    floats = server.post("/v1/embeddings", json={"input": TEXTS})
    packed = server.post("/v1/embeddings", json={"input": TEXTS, "encoding_format": "base64"}).json()["data"]
    for item, expected in zip(packed, vectors(floats), strict=True):
        np.testing.assert_array_equal(np.frombuffer(base64.b64decode(item["embedding"]), "<f4"), expected)
    assert [item["index"] for item in packed] == [0, 1, 2]


def test_four_forms_of_input_agree(server: httpx.Client, embedder: Embedder) -> None:
    ids = [embedder._loaded.checkpoint.tokenizer.encode(t).tolist() for t in TEXTS]
    one_text = vectors(server.post("/v1/embeddings", json={"input": TEXTS[0]}))
    texts = vectors(server.post("/embeddings", json={"input": TEXTS}))
    one_list = vectors(server.post("/v1/embeddings", json={"input": ids[0]}))
    lists = vectors(server.post("/v1/embeddings", json={"input": ids}))
    np.testing.assert_allclose(texts[:1], one_text, atol=1e-5)
    np.testing.assert_allclose(one_list, one_text, atol=1e-5)
    np.testing.assert_allclose(lists, texts, atol=1e-5)


def test_every_dimension_is_cut_and_renormalised(client: openai.OpenAI, embedder: Embedder) -> None:
    full = embedder.encode(TEXTS)
    for dim in range(32, embedder.dimension + 1):
        response = client.embeddings.create(model="embed", input=TEXTS, dimensions=dim)
        got = np.array([d.embedding for d in response.data])
        expected = full[:, :dim] / np.linalg.norm(full[:, :dim], axis=1, keepdims=True)
        np.testing.assert_allclose(got, expected, atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(got, axis=1), 1, atol=1e-5)


def test_instruction_and_input_type(client: openai.OpenAI, embedder: Embedder) -> None:
    def ask(**extra: str) -> list[float]:
        return client.embeddings.create(model="embed", input="why?", extra_body=extra).data[0].embedding

    np.testing.assert_allclose(ask(input_type="query"), embedder.encode_query("why?"), atol=1e-5)
    np.testing.assert_allclose(ask(input_type="document"), embedder.encode_document("why?"), atol=1e-5)
    np.testing.assert_allclose(ask(instruction="Find x"), embedder.encode("why?", instruction="Find x"), atol=1e-5)
    assert not np.allclose(ask(input_type="query"), ask(), atol=1e-3)


def test_2048_inputs_in_one_call(client: openai.OpenAI, embedder: Embedder) -> None:
    texts = [f"text number {i}" for i in range(2048)]
    response = client.embeddings.create(model="embed", input=texts)
    assert [d.index for d in response.data] == list(range(2048))
    some = [0, 1, 1000, 2047]
    expected = embedder.encode([texts[i] for i in some])
    np.testing.assert_allclose([response.data[i].embedding for i in some], expected, atol=1e-5)


def test_headers_name_the_space_and_the_times(server: httpx.Client, embedder: Embedder) -> None:
    headers = server.post("/v1/embeddings", json={"input": "x", "dimensions": 40}).headers
    assert headers["x-upsize-fingerprint"] == embedder.fingerprint.at(40).id
    parts = [float(headers[f"x-{part}-time"]) for part in ("tokenization", "queue", "inference")]
    assert sum(parts) == pytest.approx(float(headers["x-total-time"]), abs=0.01)
    assert int(headers["x-compute-tokens"]) > 0


def test_truncation_is_refused_or_reported(server: httpx.Client) -> None:
    body: dict[str, Any] = {"input": ["short", "word " * 3000]}
    refused = server.post("/v1/embeddings", json=body)
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert (error["code"], error["param"], error["index"]) == ("context_length_exceeded", "input", 1)
    reply = server.post("/v1/embeddings", json=body | {"truncate": True})
    short, long = reply.json()["data"]
    assert "truncated_tokens" not in short
    assert long["truncated_tokens"] > 0
    assert reply.headers["x-upsize-truncated-tokens"] == str(long["truncated_tokens"])


@pytest.mark.parametrize(
    ("body", "status", "param", "words"),
    [
        ({"input": "x", "model": "nope"}, 404, "model", "Served: embed"),
        ({"input": "x", "model": "rank"}, 404, "model", "is not an embedder"),
        ({"input": "x", "dimensions": 0}, 400, "dimensions", "from 32 to 64"),
        ({"input": "x", "dimensions": 31}, 400, "dimensions", "from 32 to 64"),
        ({"input": "x", "dimensions": 1025}, 400, "dimensions", "from 32 to 64"),
        ({"input": "x", "dimensions": "a"}, 400, "dimensions", "Expected a whole number or null, got a string"),
        (
            {"input": "x", "encoding_format": "hex"},
            400,
            "encoding_format",
            "Invalid enum value 'hex'; use float, base64.",
        ),
        ({"input": ""}, 400, "input", "input[0] is an empty string"),
        ({"input": ["a", ""]}, 400, "input", "input[1] is an empty string"),
        ({"input": []}, 400, "input", "empty list"),
        ({"input": [[]]}, 400, "input", "input[0] has no token ids"),
        ({"input": ["a", 3]}, 400, "input", "input[1] and input[0] have different types"),
        ({"input": [[1, 2], [3, -4]]}, 400, "input", "input[1] holds the token id -4"),
        ({"input": [1, 2, 10**9]}, 400, "input", "Are these ids of another tokenizer?"),
        ({"input": 7}, 400, "input", "got a whole number"),
        ({"input": "x", "model": ""}, 404, "model", "The model '' is not served here"),
        ({"input": "x", "dimension": 64}, 400, "dimension", "Did you mean dimensions?"),
        ({"input": "x", "encodingFormat": "float"}, 400, "encodingFormat", "Did you mean encoding_format?"),
        ({"model": "embed"}, 400, "input", "no field `input`"),
    ],
)
def test_mistakes_get_their_own_answer(
    server: httpx.Client, body: dict[str, Any], status: int, param: str | None, words: str
) -> None:
    reply = server.post("/v1/embeddings", json=body)
    error = reply.json()["error"]
    assert (reply.status_code, error["param"], error["type"]) == (status, param, "invalid_request_error")
    assert words in error["message"]


@pytest.mark.parametrize("content", [b"", b"{", b'{"input": "\xff"}', b"[]", b"null"])
def test_bodies_that_are_no_request(server: httpx.Client, content: bytes) -> None:
    reply = server.post("/v1/embeddings", content=content)
    assert reply.status_code == 400
    assert reply.json()["error"]["message"]


def test_fields_that_are_null_are_as_if_left_out(server: httpx.Client) -> None:
    null = dict.fromkeys(f for f in EmbeddingsBody.__struct_fields__ if f != "input")
    asked, plain = ({"input": "How are you today"} | more for more in (null, {}))
    assert server.post("/v1/embeddings", json=asked).json() == server.post("/v1/embeddings", json=plain).json()


def test_fields_of_other_servers_are_let_pass(server: httpx.Client) -> None:
    others = {"add_special_tokens": True, "normalize": True, "user": "me", "metadata": {"a": [1]}, "drop_params": True}
    asked = {"input": "How are you today"}
    assert server.post("/v1/embeddings", json=asked | others).json() == server.post("/v1/embeddings", json=asked).json()


def test_what_shells_and_gateways_make_of_a_request(server: httpx.Client) -> None:
    body = b'{"input": "How are you today", "user": 7}'
    plain = server.post("/v1/embeddings", content=body).json()
    for path, content in (("/v1/embeddings", b"\xef\xbb\xbf" + body), ("/v1/embeddings/", body)):
        reply = server.post(path, content=content)
        assert (reply.status_code, reply.json()) == (200, plain)


def test_a_body_too_large_is_413(server: httpx.Client) -> None:
    reply = server.post("/v1/embeddings", content=b'{"input": "' + b"x" * (65 << 20))
    assert reply.status_code == 413


def test_models_are_listed(client: openai.OpenAI) -> None:
    assert [m.id for m in client.models.list()] == ["embed", "rank"]


def test_unknown_path_and_method(server: httpx.Client) -> None:
    missing, wrong = server.post("/v1/embedding", json={}), server.get("/v1/embeddings")
    assert (missing.status_code, wrong.status_code) == (404, 405)
    assert "/v1" in missing.json()["error"]["message"]
    assert "POST" in wrong.json()["error"]["message"]


def test_a_reply_says_what_looks_wrong_with_its_inputs(server: httpx.Client) -> None:
    lint = {
        text: server.post("/v1/embeddings", json={"input": text}).headers.get("x-upsize-input-lint")
        for text in ("plain", "Instruct: x\nQuery: y")
    }
    assert lint == {"plain": None, "Instruct: x\nQuery: y": "space_after_query"}
    ids = [(i * 37) % 635 for i in range(0, 6000, 11)]
    assert server.post("/v1/embeddings", json={"input": ids}).headers["x-upsize-input-lint"] == "foreign_token_ids"
