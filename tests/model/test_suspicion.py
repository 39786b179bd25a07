"""Signs of wrong input: found where they are, silent on what is right."""

from __future__ import annotations

import numpy as np
import pytest

from tests.checkpoints import SENTENCES
from upsize.catalog.instructions import QUERY_FORM, RERANK_BODY, RERANK_PREFIX, WEB_SEARCH
from upsize.model.suspicion import ADVICE, in_ids, in_text
from upsize.model.tokenizer import TextTokenizer

INSTRUCTED = QUERY_FORM.format(instruction=WEB_SEARCH) + "why is the sky blue?"


@pytest.mark.parametrize(
    ("text", "instructed", "kinds"),
    [
        (INSTRUCTED, True, {"instruction_twice"}),
        (INSTRUCTED, False, set()),
        (INSTRUCTED.replace("Query:", "Query: "), False, {"space_after_query"}),
        (INSTRUCTED.replace("Query:", "Query: "), True, {"instruction_twice", "space_after_query"}),
        ("Instruct: a colleague before you leave.", True, set()),
        (RERANK_PREFIX + "x", False, {"rerank_template_in_text"}),
        (RERANK_BODY.format(instruction="x", query="y"), True, {"rerank_template_in_text"}),
        *((sentence, True, set()) for sentence in SENTENCES),
    ],
)
def test_texts(text: str, instructed: bool, kinds: set[str]) -> None:
    found = set(in_text(text, instructed=instructed))
    assert found == kinds
    assert found <= set(ADVICE)


@pytest.mark.parametrize("text", [*SENTENCES, INSTRUCTED, " ".join(SENTENCES) * 5])
def test_ids_of_a_text_are_not_suspicious(qwen_tokenizer: TextTokenizer, text: str) -> None:
    assert not list(in_ids(qwen_tokenizer, qwen_tokenizer.encode(text).tolist()))


def test_ids_of_another_tokenizer_are(qwen_tokenizer: TextTokenizer) -> None:
    """As langchain-openai sends them: tiktoken's ids of the same pieces lie a little above Qwen's, rarer ones more."""
    qwen = qwen_tokenizer.encode(" ".join(SENTENCES[:6])).tolist()
    tiktoken = np.interp(qwen, [0, 315, 785, 3838, 6722, 26549], [0, 315, 791, 3923, 6864, 27647]).round().astype(int)
    assert list(in_ids(qwen_tokenizer, tiktoken.tolist())) == ["foreign_token_ids"]


def test_ids_of_a_text_in_pieces_are_not(qwen_tokenizer: TextTokenizer) -> None:
    text = SENTENCES[1] + SENTENCES[8]
    for seam in (i for i, character in enumerate(text) if character in " ."):
        pieces = [qwen_tokenizer.encode(part) for part in (text[:seam], text[seam:])]
        assert not list(in_ids(qwen_tokenizer, [int(i) for piece in pieces for i in piece]))


@pytest.mark.parametrize("ids", [[], [1, 2, 3]])
def test_too_few_ids_tell_nothing(tokenizer: TextTokenizer, ids: list[int]) -> None:
    assert not list(in_ids(tokenizer, ids))
