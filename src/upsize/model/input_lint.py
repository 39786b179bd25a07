"""Wrong input that gives a vector all the same, only a bad one: found, said once, and counted.

None of this refuses a request: each sign has an innocent explanation now and then.
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
"""Kind → what is wrong and what to do. The kinds are the labels of `upsize_suspicious_inputs_total`."""

_INSTRUCT = QUERY_FORM.split("{")[0]
_TEMPLATE = RERANK_PREFIX[:80]
_PART = re.compile(r"(?:\A\s*|\n|<\|im_start\|>user\s*)<(?:Instruct|Query|Document)>:")
"""A line of the template's body, with or without the space that belongs after it."""
_END = re.compile(r"<\|im_end\|>\s*(?:<\|im_start\|>(?:assistant\s*(?:<think>\s*(?:</think>\s*)?)?)?)?\Z")
"""The template's end, or as much of it as a prompt without thinking or another chat template has."""
_SAMPLE = 256
_SEAM = 4
_KNOWN = {791: b"The", 3923: b"What", 6864: b" capital"}
"""Some ids of cl100k_base."""


def lint_text(text: str, *, instructed: bool) -> Iterator[str]:
    """Kinds of suspicion that `text` raises; `instructed` says whether an instruction is put before it."""
    head = text[:4096]
    if head.startswith(_INSTRUCT) and "\nQuery:" in head:
        if instructed:
            yield "instruction_twice"
        if "\nQuery: " in head:
            yield "space_after_query"
    if _TEMPLATE in head or _PART.search(head) or _END.search(text[-256:]):
        yield "rerank_template_in_text"


def lint_token_ids(tokenizer: TextTokenizer, ids: Sequence[int]) -> Iterator[str]:
    """Kinds of suspicion that token ids raise: real ones come back, each in its place, when their text is encoded
    again. Where a text was encoded in pieces, up to four at the seam do not, and none at the ends is asked about.

    Of English, ids of cl100k_base (OpenAI's, LangChain's default) are often words again, each by itself, and come back
    too. They are told by their text in that tokenizer: it comes back as well, and has more words.
    """
    sample = [int(i) for i in ids[:_SAMPLE]]
    if not sample:
        return
    lost = _lost(tokenizer, sample)
    if lost is None or lost > max(_SEAM, 0.08 * len(sample)) or _is_cl100k(tokenizer, sample):
        yield "foreign_token_ids"


def _lost(tokenizer: TextTokenizer, ids: Sequence[int]) -> int | None:
    """How many ids do not come back, those at the ends left out; None where they are no text at all."""
    parts = [tokenizer.token_bytes(i) for i in ids]
    data = b"".join(parts)
    # A text may begin and end within a character.
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
    """Where each part begins."""
    return list(accumulate(map(len, parts), initial=first))[:-1]


def _is_cl100k(tokenizer: TextTokenizer, ids: Sequence[int]) -> bool:
    """Whether ids are a better text in cl100k_base; of tokenizers with Qwen's vocabulary alone."""
    if max(ids) >= cl100k.SIZE or [tokenizer.token_bytes(i) for i in cl100k.qwen_ids(_KNOWN)] != list(_KNOWN.values()):
        return False
    theirs = cl100k.qwen_ids(ids)
    lost = _lost(tokenizer, theirs) if theirs else None
    if lost is None or lost > 0.02 * len(ids):
        return False
    words, here = _words(tokenizer, theirs), _words(tokenizer, ids)
    return words >= 0.6 * len(ids) and words - here >= max(2, 0.2 * len(ids))


def _words(tokenizer: TextTokenizer, ids: Sequence[int]) -> int:
    """Tokens that begin a word: a space and a letter. Text has most of them in its own tokenizer."""
    parts = (tokenizer.token_bytes(i) for i in ids)
    return sum(part[:1] == b" " and (part[1:2].isalpha() or part[1:2] >= b"\x80") for part in parts)
