"""Requests are tokenised in turns, a step at a time, and no further than their limits."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.engine.scripted import Scripted, wait_until
from upsize.compute import LoadedModel
from upsize.engine import EmbedRequest, Engine, Limits, RerankRequest
from upsize.engine.tokenizer_threads import Rotation, TokenizerTask, TokenizerThreads
from upsize.errors import InvalidInput, Unavailable
from upsize.model.tokenizer import Ids, TextTokenizer


def endless(ran: list[str], name: str) -> Iterator[int]:
    while True:
        ran.append(name)
        yield 10


def test_models_take_turns_and_within_one_who_had_least_goes_first() -> None:
    rotation = Rotation()
    for order, (model, done) in enumerate([("a", 20), ("a", 0), ("a", 10), ("b", 99), ("a", 0)]):
        rotation.put(model, TokenizerTask(done, order, iter(()), lambda: None))
    taken = []
    while (next_one := rotation.take()) is not None:
        taken.append((next_one[0], next_one[1].order))
    assert taken == [("a", 1), ("b", 3), ("a", 4), ("a", 2), ("a", 0)]


def test_a_short_text_does_not_wait_for_long_ones() -> None:
    ran: list[str] = []
    tokenizing, short = TokenizerThreads(1, "test"), threading.Event()
    for i in range(8):
        tokenizing.submit("a", endless(ran, f"long {i}"), lambda: ran.append("dropped"))
    wait_until(lambda: len(ran) > 20)

    def steps() -> Iterator[int]:
        short.set()
        yield 1

    tokenizing.submit("a", steps(), lambda: None)
    assert short.wait(20)
    tokenizing.close()
    assert ran.count("dropped") == 8
    assert {f"long {i}" for i in range(8)} <= set(ran), "long ones share"


def test_what_comes_after_the_end_is_dropped() -> None:
    tokenizing, dropped = TokenizerThreads(1, "test"), threading.Event()
    tokenizing.close()
    tokenizing.submit("a", iter(()), dropped.set)
    assert dropped.is_set()


def test_a_cancelled_request_is_tokenised_no_further(
    embedding_model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine({"m": Scripted(embedding_model)})
    encoded: list[int] = []
    submitted, batch = threading.Event(), TextTokenizer.encode_batch

    def encode_batch(tokenizer: TextTokenizer, texts: list[str]) -> list[Ids]:
        assert submitted.wait(20)
        encoded.append(sum(map(len, texts)))
        future.cancel()
        return batch(tokenizer, texts)

    monkeypatch.setattr(TextTokenizer, "encode_batch", encode_batch)
    future = engine.submit("m", EmbedRequest(["word " * 400] * 400))
    submitted.set()
    wait_until(lambda: bool(encoded) and engine.drain(0))
    engine.close()
    assert sum(encoded) < 100_000, "of 800,000 characters"


TEXTS = ["a"] * 500
LONG = "word " * 150


@pytest.mark.parametrize(
    ("request_", "param", "message"),
    [
        (EmbedRequest(TEXTS, instruction=LONG), "instruction", r"instruction has \d+ tokens .* each of 500 texts"),
        (EmbedRequest([LONG] * 100), "input", "more than 10,000 tokens in all"),
        (EmbedRequest([[5] * 300] * 100), "input", "more than 10,000 tokens in all"),
        (EmbedRequest(TEXTS * 3), "input", "input has 1,500 texts, and a request may have 1,000"),
        (RerankRequest(LONG, TEXTS), "query", r"query has \d+ tokens .* each of 500 texts"),
        (RerankRequest("x", TEXTS, LONG), "query", r"query has \d+ tokens .* each of 500 texts"),
        (RerankRequest("x", [LONG] * 50), "documents", "more than 10,000 tokens in all"),
        (RerankRequest("x", TEXTS * 3), "documents", "documents has 1,500 texts, and a request may have 1,000"),
    ],
)
def test_a_request_has_so_many_texts_and_tokens_and_no_more(
    embedding_model: LoadedModel,
    reranking_model: LoadedModel,
    monkeypatch: pytest.MonkeyPatch,
    request_: EmbedRequest | RerankRequest,
    param: str,
    message: str,
) -> None:
    model = Scripted(embedding_model if isinstance(request_, EmbedRequest) else reranking_model)
    engine = Engine({"m": model}, Limits(request_inputs=1000, request_tokens=10_000))
    characters, batch = [0], TextTokenizer.encode_batch

    def encode_batch(tokenizer: TextTokenizer, texts: list[str]) -> list[Ids]:
        characters[0] += sum(map(len, texts))
        return batch(tokenizer, texts)

    monkeypatch.setattr(TextTokenizer, "encode_batch", encode_batch)
    with pytest.raises(InvalidInput, match=message) as caught:
        engine.submit("m", request_).result(20)
    assert caught.value.param == param
    assert characters[0] < 80_000, "the product is not built"
    assert not model.starts
    engine.close()


def test_closing_answers_what_is_not_tokenised(embedding_model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine({"m": Scripted(embedding_model)})
    began, release = threading.Event(), threading.Event()
    batch = TextTokenizer.encode_batch

    def encode_batch(tokenizer: TextTokenizer, texts: list[str]) -> list[Ids]:
        began.set()
        assert release.wait(20)
        return batch(tokenizer, texts)

    monkeypatch.setattr(TextTokenizer, "encode_batch", encode_batch)
    waiting = [engine.submit("m", EmbedRequest(["word " * 400] * 100)) for _ in range(8)]
    assert began.wait(20)
    closing = threading.Thread(target=engine.close)
    closing.start()
    wait_until(lambda: engine.closed)
    release.set()
    closing.join(20)
    for future in waiting:
        with pytest.raises(Unavailable):
            future.result(0)
