"""Encodes texts, token ids and pairs as the sequences that the network reads.

Only this module turns inputs into sequences, so two rules hold for all of them: a sequence has the end token exactly
once, and only the document of a pair is truncated. The prefix of all texts is encoded once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from upsize.catalog.instructions import RERANK_BODY, RERANK_PREFIX, RERANK_SUFFIX
from upsize.errors import InvalidInput, TextTooLong
from upsize.model.incremental_encoding import (
    STEP,
    IncrementalEncoder,
    Steps,
    TokenBudget,
    exact_characters,
    finish,
    read,
    require_unicode,
)
from upsize.model.prompts import Truncation
from upsize.model.split_points import last_border
from upsize.model.tokenizer import Ids, TextTokenizer


@dataclass(frozen=True)
class Encoded:
    """Ids of one sequence, and the number of truncated tokens: a lower bound for a text of more than
    `exact_characters`."""

    ids: Ids
    truncated_tokens: int = 0


@dataclass(frozen=True)
class _Prefix:
    """The prefix of every text, encoded once, except its end, which may share a token with the text."""

    fixed: Ids
    rest: str
    rest_tokens: int

    @property
    def tokens(self) -> int:
        """Tokens of the whole prefix."""
        return len(self.fixed) + self.rest_tokens


def _prefix(tokenizer: TextTokenizer, prefix: str, limit: int) -> Steps[_Prefix]:
    """Encode the prefix. Raises InvalidInput if it leaves no room for a text."""
    place = (last_border(prefix, len(prefix) - 1, 1024) or 0) if tokenizer.keeps_borders and prefix else 0
    fixed, rest = (IncrementalEncoder(part, limit, limit, cut=False) for part in (prefix[:place], prefix[place:]))
    yield from read(tokenizer, (fixed, rest), "instruction")
    if prefix and fixed.count + rest.count + 1 >= limit:
        raise InvalidInput(
            f"The instruction has {fixed.count + rest.count} tokens and this model takes {limit}, which leaves no room "
            "for a text. Send a shorter instruction.",
            param="instruction",
        )
    return _Prefix(fixed.ids, prefix[place:], rest.count)


def encode_texts(
    tokenizer: TextTokenizer, texts: Sequence[str], prefix: str, limit: int, truncation: Truncation
) -> list[Encoded]:
    """Encode `prefix + text` and one end token for each text, at most `limit` ids.

    Raises InvalidInput for an empty text, TextTooLong unless `truncation` allows a cut.
    """
    return finish(texts_in_steps(tokenizer, texts, prefix, limit, truncation))


def texts_in_steps(
    tokenizer: TextTokenizer,
    texts: Sequence[str],
    prefix: str,
    limit: int,
    truncation: Truncation,
    budget: TokenBudget | None = None,
    *,
    whole: bool = False,
) -> Steps[list[Encoded]]:
    """Do `encode_texts` in steps. `budget` is that of all texts together. `whole` counts tokens to each text's end."""
    for index, text in enumerate(texts):
        if not text:
            raise InvalidInput(
                f"input[{index}] is an empty string, which has no meaning to embed. Leave it out, or send a text.",
                param="input",
                index=index,
            )
    budget = budget or TokenBudget()
    before = yield from _prefix(tokenizer, prefix, limit)
    if prefix:
        budget.require(before.tokens + 1, len(texts), "instruction")
    budget.spend((len(before.fixed) + 1) * len(texts), "input")
    keep, left = limit - len(before.fixed), truncation.allowed and truncation.side == "left"
    begun: list[tuple[IncrementalEncoder, IncrementalEncoder | None]] = []

    def readings() -> Iterator[IncrementalEncoder]:
        for index, bare in enumerate(texts):
            text, front = before.rest + bare, None
            long = left and not whole and len(text) > exact_characters(limit)
            if long and before.rest_tokens:
                front = IncrementalEncoder(text, before.rest_tokens, limit, cut=False, index=index)
                yield front
            reading = IncrementalEncoder(
                text,
                keep,
                limit,
                cut=truncation.allowed,
                whole=whole,
                backward=long,
                hold_all=left and not long,
                index=index,
            )
            begun.append((reading, front))
            yield reading

    yield from read(tokenizer, readings(), "input", budget)
    return [_ended(before, *one, tokenizer.end_id, limit, truncation) for one in begun]


def _ended(
    before: _Prefix,
    reading: IncrementalEncoder,
    front: IncrementalEncoder | None,
    end: int,
    limit: int,
    truncation: Truncation,
) -> Encoded:
    """Truncate the text, never the instruction, and append the end token unless the text ends with it."""
    ids, count = reading.ids, reading.count - (reading.last == end)
    total = len(before.fixed) + count + 1
    over = total - limit
    if over > 0 and not truncation.allowed:
        raise TextTooLong(total, limit, param="input", index=reading.index, at_least=not reading.complete)
    if over <= 0:
        parts = [before.fixed, ids[:count]]
    elif truncation.side == "right":
        parts = [before.fixed, ids[: limit - 1 - len(before.fixed)]]
    else:
        first = ids if front is None else front.ids
        last = ids[: len(ids) - (reading.last == end)]
        parts = [before.fixed, first[: before.rest_tokens], last[len(last) - (limit - 1 - before.tokens) :]]
    return Encoded(np.concatenate((*parts, np.array([end], np.int32))), max(over, 0))


