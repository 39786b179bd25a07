"""Signs of wrong input: found where they are, silent on what is right."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.checkpoints import SENTENCES
from upsize.catalog import cl100k
from upsize.catalog.instructions import QUERY_FORM, RERANK_BODY, RERANK_PREFIX, RERANK_SUFFIX, WEB_SEARCH
from upsize.model.input_lint import ADVICE, lint_text, lint_token_ids
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
        ("<Document>: a lamp", True, {"rerank_template_in_text"}),
        ("<Instruct>: x\n<Query>: y", True, {"rerank_template_in_text"}),
        ("a lamp" + RERANK_SUFFIX, True, {"rerank_template_in_text"}),
        ("<Query>:which lamp", True, {"rerank_template_in_text"}),
        (" \n<Document>: a lamp", True, {"rerank_template_in_text"}),
        ("<Instruct>: x\r\n<Query>: y", True, {"rerank_template_in_text"}),
        ("which lamp\n<Query>: y", True, {"rerank_template_in_text"}),
        ("x" * 5000 + RERANK_SUFFIX, True, {"rerank_template_in_text"}),
        ("a lamp<|im_end|>\n<|im_start|>assistant\n<think>", True, {"rerank_template_in_text"}),
        ("a lamp<|im_end|>\n<|im_start|>assistant\n", True, {"rerank_template_in_text"}),
        ("a lamp<|im_end|>", True, {"rerank_template_in_text"}),
        ("<|im_start|>user\n<Instruct>: x", True, {"rerank_template_in_text"}),
        ("<|im_end|> ends a turn of a conversation", True, set()),
        ("<Documents>: none", True, set()),
        ("a page about the tag <Document>: how it is closed", True, set()),
        *((sentence, True, set()) for sentence in SENTENCES),
    ],
)
def test_texts(text: str, instructed: bool, kinds: set[str]) -> None:
    found = set(lint_text(text, instructed=instructed))
    assert found == kinds
    assert found <= set(ADVICE)


@pytest.mark.parametrize("text", [*SENTENCES, INSTRUCTED, " ".join(SENTENCES) * 5])
def test_ids_of_a_text_are_not_suspicious(qwen_tokenizer: TextTokenizer, text: str) -> None:
    assert not list(lint_token_ids(qwen_tokenizer, qwen_tokenizer.encode(text).tolist()))


CL100K = {
    "Our refund policy allows returns within thirty days of purchase.": (
        "8140 21639 4947 6276 4780 2949 27219 2919 315 7782 13"
    ),
    "How do plants turn light into sugar? They call it photosynthesis.": (
        "4438 656 11012 2543 3177 1139 13465 30 2435 1650 433 7397 74767 13"
    ),
    "The committee described the long bridge before winter, without any help from the old harbour.": (
        "791 13093 7633 279 1317 14497 1603 12688 11 2085 904 1520 505 279 2362 75742 13"
    ),
    "中国的首都是北京，长城在北京的北边。": (
        "59795 9554 61075 72368 21043 70090 3922 46961 60174 19000 70090 9554 49409 16205 117 1811"
    ),
}
"""Text → its ids by tiktoken's cl100k_base, which langchain-openai sends unless told otherwise."""


@pytest.mark.parametrize("text", CL100K)
def test_ids_of_openais_tokenizer_are_noticed(qwen_tokenizer: TextTokenizer, text: str) -> None:
    ids = [int(i) for i in CL100K[text].split()]
    assert list(lint_token_ids(qwen_tokenizer, ids)) == ["foreign_token_ids"]
    assert not list(lint_token_ids(qwen_tokenizer, qwen_tokenizer.encode(text).tolist()))


def test_ids_of_cl100k_lie_to_qwens_as_the_catalog_says(qwen_tokenizer: TextTokenizer) -> None:
    for text, ids in CL100K.items():
        assert cl100k.qwen_ids(map(int, ids.split())) == qwen_tokenizer.encode(text).tolist() or not text.isascii()
    assert len(cl100k.NUMBERS) == 1100
    assert cl100k.qwen_ids(cl100k.NUMBERS) == []


@given(text=st.text(min_size=1, max_size=200), start=st.integers(0, 40), size=st.integers(1, 60))
def test_ids_of_any_text_cut_anywhere_are_not(tokenizer: TextTokenizer, text: str, start: int, size: int) -> None:
    assert not list(lint_token_ids(tokenizer, tokenizer.encode(text).tolist()[start : start + size]))


def test_ids_of_another_order_are(tokenizer: TextTokenizer) -> None:
    foreign = [(i * 37) % 635 for i in tokenizer.encode(" ".join(SENTENCES)).tolist()]
    assert list(lint_token_ids(tokenizer, foreign)) == ["foreign_token_ids"]


def test_ids_of_a_text_in_pieces_are_not(qwen_tokenizer: TextTokenizer) -> None:
    text = SENTENCES[1] + SENTENCES[8]
    for seam in (i for i, character in enumerate(text) if character in " ."):
        pieces = [qwen_tokenizer.encode(part) for part in (text[:seam], text[seam:])]
        assert not list(lint_token_ids(qwen_tokenizer, [int(i) for piece in pieces for i in piece]))


@pytest.mark.parametrize("ids", [[], [1, 2, 3]])
def test_too_few_ids_tell_nothing(tokenizer: TextTokenizer, ids: list[int]) -> None:
    assert not list(lint_token_ids(tokenizer, ids))
