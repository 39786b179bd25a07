"""A text becomes ids once: its prompt before it, one end token after it, and a cut that keeps both."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.checkpoints import SENTENCES, copy_of, edit_json
from upsize.errors import InvalidInput, TextTooLong
from upsize.model import EmbeddingPrompts, Truncation, open_checkpoint
from upsize.model.encoding import encode_ids, encode_texts
from upsize.model.prompts import bare_instruction
from upsize.model.tokenizer import END_OF_TEXT, TextTokenizer

RIGHT, LEFT = Truncation(allowed=True), Truncation(allowed=True, side="left")
LONG = " ".join(SENTENCES)
PREFIX = EmbeddingPrompts().query


def one(
    tokenizer: TextTokenizer, text: str, prefix: str = "", limit: int = 1024, cut: Truncation = Truncation()
) -> list[int]:
    (encoded,) = encode_texts(tokenizer, [text], prefix, limit, cut)
    return encoded.ids.tolist()


@pytest.mark.parametrize("text", ["Hello", LONG, "\n", "Hello" + END_OF_TEXT, END_OF_TEXT])
def test_a_text_has_one_end_token_and_it_is_last(tokenizer: TextTokenizer, text: str) -> None:
    ids = one(tokenizer, text)
    assert ids[-1] == tokenizer.end_id
    assert ids.count(tokenizer.end_id) == 1


@given(st.text(min_size=1, max_size=80).filter(lambda text: not text.endswith(END_OF_TEXT)))
def test_any_text_has_its_own_ids_and_one_end_token(tokenizer: TextTokenizer, text: str) -> None:
    assert one(tokenizer, text) == [*tokenizer.encode(text).tolist(), tokenizer.end_id]


def test_ids_get_the_end_token_unless_they_have_it(tokenizer: TextTokenizer) -> None:
    end = tokenizer.end_id
    bare, ended = encode_ids(tokenizer, [[5, 6], [5, 6, end]], 1024, Truncation())
    assert bare.ids.tolist() == ended.ids.tolist() == [5, 6, end]
    assert bare.ids.dtype == np.int32


def test_ids_of_a_text_are_the_text(tokenizer: TextTokenizer) -> None:
    (encoded,) = encode_ids(tokenizer, [tokenizer.encode(LONG).tolist()], 1024, Truncation())
    assert encoded.ids.tolist() == one(tokenizer, LONG)


def test_the_limit_counts_the_end_token(tokenizer: TextTokenizer) -> None:
    tokens = len(one(tokenizer, LONG))
    assert len(one(tokenizer, LONG, limit=tokens)) == tokens
    with pytest.raises(
        TextTooLong, match=rf"input\[0\] has {tokens} tokens and this model takes {tokens - 1}"
    ) as caught:
        one(tokenizer, LONG, limit=tokens - 1)
    assert (caught.value.tokens, caught.value.limit, caught.value.index) == (tokens, tokens - 1, 0)


def test_cutting_at_the_right_keeps_the_start_and_the_end_token(tokenizer: TextTokenizer) -> None:
    whole = one(tokenizer, LONG)
    (encoded,) = encode_texts(tokenizer, [LONG], "", 20, RIGHT)
    assert encoded.ids.tolist() == [*whole[:19], tokenizer.end_id]
    assert encoded.truncated_tokens == len(whole) - 20


def test_cutting_at_the_left_keeps_the_end_of_the_text(tokenizer: TextTokenizer) -> None:
    whole = one(tokenizer, LONG)
    (encoded,) = encode_texts(tokenizer, [LONG], "", 20, LEFT)
    assert encoded.ids.tolist() == whole[-20:]
    assert encoded.truncated_tokens == len(whole) - 20


def test_cutting_at_the_left_keeps_the_instruction(tokenizer: TextTokenizer) -> None:
    prompt = tokenizer.encode(PREFIX).tolist()
    limit = len(prompt) + 11
    ids = one(tokenizer, LONG, PREFIX, limit, LEFT)
    assert len(ids) == limit
    assert ids[: len(prompt)] == prompt
    assert ids[len(prompt) :] == one(tokenizer, LONG)[-11:]


@pytest.mark.parametrize("cut", [RIGHT, LEFT])
def test_token_ids_are_cut_like_texts(tokenizer: TextTokenizer, cut: Truncation) -> None:
    (encoded,) = encode_ids(tokenizer, [tokenizer.encode(LONG).tolist()], 20, cut)
    assert encoded.ids.tolist() == one(tokenizer, LONG, limit=20, cut=cut)


@pytest.mark.parametrize("cut", [RIGHT, LEFT])
@given(limit=st.integers(8, 60), text=st.text(min_size=1, max_size=60), prefix=st.sampled_from(["", "Q: "]))
def test_what_is_cut_has_exactly_the_limit(
    tokenizer: TextTokenizer, cut: Truncation, limit: int, text: str, prefix: str
) -> None:
    whole = one(tokenizer, text, prefix)
    (encoded,) = encode_texts(tokenizer, [text], prefix, limit, cut)
    assert len(encoded.ids) == min(limit, len(whole))
    assert encoded.truncated_tokens == max(0, len(whole) - limit)
    assert encoded.ids[-1] == tokenizer.end_id


@pytest.mark.parametrize("cut", [RIGHT, LEFT])
def test_an_instruction_that_leaves_no_room_for_the_text_is_an_error(tokenizer: TextTokenizer, cut: Truncation) -> None:
    prompt = len(tokenizer.encode(PREFIX))
    for limit in (8, prompt, prompt + 1):
        with pytest.raises(InvalidInput, match=f"{prompt} tokens.* {limit}") as caught:
            one(tokenizer, LONG, PREFIX, limit, cut)
        assert caught.value.param == "instruction"
    assert len(one(tokenizer, LONG, PREFIX, prompt + 2, cut)) == prompt + 2


def test_an_empty_text_is_an_error_with_its_place(tokenizer: TextTokenizer) -> None:
    with pytest.raises(InvalidInput, match=r"input\[1\] is an empty string") as caught:
        encode_texts(tokenizer, ["a", ""], PREFIX, 64, Truncation())
    assert (caught.value.param, caught.value.index) == ("input", 1)
    with pytest.raises(InvalidInput, match=r"input\[2\] has no token ids"):
        encode_ids(tokenizer, [[1], [2], []], 64, Truncation())


@pytest.mark.parametrize("wrong", [-1, 640, 151643])
def test_ids_outside_the_vocabulary_are_an_error(tokenizer: TextTokenizer, wrong: int) -> None:
    with pytest.raises(InvalidInput, match=rf"input\[1\] holds the token id {wrong}; .* 0 to 639") as caught:
        encode_ids(tokenizer, [[1], [1, wrong]], 64, Truncation())
    assert caught.value.index == 1


def test_input_type_chooses_the_prompt() -> None:
    prompts = EmbeddingPrompts(query="Q:", document="D:")
    assert prompts.prefix("query", None) == "Q:"
    assert prompts.prefix("document", None) == "D:"
    assert prompts.prefix(None, None) == ""


@pytest.mark.parametrize("input_type", ["query", "document", None])
def test_an_instruction_makes_any_text_a_query(input_type: str | None) -> None:
    assert EmbeddingPrompts().prefix(input_type, "Sort") == "Instruct: Sort\nQuery:"


@pytest.mark.parametrize(
    ("sent", "task"),
    [
        ("Instruct: Sort\nQuery:", "Sort"),
        ("Instruct: Sort\nQuery: ", "Sort"),
        ("Instruct: Sort", "Sort"),
        ("<Instruct>: Sort\n<Query>: ", "Sort"),
        ("Sort\nQuery:", "Sort"),
        ("Sort by Query:", "Sort by Query:"),
        ("Instruct: Sort\nQuery: with a query", "Instruct: Sort\nQuery: with a query"),
        ("Instruct a colleague", "Instruct a colleague"),
    ],
)
def test_an_instruction_within_the_template_is_its_task(sent: str, task: str) -> None:
    assert bare_instruction(sent) == task
    assert EmbeddingPrompts().prefix("query", sent) == f"Instruct: {task}\nQuery:"


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ("Instruct: Find it\nQuery:", "Instruct: Sort\nQuery:"),
        ("Instruct: Find it\nQuery: ", "Instruct: Sort\nQuery: "),
        ("query: ", "Instruct: Sort\nQuery:"),
    ],
)
def test_an_instruction_takes_the_form_of_the_checkpoints_own(own: str, expected: str) -> None:
    assert EmbeddingPrompts(query=own).prefix(None, "Sort") == expected


def test_the_checkpoints_own_prompts_win(embedder_folder: Path, tmp_path: Path) -> None:
    folder = copy_of(embedder_folder, tmp_path / "own")
    path = folder / "config_sentence_transformers.json"
    before = open_checkpoint(folder)
    edit_json(path, prompts={"query": "Q:", "document": "D:"})
    own = open_checkpoint(folder)
    assert own.prompts == EmbeddingPrompts("Q:", "D:")
    assert own.fingerprint("float32", 64).prompts != before.fingerprint("float32", 64).prompts
    edit_json(path, prompts={"query": "Q:", "passage": "P:"})
    assert open_checkpoint(folder).prompts == EmbeddingPrompts("Q:", "P:")
    path.unlink()
    assert open_checkpoint(folder).prompts == EmbeddingPrompts()


def test_digests_tell_prompts_apart() -> None:
    several = [
        EmbeddingPrompts(),
        EmbeddingPrompts(query="ab", document="c"),
        EmbeddingPrompts(query="a", document="bc"),
    ]
    assert len({p.digest() for p in several}) == 3
    assert dataclasses.replace(several[0]).digest() == several[0].digest()
