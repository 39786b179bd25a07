"""The rerank template: prefix, query and suffix always survive; the document alone is cut, at its end."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.checkpoints import SENTENCES, copy_of, write_json
from upsize.catalog.instructions import RERANK_PREFIX, RERANK_SUFFIX, WEB_SEARCH
from upsize.errors import InvalidInput, TextTooLong
from upsize.model import RerankPrompts, Truncation, open_checkpoint
from upsize.model.encoding import encode_pairs
from upsize.model.tokenizer import TextTokenizer

QUERY = "How do plants eat light?"
LONG = " ".join(SENTENCES)
CUT = Truncation(allowed=True)
HEAD = f"<Instruct>: {WEB_SEARCH}\n<Query>: {QUERY}\n<Document>:"


def encode(tokenizer: TextTokenizer, document: str, limit: int = 1024, cut: Truncation = Truncation(), **more: int):
    (encoded,) = encode_pairs(tokenizer, WEB_SEARCH, QUERY, [document], limit, cut, **more)
    return encoded


def test_a_pair_is_the_published_template(tokenizer: TextTokenizer) -> None:
    parts = (RERANK_PREFIX, f"{HEAD} {LONG}", RERANK_SUFFIX)
    expected = [i for part in parts for i in tokenizer.encode(part).tolist()]
    encoded = encode(tokenizer, LONG)
    assert encoded.ids.tolist() == expected
    assert encoded.truncated_tokens == 0


def test_only_the_end_of_the_document_is_cut(tokenizer: TextTokenizer) -> None:
    whole, suffix = encode(tokenizer, LONG).ids.tolist(), tokenizer.encode(RERANK_SUFFIX).tolist()
    limit = len(whole) - 30
    encoded = encode(tokenizer, LONG, limit, CUT)
    assert encoded.ids.tolist() == whole[: limit - len(suffix)] + suffix
    assert encoded.truncated_tokens == 30


def test_the_side_of_the_cut_is_not_heard(tokenizer: TextTokenizer) -> None:
    limit = len(encode(tokenizer, LONG).ids) - 30
    left = encode(tokenizer, LONG, limit, Truncation(allowed=True, side="left"))
    assert left.ids.tolist() == encode(tokenizer, LONG, limit, CUT).ids.tolist()


def test_a_document_that_is_too_long_is_an_error_with_its_place(tokenizer: TextTokenizer) -> None:
    tokens = len(encode(tokenizer, LONG).ids)
    with pytest.raises(TextTooLong, match=rf"documents\[1\] has {tokens} tokens and .* {tokens - 1}\.") as caught:
        encode_pairs(tokenizer, WEB_SEARCH, QUERY, ["short", LONG], tokens - 1, Truncation())
    assert (caught.value.param, caught.value.index) == ("documents", 1)


@pytest.mark.parametrize("cut", [CUT, Truncation()])
def test_a_query_that_leaves_no_room_for_a_document_is_an_error(tokenizer: TextTokenizer, cut: Truncation) -> None:
    around = sum(len(tokenizer.encode(part)) for part in (RERANK_PREFIX, HEAD, RERANK_SUFFIX))
    with pytest.raises(TextTooLong, match="query has") as caught:
        encode(tokenizer, "x", around, cut)
    assert (caught.value.param, caught.value.index) == ("query", None)
    assert len(encode(tokenizer, LONG, around + 1, CUT).ids) == around + 1


def test_an_empty_query_is_an_error_and_an_empty_document_is_not(tokenizer: TextTokenizer) -> None:
    with pytest.raises(InvalidInput, match="query is an empty string"):
        encode_pairs(tokenizer, WEB_SEARCH, "", ["x"], 1024, Truncation())
    assert len(encode(tokenizer, "").ids) < len(encode(tokenizer, "x y").ids)


@given(st.integers(0, 40), st.sampled_from(SENTENCES))
def test_max_document_tokens_counts_the_documents_own_tokens(tokenizer: TextTokenizer, wanted: int, text: str) -> None:
    around = sum(len(tokenizer.encode(part)) for part in (RERANK_PREFIX, HEAD, RERANK_SUFFIX))
    own = len(encode(tokenizer, text).ids) - around
    encoded = encode(tokenizer, text, max_document_tokens=wanted)
    assert len(encoded.ids) - around == min(own, wanted)
    assert encoded.truncated_tokens == max(0, own - wanted)


def test_the_checkpoints_own_default_instruction_wins(reranker_folder: Path, tmp_path: Path) -> None:
    folder = copy_of(reranker_folder, tmp_path / "own")
    assert open_checkpoint(folder).prompts == RerankPrompts(WEB_SEARCH)
    write_json(
        folder / "config_sentence_transformers.json",
        {"prompts": {"web": "Find it", "other": "Not this"}, "default_prompt_name": "web"},
    )
    own = open_checkpoint(folder).prompts
    assert own == RerankPrompts("Find it")
    assert own.digest() != RerankPrompts().digest()
