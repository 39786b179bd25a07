import numpy as np
import pytest

from upsize.catalog import references
from upsize.compute import LoadedModel
from upsize.diagnostics import published_outputs as room
from upsize.diagnostics.published_outputs import NAME, TOKENS, published
from upsize.model import Truncation
from upsize.model.encoding import encode_texts

EMBEDDING, RERANKING = "Qwen3-Embedding-0.6B", "Qwen3-Reranker-0.6B"


def statuses(model: LoadedModel, name: str | None, *, strict: bool = False) -> dict[str, str]:
    return {c.name: c.status for c in published(model, name, strict=strict)}


@pytest.fixture
def as_published(embedder: LoadedModel, reranker: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """The catalog says of the tiny models what they give, as if they were the published ones."""
    monkeypatch.setitem(references.COSINES, EMBEDDING, room._cosines(embedder))
    monkeypatch.setitem(references.LOG_ODDS, RERANKING, room._log_odds(reranker))
    tokenizer = embedder.checkpoint.tokenizer
    whole = room.encode(embedder, room.EmbedRequest(list(references.TOKEN_IDS)))
    monkeypatch.setattr(references, "TOKEN_IDS", dict(zip(references.TOKEN_IDS, [e.ids for e in whole], strict=True)))
    query = encode_texts(tokenizer, references.QUERIES[:1], embedder.checkpoint.prompts.query, 99, Truncation())  # type: ignore[union-attr]
    monkeypatch.setattr(references, "QUERY_IDS", query[0].ids)
    monkeypatch.setattr(references, "RERANK_PREFIX_IDS", tokenizer.encode(room.RERANK_PREFIX))
    monkeypatch.setattr(references, "RERANK_SUFFIX_IDS", tokenizer.encode(room.RERANK_SUFFIX))


@pytest.mark.usefixtures("as_published")
def test_published_outputs_pass(embedder: LoadedModel, reranker: LoadedModel) -> None:
    assert statuses(embedder, EMBEDDING, strict=True) == {NAME: "passed", TOKENS: "passed"}
    assert statuses(reranker, RERANKING, strict=True) == {NAME: "passed", TOKENS: "passed"}


@pytest.mark.usefixtures("as_published")
def test_other_values_differ_and_fail_only_where_asked(
    embedder: LoadedModel, reranker: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(references.COSINES, EMBEDDING, room._cosines(embedder) + np.float32(0.004))
    monkeypatch.setitem(references.LOG_ODDS, RERANKING, room._log_odds(reranker) + np.float32(0.3))
    for model, name in ((embedder, EMBEDDING), (reranker, RERANKING)):
        assert statuses(model, name) == {NAME: "differs", TOKENS: "passed"}
        assert statuses(model, name, strict=True) == {NAME: "failed", TOKENS: "passed"}
        note = published(model, name)[0].note
        assert f"the weights are not those of {name}" in note
        assert "found [" in note


def test_other_token_ids_always_fail(embedder: LoadedModel, reranker: LoadedModel) -> None:
    assert statuses(embedder, EMBEDDING)[TOKENS] == "failed"
    assert statuses(reranker, RERANKING)[TOKENS] == "failed"


def test_what_was_not_published_is_skipped(embedder: LoadedModel, reranker: LoadedModel) -> None:
    assert statuses(embedder, None) == {NAME: "skipped", TOKENS: "skipped"}
    assert statuses(embedder, None, strict=True) == {NAME: "failed", TOKENS: "failed"}
    assert statuses(reranker, "Qwen3-Reranker-8B")[NAME] == "skipped"


def test_the_catalogs_ids_are_of_one_family() -> None:
    assert len(references.QUERY_IDS) == 27
    assert len(references.RERANK_PREFIX_IDS) == 39
    assert len(references.RERANK_SUFFIX_IDS) == 9
    assert {ids[-1] for ids in (*references.TOKEN_IDS.values(), references.QUERY_IDS)} == {151643}
