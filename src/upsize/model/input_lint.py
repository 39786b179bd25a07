"""Input lint: finds inputs that are probably mistakes, but give a vector all the same.

A finding never refuses a request, because each one can be intended.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import accumulate

from upsize.catalog import cl100k
from upsize.catalog.instructions import QUERY_FORM, RERANK_PREFIX
from upsize.model.split_points import BORDER
from upsize.model.tokenizer import TextTokenizer

ADVICE = {
    "instruction_twice": "a text already begins with 'Instruct:' and the server adds the instruction again; "
    "send the bare text with `instruction`, or the whole text without",
    "space_after_query": "a text has 'Query: ' with a space, where the model was trained without; "
    "send the bare text with `instruction` instead",
    "rerank_template_in_text": "a text already went through the rerank template; send the bare query and documents",
    "foreign_token_ids": "token ids do not look like this tokenizer's (what they decode to is not encoded that way, or "
    "is better text in OpenAI's cl100k_base); send text, or turn off client-side tokenisation (langchain-openai: "
    "check_embedding_ctx_length=False)",
}
"""Kind of finding → problem and advice. The kinds are labels of `upsize_suspicious_inputs_total`."""

_INSTRUCT = QUERY_FORM.split("{")[0]
_TEMPLATE = RERANK_PREFIX[:80]
_PART = re.compile(r"(?:\A\s*|\n|<\|im_start\|>user\s*)<(?:Instruct|Query|Document)>:")
"""A line of the template's body, with or without the space after it."""
_END = re.compile(r"<\|im_end\|>\s*(?:<\|im_start\|>(?:assistant\s*(?:<think>\s*(?:</think>\s*)?)?)?)?\Z")
"""The template's end, or the part of it that other chat templates and prompts without thinking have."""
_SAMPLE = 256
"""Token ids of an input that are checked."""
_SEAM = 4
"""Ids that may change where a client encoded a text in pieces."""
_KNOWN = {791: b"The", 3923: b"What", 6864: b" capital"}
"""Some ids of cl100k_base, which tell whether a tokenizer has Qwen's vocabulary."""


def lint_text(text: str, *, instructed: bool) -> Iterator[str]:
    """Kinds of findings in a text. `instructed`: whether the server puts an instruction before it."""
    head = text[:4096]
    if head.startswith(_INSTRUCT) and "\nQuery:" in head:
        if instructed:
            yield "instruction_twice"
        if "\nQuery: " in head:
            yield "space_after_query"
    if _TEMPLATE in head or _PART.search(head) or _END.search(text[-256:]):
        yield "rerank_template_in_text"


def lint_token_ids(tokenizer: TextTokenizer, ids: Sequence[int]) -> Iterator[str]:
    """Kinds of findings in token ids.

    Ids of this tokenizer come back unchanged when their text is encoded again. The exceptions are ids at the ends,
    which are not compared, and up to four at a seam where the client encoded a text in pieces.

    English ids of cl100k_base (OpenAI's tokenizer, LangChain's default) often come back too, because each one is a word
    of this tokenizer as well. They are recognised by their text in cl100k_base: it comes back, and has more words.
    """
    sample = [int(i) for i in ids[:_SAMPLE]]
    if not sample:
        return
    changed = _changed_ids(tokenizer, sample)
    if changed is None or changed > max(_SEAM, 0.08 * len(sample)) or _is_cl100k(tokenizer, sample):
        yield "foreign_token_ids"


def _changed_ids(tokenizer: TextTokenizer, ids: Sequence[int]) -> int | None:
    """Ids, without those at the ends, that change when their text is encoded again; None if they are no text."""
    parts = [tokenizer.token_bytes(i) for i in ids]
    data = b"".join(parts)
    # A text may begin and end within a multi-byte character.
    first = next((place for place, byte in enumerate(data[:3]) if not 0x80 <= byte < 0xC0), min(len(data), 3))
    try:
        text = data[first:].decode()
    except UnicodeDecodeError as error:
        if error.reason != "unexpected end of data":
            return None
        text = data[first : first + error.start].decode()
    inner = [found.start() for found in BORDER.finditer(text)]
    if not inner:
        return 0
    low, high = (first + len(text[:place].encode()) for place in (inner[0], inner[-1]))
    again = tokenizer.encode(text).tolist()
    there = set(zip(_starts(first, [tokenizer.token_bytes(i) for i in again]), again, strict=True))
    given = zip(_starts(0, parts), ids, strict=True)
    return sum(one not in there for one in given if low <= one[0] < high)


def _starts(first: int, parts: Sequence[bytes]) -> list[int]:
    """The offset of each part."""
    return list(accumulate(map(len, parts), initial=first))[:-1]


def _is_cl100k(tokenizer: TextTokenizer, ids: Sequence[int]) -> bool:
    """Whether ids are a better text in cl100k_base. Only for tokenizers with Qwen's vocabulary."""
    if max(ids) >= cl100k.SIZE or [tokenizer.token_bytes(i) for i in cl100k.qwen_ids(_KNOWN)] != list(_KNOWN.values()):
        return False
    as_cl100k = cl100k.qwen_ids(ids)
    changed = _changed_ids(tokenizer, as_cl100k) if as_cl100k else None
    if changed is None or changed > 0.02 * len(ids):
        return False
    words, here = _words(tokenizer, as_cl100k), _words(tokenizer, ids)
    return words >= 0.6 * len(ids) and words - here >= max(2, 0.2 * len(ids))


def _words(tokenizer: TextTokenizer, ids: Sequence[int]) -> int:
    """Tokens that begin a word: a space and a letter. A text has most of them in its own tokenizer."""
    parts = (tokenizer.token_bytes(i) for i in ids)
    return sum(part[:1] == b" " and (part[1:2].isalpha() or part[1:2] >= b"\x80") for part in parts)
