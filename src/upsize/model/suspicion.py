"""Wrong input that gives a vector all the same, only a bad one: found, said once, and counted.

None of this refuses a request: each sign has an innocent explanation now and then.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from upsize.catalog.instructions import QUERY_FORM, RERANK_PREFIX
from upsize.model.tokenizer import TextTokenizer

ADVICE = {
    "instruction_twice": "a text already begins with 'Instruct:' and the server adds the instruction again; "
    "send the bare text with `instruction`, or the whole text without",
    "space_after_query": "a text has 'Query: ' with a space, where the model was trained without; "
    "send the bare text with `instruction` instead",
    "rerank_template_in_text": "a text already went through the rerank template; send the bare query and documents",
    "foreign_token_ids": "token ids do not look like this tokenizer's (what they decode to is not encoded that way); "
    "send text, or turn off client-side tokenisation (langchain-openai: check_embedding_ctx_length=False)",
}
"""Kind → what is wrong and what to do. The kinds are the labels of `upsize_suspicious_inputs_total`."""

_INSTRUCT = QUERY_FORM.split("{")[0]
_TEMPLATE = RERANK_PREFIX[:80]
_SAMPLE = 64
_EDGE = 3


def in_text(text: str, *, instructed: bool) -> Iterator[str]:
    """Kinds of suspicion that `text` raises; `instructed` says whether an instruction is put before it."""
    head = text[:4096]
    if head.startswith(_INSTRUCT) and "\nQuery:" in head:
        if instructed:
            yield "instruction_twice"
        if "\nQuery: " in head:
            yield "space_after_query"
    if _TEMPLATE in head or "<|im_start|>user\n<Instruct>:" in head or "\n<Document>:" in head:
        yield "rerank_template_in_text"


def in_ids(tokenizer: TextTokenizer, ids: Sequence[int]) -> Iterator[str]:
    """Kinds of suspicion that token ids raise: real ones all come back when their text is encoded again.

    Where a text was encoded in pieces, one or two at the seam do not. Of ids of OpenAI's tokenizers, whose vocabulary
    Qwen's resembles, about one in ten does not.
    """
    sample = list(ids[:_SAMPLE])
    inner = sample[_EDGE:-_EDGE]  # a character may be split at the ends
    again = {int(i) for i in tokenizer.encode(tokenizer.decode(sample))} if inner else set()
    if sum(i not in again for i in inner) > 1 + 0.05 * len(inner):
        yield "foreign_token_ids"
