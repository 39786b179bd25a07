"""What stands around a text before the network sees it: instruction, end token, rerank template (FACTS §3, §4).

Texts become ids here and nowhere else, so "the end token exactly once" and "the document alone is cut" hold in one
place for text and token-id inputs alike.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from upsize.catalog.instructions import QUERY_FORM, RERANK_BODY, RERANK_PREFIX, RERANK_SUFFIX, WEB_SEARCH
from upsize.errors import InvalidInput, TextTooLong
from upsize.model.tokenizer import Ids, TextTokenizer

Side = Literal["left", "right"]
_FORM = re.compile(r"Instruct: (?P<instruction>.*)\nQuery:(?P<space>\s*)", re.DOTALL)


@dataclass(frozen=True)
class Truncation:
    """Whether a text that is too long is cut instead of refused, and at which end."""

    allowed: bool = False
    side: Side = "right"


@dataclass(frozen=True)
class Encoded:
    """Ids of one sequence as the network takes them, and how many tokens of the text were cut off."""

    ids: Ids
    lost: int = 0


@dataclass(frozen=True)
class EmbeddingPrompts:
    """Prefixes of queries and documents. A checkpoint's own files win over the catalog's."""

    query: str = QUERY_FORM.format(instruction=WEB_SEARCH)
    document: str = ""

    def prefix(self, input_type: Literal["query", "document"] | None, instruction: str | None) -> str:
        """What stands before the text. An instruction makes any text a query; neither leaves it raw."""
        if instruction:
            own = _FORM.fullmatch(self.query)
            return QUERY_FORM.format(instruction=instruction) + (own["space"] if own else "")
        return {"query": self.query, "document": self.document, None: ""}[input_type]

    def digest(self) -> str:
        """16 hexadecimal digits of the prompt bytes."""
        return hashlib.sha256(f"{self.query}\0{self.document}".encode()).hexdigest()[:16]


@dataclass(frozen=True)
class RerankPrompts:
    """The default task of a reranker; the template around it is the family's."""

    instruction: str = WEB_SEARCH

    def digest(self) -> str:
        """16 hexadecimal digits of the template and the default task."""
        form = "\0".join((RERANK_PREFIX, RERANK_BODY, RERANK_SUFFIX, self.instruction))
        return hashlib.sha256(form.encode()).hexdigest()[:16]


def encode_texts(
    tokenizer: TextTokenizer, texts: Sequence[str], prefix: str, limit: int, truncation: Truncation
) -> list[Encoded]:
    """Ids of `prefix + text` and one end token, at most `limit` in all; an empty text is an error."""
    for index, text in enumerate(texts):
        if not text:
            raise InvalidInput(
                f"input[{index}] is an empty string, which has no meaning to embed. Leave it out, or send a text.",
                param="input",
                index=index,
            )
    encoded = _encode_batch(tokenizer, [prefix + text for text in texts], "input")
    kept = len(tokenizer.encode(prefix)) if prefix and truncation.allowed else 0
    return [_finish(ids, tokenizer.end_id, limit, truncation, index, kept) for index, ids in enumerate(encoded)]


def _encode_batch(tokenizer: TextTokenizer, texts: Sequence[str], param: str) -> list[Ids]:
    """Ids of texts; InvalidInput names the one that is no Unicode, such as half of a surrogate pair."""
    try:
        return tokenizer.encode_batch(texts)
    except TypeError:
        for index, text in enumerate(texts):
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise InvalidInput(
                    f"{param}[{index}] is not valid Unicode: {error}.", param=param, index=index
                ) from None
        raise


def encode_ids(
    tokenizer: TextTokenizer, inputs: Sequence[Sequence[int]], limit: int, truncation: Truncation
) -> list[Encoded]:
    """Token-id inputs with one end token, as texts get; ids outside the vocabulary are an error."""
    encoded = []
    for index, sequence in enumerate(inputs):
        if not len(sequence):
            raise InvalidInput(
                f"input[{index}] has no token ids. Leave it out, or send some.", param="input", index=index
            )
        wrong = next((i for i in sequence if not 0 <= i < tokenizer.size), None)
        if wrong is not None:
            raise InvalidInput(
                f"input[{index}] holds the token id {wrong}; this tokenizer's ids are 0 to {tokenizer.size - 1}. "
                "Are these ids of another tokenizer? Send text instead.",
                param="input",
                index=index,
            )
        encoded.append(_finish(np.asarray(sequence, np.int32), tokenizer.end_id, limit, truncation, index, 0))
    return encoded


def _finish(ids: Ids, end: int, limit: int, truncation: Truncation, index: int, kept: int) -> Encoded:
    """Append the end token unless it is there, cutting first so that it stays last. Of the text alone: the `kept`
    tokens of the instruction before it are no part of what may go."""
    if len(ids) and ids[-1] == end:
        ids = ids[:-1]
    lost = len(ids) + 1 - limit
    if lost > 0:
        if not truncation.allowed:
            raise TextTooLong(len(ids) + 1, limit, param="input", index=index)
        if kept + 1 >= limit:
            raise InvalidInput(
                f"The instruction has {kept} tokens and this model takes {limit}, which leaves no room for a text. "
                "Send a shorter instruction.",
                param="instruction",
            )
        ids = ids[: limit - 1] if truncation.side == "right" else np.concatenate((ids[:kept], ids[kept + lost :]))
    return Encoded(np.append(ids, np.int32(end)), max(lost, 0))


def encode_pairs(
    tokenizer: TextTokenizer,
    instruction: str,
    query: str,
    documents: Sequence[str],
    limit: int,
    truncation: Truncation,
    max_document_tokens: int | None = None,
) -> list[Encoded]:
    """Ids of the rerank template for each document. Only the document is ever cut, and always at its end."""
    if not query:
        raise InvalidInput("query is an empty string. Send the text to rank the documents for.", param="query")
    prefix, suffix = tokenizer.encode(RERANK_PREFIX), tokenizer.encode(RERANK_SUFFIX)
    head = RERANK_BODY.format(instruction=instruction, query=query)
    head_tokens = len(tokenizer.encode(head.rstrip(" ")))  # its last space becomes part of the document's first token
    room = limit - len(prefix) - len(suffix)
    if head_tokens >= room:
        raise TextTooLong(len(prefix) + head_tokens + len(suffix), limit, param="query")
    encoded = []
    for index, body in enumerate(_encode_batch(tokenizer, [head + d for d in documents], "documents")):
        wanted = len(body)
        if max_document_tokens is not None:
            body = body[: head_tokens + max_document_tokens]
        if len(body) > room:
            if not truncation.allowed:
                raise TextTooLong(len(prefix) + len(body) + len(suffix), limit, param="documents", index=index)
            body = body[:room]
        encoded.append(Encoded(np.concatenate((prefix, body, suffix)), wanted - len(body)))
    return encoded
