"""A text cut at its borders has the ids of the whole, whatever the text and the border."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.checkpoints import EMBEDDER, SENTENCES, tokenizer_of
from upsize import demo
from upsize.errors import InvalidInput, TextTooLong
from upsize.model import Truncation
from upsize.model import incremental_encoding as reading
from upsize.model import split_points as borders
from upsize.model.encoding import encode_pairs, encode_texts
from upsize.model.incremental_encoding import exact_characters
from upsize.model.split_points import BORDER, last_border, next_border, pieces
from upsize.model.tokenizer import TextTokenizer

TRICKY = [
    *" \t\n\r\v\f\x85\xa0\u1680\u2003\u2028\u3000\u200b\ufeff\x1c",
    *"aZsStT'ſéåßıK中国あがパ가각ㄱ\u1100\u1161\u11a8я",
    *"\u0301\u0316\u0338\u3099\u0345\u0f71\u1100",
    *"019٣²½Ⅷ",
    *"!?.,;:-_'\"<>=()[]{}|/、。，（）「」…😀\U0001d15e",
    *("<|im_end|>", "<|endoftext|>", "<think>", "</think>", "'s", "'LL", "  ", "\r\n", "word", " word", "<|", "|>"),
]
texts = st.lists(st.one_of(st.sampled_from(TRICKY), st.characters(exclude_categories=["Cs"])), max_size=24).map("".join)


@pytest.fixture(scope="module", params=["fixture", "demo-m", "demo-rerank"])
def any_tokenizer(request: pytest.FixtureRequest, tokenizer: TextTokenizer) -> TextTokenizer:
    return tokenizer if request.param == "fixture" else TextTokenizer(demo.folder(request.param) / "tokenizer.json")


def borders_of(text: str) -> list[int]:
    return [found.start() for found in BORDER.finditer(text)]


def require_borders(tokenizer: TextTokenizer, text: str) -> None:
    whole = tokenizer.encode(text).tolist()
    for place in borders_of(text):
        parts = tokenizer.encode(text[:place]).tolist() + tokenizer.encode(text[place:]).tolist()
        assert parts == whole, (text, place)


@settings(max_examples=200)
@given(text=texts)
def test_at_every_border_the_parts_have_the_ids_of_the_whole(any_tokenizer: TextTokenizer, text: str) -> None:
    assert any_tokenizer.keeps_borders
    require_borders(any_tokenizer, text)


@settings(max_examples=200)
@given(text=texts)
def test_with_the_published_tokenizer_too(qwen_tokenizer: TextTokenizer, text: str) -> None:
    assert qwen_tokenizer.keeps_borders
    require_borders(qwen_tokenizer, text)


@given(query=texts.filter(bool), document=texts)
def test_a_pairs_head_is_encoded_once_and_gives_the_ids_of_the_whole(
    any_tokenizer: TextTokenizer, query: str, document: str
) -> None:
    (pair,) = encode_pairs(any_tokenizer, "Find", query, [document], 4096, Truncation())
    whole = f"<Instruct>: Find\n<Query>: {query}\n<Document>: {document}"
    body = any_tokenizer.encode(whole).tolist()
    around = len(pair.ids) - len(body)
    assert any(pair.ids[i : i + len(body)].tolist() == body for i in range(around + 1))


@given(text=texts.filter(bool), instruction=texts)
def test_an_instruction_is_encoded_once_and_gives_the_ids_of_the_whole(
    any_tokenizer: TextTokenizer, text: str, instruction: str
) -> None:
    prefix = f"Instruct: {instruction}\nQuery:"
    (encoded,) = encode_texts(any_tokenizer, [text], prefix, 4096, Truncation())
    whole = any_tokenizer.encode(prefix + text).tolist()
    end = any_tokenizer.end_id
    assert encoded.ids.tolist() == (whole if whole[-1] == end else [*whole, end])


@given(text=texts)
def test_pieces_are_the_text(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(borders, "PIECE", 5)
        forward = list(pieces(text, 40))
        backward = list(pieces(text, 40, backward=True))[::-1]
    for parts in (forward, backward):
        if all(clean for _, clean in parts):
            assert "".join(part for part, _ in parts) == text
    places = borders_of(text)
    for place in range(len(text)):
        assert next_border(text, place, 7) == next((p for p in places if place <= p <= place + 7), None)
        assert last_border(text, place, 7) == next((p for p in places[::-1] if place - 7 <= p <= place), None)


LONG = "".join(f"{sentence} {i} naïve\n" for i in range(300) for sentence in SENTENCES)
"""Longer than what is read whole where a model takes less."""


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("prefix", ["", "Instruct: Find it\nQuery:"])
def test_a_long_text_is_cut_before_it_is_encoded_and_has_the_same_ids(
    tokenizer: TextTokenizer, monkeypatch: pytest.MonkeyPatch, side: str, prefix: str
) -> None:
    limit, truncation = 100, Truncation(True, side)  # type: ignore[arg-type]
    assert len(LONG) > exact_characters(limit)
    seen: list[int] = []
    encode_batch = TextTokenizer.encode_batch

    def counting(self: TextTokenizer, given: list[str]) -> list[object]:
        seen.append(sum(map(len, given)))
        return encode_batch(self, given)  # type: ignore[return-value]

    monkeypatch.setattr(TextTokenizer, "encode_batch", counting)
    (cut,) = encode_texts(tokenizer, [LONG * 3], prefix, limit, truncation)
    assert sum(seen) < exact_characters(limit) + 3 * reading.STEP
    monkeypatch.undo()
    whole = tokenizer.encode(prefix + LONG * 3).tolist()
    kept = len(tokenizer.encode(prefix))
    last = whole[-(limit - 1 - kept) :]
    assert cut.ids.tolist() == [*(whole[: limit - 1] if side == "right" else [*whole[:kept], *last]), tokenizer.end_id]
    assert 1000 < cut.truncated_tokens < len(whole), "at least so many"


def test_a_long_text_is_refused_before_it_is_encoded(tokenizer: TextTokenizer) -> None:
    with pytest.raises(TextTooLong, match=r"input\[1\] has at least \d+ tokens") as caught:
        encode_texts(tokenizer, ["a", LONG * 3], "", 100, Truncation())
    assert caught.value.tokens < 100_000
    with pytest.raises(TextTooLong, match=r"documents\[1\] has at least"):
        encode_pairs(tokenizer, "Find", "it", ["a", LONG * 3], 100, Truncation())
    with pytest.raises(TextTooLong, match=r"query has at least"):
        encode_pairs(tokenizer, "Find", LONG * 3, ["a"], 100, Truncation())
    with pytest.raises(InvalidInput, match="instruction has"):
        encode_texts(tokenizer, ["a"], f"Instruct: {LONG * 3}\nQuery:", 100, Truncation())


@pytest.mark.parametrize("text", ["a" * 300_000, "e\u0316" * 150_000, " " * 300_000])
@pytest.mark.parametrize("side", ["right", "left"])
def test_a_text_without_any_border_is_cut_or_refused(tokenizer: TextTokenizer, text: str, side: str) -> None:
    (cut,) = encode_texts(tokenizer, [text], "", 50, Truncation(True, side))  # type: ignore[arg-type]
    whole = tokenizer.encode(text).tolist()
    assert cut.ids.tolist()[:-1] == (whole[:49] if side == "right" else whole[-49:])
    assert cut.truncated_tokens > 50
    with pytest.raises(TextTooLong, match="at least"):
        encode_texts(tokenizer, [text], "", 50, Truncation())


def test_a_text_that_cannot_be_taken_apart_is_refused(
    tokenizer: TextTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_reach", lambda limit: limit // 8)
    with pytest.raises(InvalidInput, match=r"input\[1\] has 5,000 characters in a row") as caught:
        encode_texts(tokenizer, ["a", "a" * 60_000], "", 40_000, Truncation(True))
    assert caught.value.index == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: d["pre_tokenizer"]["pretokenizers"][0]["pattern"].update(Regex=r"\s+|\S+"),
        lambda d: d["pre_tokenizer"]["pretokenizers"].pop(0),
        lambda d: d.update(normalizer={"type": "NFKC"}),
        lambda d: d["added_tokens"][0].update(rstrip=True),
        lambda d: d["added_tokens"][-1].update(content="two words"),
    ],
)
def test_another_tokenizer_is_given_whole_texts(tmp_path: Path, damage: Callable[[dict[str, Any]], object]) -> None:
    definition = json.loads(tokenizer_of(EMBEDDER).to_str())
    damage(definition)
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(definition))
    other = TextTokenizer(path)
    assert not other.keeps_borders
    (pair,) = encode_pairs(other, "Find", "it  ", ["  x"], 4096, Truncation())
    body = other.encode("<Instruct>: Find\n<Query>: it  \n<Document>:   x").tolist()
    around = len(pair.ids) - len(body)
    assert any(pair.ids[i : i + len(body)].tolist() == body for i in range(around + 1))
