"""Right answers to everyone at once, from several models, with the time and space they took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.checkpoints import SENTENCES
from upsize.compute import LoadedModel
from upsize.engine import EmbedRequest, Engine, Priority, RerankRequest
from upsize.errors import InvalidDimension, InvalidInput, TextTooLong, UnknownModel
from upsize.model import Truncation


@pytest.fixture(scope="module")
def engine(embedding_model: LoadedModel, reranking_model: LoadedModel) -> Iterator[Engine]:
    engine = Engine({"embed": embedding_model, "rank": reranking_model})
    yield engine
    engine.close()


def ask(engine: Engine, name: str, request: EmbedRequest | RerankRequest):
    return engine.submit(name, request).result(20)


def test_many_threads_and_two_models_get_their_own_answers(engine: Engine) -> None:
    texts = [*SENTENCES, *(s[::-1] for s in SENTENCES), " ".join(SENTENCES), "x"]
    vectors = np.concatenate([ask(engine, "embed", EmbedRequest([t])).values for t in texts])
    scores = np.concatenate([ask(engine, "rank", RerankRequest("why?", [t])).values for t in texts])

    def client(seed: int) -> float:
        rng, worst = np.random.default_rng(seed), 0.0
        for _ in range(12):
            chosen = rng.integers(0, len(texts), rng.integers(1, 9))
            some = [texts[i] for i in chosen]
            priority = Priority(int(rng.integers(0, 3)))
            if rng.random() < 0.5:
                got, expected = ask(engine, "embed", EmbedRequest(some, priority=priority)).values, vectors[chosen]
            else:
                got, expected = (
                    ask(engine, "rank", RerankRequest("why?", some, priority=priority)).values,
                    scores[chosen],
                )
            worst = max(worst, float(np.abs(got - expected).max()))
        return worst

    with ThreadPoolExecutor(16) as clients:
        assert max(clients.map(client, range(16))) < 1e-5


def test_a_result_says_tokens_losses_space_and_time(engine: Engine, embedding_model: LoadedModel) -> None:
    started = time.monotonic()
    result = ask(engine, "embed", EmbedRequest([SENTENCES[0], " ".join(SENTENCES) * 20], truncation=Truncation(True)))
    wall = time.monotonic() - started
    tokens = len(embedding_model.checkpoint.tokenizer.encode(SENTENCES[0])) + 1
    assert result.tokens == (tokens, 1024)
    assert result.truncated_tokens[0] == 0
    assert (
        result.truncated_tokens[1]
        == len(embedding_model.checkpoint.tokenizer.encode(" ".join(SENTENCES) * 20)) + 1 - 1024
    )
    assert result.fingerprint == embedding_model.fingerprint
    times = result.times
    assert min(times.tokenize, times.queue, times.compute) >= 0
    assert times.compute > 0
    assert times.total <= wall


def test_a_cut_vector_carries_the_fingerprint_of_its_dimension(engine: Engine, embedding_model: LoadedModel) -> None:
    result = ask(engine, "embed", EmbedRequest([SENTENCES[0]], dimensions=32))
    assert result.values.shape == (1, 32)
    assert result.fingerprint == embedding_model.fingerprint.at(32)
    assert np.linalg.norm(result.values) == pytest.approx(1)


def test_token_ids_give_the_vectors_of_their_text(engine: Engine, embedding_model: LoadedModel) -> None:
    ids = [embedding_model.checkpoint.tokenizer.encode(t).tolist() for t in SENTENCES]
    got = ask(engine, "embed", EmbedRequest(ids)).values
    np.testing.assert_allclose(got, ask(engine, "embed", EmbedRequest(SENTENCES)).values, atol=1e-6)


def test_instructions_change_queries_and_scores(engine: Engine) -> None:
    text = ["Hello"]
    vectors = [
        ask(engine, "embed", EmbedRequest(text, input_type, instruction)).values
        for input_type, instruction in ((None, None), ("query", None), ("query", "Sort"), ("document", "Sort"))
    ]
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-3
    assert np.abs(vectors[1] - vectors[2]).max() > 1e-3
    np.testing.assert_allclose(vectors[2], vectors[3], atol=1e-6)
    default, other = (ask(engine, "rank", RerankRequest("q", text, i)).values for i in (None, "Sort"))
    assert abs(default - other) > 1e-4


@pytest.mark.parametrize("request_", [EmbedRequest([]), RerankRequest("q", [])])
def test_nothing_asked_is_nothing_answered_at_once(engine: Engine, request_: EmbedRequest | RerankRequest) -> None:
    result = ask(engine, "embed" if isinstance(request_, EmbedRequest) else "rank", request_)
    assert len(result.values) == 0
    assert result.times.total < 1


@pytest.mark.parametrize(
    ("name", "request_", "error"),
    [
        ("embed", EmbedRequest(["a", ""]), InvalidInput),
        ("embed", EmbedRequest(["a"], dimensions=65), InvalidDimension),
        ("embed", EmbedRequest([], dimensions=65), InvalidDimension),
        ("embed", EmbedRequest(["a " * 3000]), TextTooLong),
        ("embed", EmbedRequest([[1, 2, -1, 3, 4, 5]]), InvalidInput),
        ("embed", EmbedRequest([[1, 2, 10**12, 3, 4, 5]]), InvalidInput),
        ("embed", RerankRequest("q", ["d"]), InvalidInput),
        ("rank", EmbedRequest(["a"]), InvalidInput),
        ("rank", RerankRequest("", ["d"]), InvalidInput),
    ],
)
def test_a_request_that_cannot_succeed_gets_its_error(
    engine: Engine, name: str, request_: EmbedRequest | RerankRequest, error: type[Exception]
) -> None:
    with pytest.raises(error):
        ask(engine, name, request_)
    assert len(ask(engine, "embed", EmbedRequest(["still here"])).values) == 1


def test_an_unknown_model_is_refused_at_once(engine: Engine) -> None:
    with pytest.raises(UnknownModel, match=r"The model 'other' is not served here\. Served: embed, rank\."):
        engine.submit("other", EmbedRequest(["a"]))
