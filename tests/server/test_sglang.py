"""SGLang's endpoints: encode, health, information."""

from __future__ import annotations

import httpx
import numpy as np
import pytest

from tests.server.live import live


def test_encode_gives_an_object_for_one_and_a_list_for_several(server: httpx.Client) -> None:
    openai = server.post("/v1/embeddings", json={"input": ["hi", "there"]}).json()["data"]
    one = server.post("/encode", json={"text": "hi"}).json()
    several = server.post("/encode", json={"text": ["hi", "there"], "model": "embed"}).json()
    np.testing.assert_allclose(one["embedding"], openai[0]["embedding"], atol=1e-5)
    np.testing.assert_allclose(several[1]["embedding"], openai[1]["embedding"], atol=1e-5)
    assert one["meta_info"]["prompt_tokens"] > 0
    assert one["meta_info"]["finish_reason"] is None


def test_encode_takes_ids_and_dimensions(server: httpx.Client) -> None:
    one = server.post("/encode", json={"input_ids": [5, 6, 7], "dimensions": 32}).json()
    several = server.post("/encode", json={"input_ids": [[5, 6, 7]], "dimensions": 32}).json()
    assert len(one["embedding"]) == 32
    np.testing.assert_allclose(several[0]["embedding"], one["embedding"], atol=1e-6)


@pytest.mark.parametrize("body", [{}, {"text": "a", "input_ids": [1]}, {"text": [""]}])
def test_encode_refuses(server: httpx.Client, body: dict[str, object]) -> None:
    assert server.post("/encode", json=body).status_code == 400


@pytest.mark.parametrize("path", ["/health", "/ready", "/ping", "/health_generate"])
def test_health(server: httpx.Client, path: str) -> None:
    reply = server.get(path)
    assert (reply.status_code, reply.json()) == (200, {"status": "ok"})


def test_health_while_starting() -> None:
    with live({}, started=False) as client:
        for path in ("/health", "/ready", "/ping", "/health_generate"):
            assert (client.get(path).status_code, client.get(path).json()) == (503, {"status": "starting"})
        refused = client.post("/v1/embeddings", json={"input": "x"})
        assert refused.status_code == 503
        assert "loading" in refused.json()["error"]["message"]
        assert refused.headers["Retry-After"]


def test_information(server: httpx.Client) -> None:
    info = server.get("/model_info").json()
    assert server.get("/get_model_info").json() == info
    assert (info["served_model_name"], info["is_generation"], info["model_type"]) == ("embed", False, "qwen3")
    assert info["embedding"]["dimension"] == 64
    assert server.get("/model_info", params={"model": "rank"}).json()["kind"] == "reranker"
    service = server.get("/server_info").json()
    assert [m["served_model_name"] for m in service["models"]] == ["embed", "rank"]
    assert service["status"] == "ok"