def encode_ids(
    tokenizer: TextTokenizer, inputs: Sequence[Sequence[int]], limit: int, truncation: Truncation
) -> list[Encoded]:
    """Add one end token to token-id inputs. Raises InvalidInput for ids outside the vocabulary."""
    return finish(ids_in_steps(tokenizer, inputs, limit, truncation))


def ids_in_steps(
    tokenizer: TextTokenizer,
    inputs: Sequence[Sequence[int]],
    limit: int,
    truncation: Truncation,
    budget: TokenBudget | None = None,
) -> Steps[list[Encoded]]:
    """Do `encode_ids` in steps."""
    budget, end = budget or TokenBudget(), tokenizer.end_id
    encoded: list[Encoded] = []
    done = 0
    for index, sequence in enumerate(inputs):
        if not len(sequence):
            raise InvalidInput(
                f"input[{index}] has no token ids. Leave it out, or send some.", param="input", index=index
            )
        ids = _checked(tokenizer, sequence, index)
        if ids[-1] == end:
            ids = ids[:-1]
        over = len(ids) + 1 - limit
        if over > 0:
            if not truncation.allowed:
                raise TextTooLong(len(ids) + 1, limit, param="input", index=index)
            ids = ids[: limit - 1] if truncation.side == "right" else ids[over:]
        budget.spend(len(ids) + 1, "input")
        encoded.append(Encoded(np.append(ids, np.int32(end)), max(over, 0)))
        done += len(sequence)
        if done >= STEP:
            yield done
            done = 0
    return encoded


def _checked(tokenizer: TextTokenizer, sequence: Sequence[int], index: int) -> Ids:
    """Return the ids as int32. Raises InvalidInput for ids outside the vocabulary."""
    try:
        ids = np.asarray(sequence, np.int64)
        outside = ids[(ids < 0) | (ids >= tokenizer.size)]
        shown = f"the token id {outside[0]}" if len(outside) and ids.ndim == 1 else "what is no list of token ids"
        fits = not len(outside) and ids.ndim == 1
    except (OverflowError, ValueError, TypeError):  # beyond 64 bits; lists of unequal length; texts
        shown, fits = "what is no token id", False
    if not fits:
        raise InvalidInput(
            f"input[{index}] holds {shown}; this tokenizer's ids are 0 to {tokenizer.size - 1}. "
            "Are these ids of another tokenizer? Send text instead.",
            param="input",
            index=index,
        )
    return ids.astype(np.int32)


def encode_pairs(
    tokenizer: TextTokenizer,
    instruction: str,
    query: str,
    documents: Sequence[str],
    limit: int,
    truncation: Truncation,
    max_document_tokens: int | None = None,
) -> list[Encoded]:
    """Encode the rerank template for each document. Only the document is truncated, at its end."""
    return finish(pairs_in_steps(tokenizer, instruction, query, documents, limit, truncation, max_document_tokens))


def pairs_in_steps(
    tokenizer: TextTokenizer,
    instruction: str,
    query: str,
    documents: Sequence[str],
    limit: int,
    truncation: Truncation,
    max_document_tokens: int | None = None,
    budget: TokenBudget | None = None,
    *,
    whole: bool = False,
) -> Steps[list[Encoded]]:
    """Do `encode_pairs` in steps. `budget` is that of all pairs together. `whole` counts tokens to each text's end."""
    if not query:
        raise InvalidInput("query is an empty string. Send the text to rank the documents for.", param="query")
    require_unicode(instruction, "instruction")
    require_unicode(query, "query")
    budget = budget or TokenBudget()
    prefix, suffix = tokenizer.encode(RERANK_PREFIX), tokenizer.encode(RERANK_SUFFIX)
    around, body = len(prefix) + len(suffix), RERANK_BODY.format(instruction=instruction, query=query)
    # The last space of the body is part of the document's first token; before it is a split point.
    head = IncrementalEncoder(body.removesuffix(" "), limit, limit, cut=False)
    yield from read(tokenizer, [head], "query")
    room = limit - around - head.count
    if room <= 0:
        raise TextTooLong(around + head.count, limit, param="query", at_least=not head.complete)
    budget.require(around + head.count, len(documents), "query")
    budget.spend((around + head.count) * len(documents), "query")
    first, lead, skip = (head.ids, " ", 0) if tokenizer.keeps_borders else (head.ids[:0], body, head.count)
    most = room if max_document_tokens is None else min(room, max_document_tokens)
    cut = truncation.allowed or most < room or max_document_tokens == room
    readings: list[IncrementalEncoder] = []

    def begin() -> Iterator[IncrementalEncoder]:
        for index, document in enumerate(documents):
            readings.append(IncrementalEncoder(lead + document, skip + most, limit, cut=cut, whole=whole, index=index))
            yield readings[-1]

    yield from read(tokenizer, begin(), "documents", budget)
    encoded = []
    for index, reading in enumerate(readings):
        over = reading.count - skip - most
        if over > 0 and not cut:
            tokens = around + head.count + reading.count - skip
            raise TextTooLong(tokens, limit, param="documents", index=index, at_least=not reading.complete)
        encoded.append(Encoded(np.concatenate((prefix, first, reading.ids, suffix)), max(over, 0)))
    return encoded
