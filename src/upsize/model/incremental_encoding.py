"""Incremental encoding: texts become token ids in steps, so that other requests can run between the steps.

A step is STEP characters. A text that exceeds the model's limit is encoded only as far as needed to know that: the cost
depends on the limit, not on the text. Texts are split only at split points, so the ids are those of the whole text.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from upsize.errors import InvalidInput, RequestTooLarge
from upsize.model.split_points import pieces
from upsize.model.tokenizer import Ids, TextTokenizer

STEP = 1 << 16
"""Characters of a step: about 10 ms."""

Value = TypeVar("Value")
Steps = Generator[int, None, Value]
"""A generator that yields the characters of each step, and returns its value at the end."""


def finish(steps: Steps[Value]) -> Value:
    """Run all steps; return their value."""
    while True:
        try:
            next(steps)
        except StopIteration as finished:
            value: Value = finished.value
            return value


def exact_characters(limit: int) -> int:
    """Return the characters of a text up to which its truncated tokens are counted exactly; `limit` is in tokens."""
    return max(1 << 16, 16 * limit)


def _reach(limit: int) -> int:
    """Characters without a split point that are encoded as one part."""
    return max(1 << 18, 32 * limit)


@dataclass
class TokenBudget:
    """The tokens that a request may have in all."""

    most: float = float("inf")
    spent: int = 0

    def spend(self, tokens: int, param: str) -> None:
        """Count tokens. Raises RequestTooLarge if they exceed the budget."""
        self.spent += tokens
        if self.spent > self.most:
            raise RequestTooLarge(
                f"{param}: the request has more than {self.most:,.0f} tokens in all, instruction and template of each "
                "text included. Send fewer texts a call; the server's setting is --max-request-tokens.",
                param=param,
            )

    def require(self, each: int, texts: int, param: str) -> None:
        """Raise RequestTooLarge if `each` tokens before each of `texts` texts exceed the budget."""
        if self.spent + each * texts > self.most:
            raise RequestTooLarge(
                f"{param} has {each:,} tokens with what belongs to it, and stands before each of {texts:,} texts: "
                f"{each * texts:,} tokens, where a request may have {self.most:,.0f}. Send fewer texts a call, or a "
                f"shorter {param}; the server's setting is --max-request-tokens.",
                param=param,
            )


class IncrementalEncoder:
    """Encodes one text as far as needed: its first `keep` ids, or with `backward` its last."""

    def __init__(
        self,
        text: str,
        keep: int,
        limit: int,
        *,
        cut: bool,
        whole: bool = False,
        backward: bool = False,
        hold_all: bool = False,
        index: int | None = None,
    ) -> None:
        """`cut`: the text may have more ids, which are counted (of a long text in part); otherwise encoding stops once
        the text is known to have more. `whole` counts all ids, off by a few where no split point is near.
        `hold_all` keeps all of them in `ids`. `limit` is the model's limit in tokens."""
        self.keep, self.index, self.count, self.complete, self.last = keep, index, 0, False, -1
        self._hold = 1 << 62 if hold_all else keep
        self._text, self._backward, self._whole, self._reach = text, backward, whole, _reach(limit)
        exact = exact_characters(limit)
        self._exact: float = float("inf") if whole else exact if cut or len(text) <= exact else 0
        self._characters = self._held = 0
        self._parts: list[Ids] = []

    @property
    def ids(self) -> Ids:
        """The kept ids, in the text's order."""
        if len(self._parts) == 1:
            return self._parts[0]
        return np.concatenate(self._parts[:: -1 if self._backward else 1] or [np.empty(0, np.int32)])

    def pieces(self, splits: bool) -> Iterator[tuple[str, bool]]:
        """Yield (part to encode, whether its ids are independent of the text after it)."""
        text = self._text
        if splits or self._whole:
            parts = pieces(text, self._reach, backward=self._backward, on=self._whole)
        elif self._backward:
            parts = iter([(text[-self._reach :], len(text) <= self._reach)])
        else:
            parts = iter([(text[: self._reach], len(text) <= self._reach)])
        for piece, clean in parts:
            if self.count > self.keep and self._characters >= self._exact:
                break
            self._characters += len(piece)
            yield piece, clean
        else:
            self.complete = self._characters == len(text)
        self._text = ""

    def add(self, ids: Ids, clean: bool, param: str) -> int:
        """Add the ids of the next part; return how many are kept. Raises InvalidInput if the text cannot be split."""
        before = min(self.count, self.keep)
        if not clean and not self._whole:
            # No split point is near: only the ids far from the cut are those of the whole text.
            half = len(ids) // 2
            ids = ids[half:] if self._backward else ids[:half]
        self.count += len(ids)
        if len(ids) and (not self._backward or self.last < 0):
            self.last = int(ids[-1])
        if not clean and not self._whole and self.count <= self.keep:
            where = param if self.index is None else f"{param}[{self.index}]"
            raise InvalidInput(
                f"{where} has {self._reach:,} characters in a row without a place to take it apart: a space, a digit, "
                "punctuation after a letter, a new line. Is it text? Leave it out, or put spaces in.",
                param=param,
                index=self.index,
            )
        room = self._hold - self._held
        kept = ids if len(ids) <= room else ids[max(len(ids) - room, 0) :] if self._backward else ids[:room]
        if len(kept):
            self._parts.append(kept)
            self._held += len(kept)
        return min(self.count, self.keep) - before


def read(
    tokenizer: TextTokenizer, readings: Iterable[IncrementalEncoder], param: str, budget: TokenBudget | None = None
) -> Iterator[int]:
    """Encode the rest of the texts, in steps. `param` names the field in errors."""
    budget = budget or TokenBudget()
    group: list[tuple[IncrementalEncoder, str, bool]] = []
    size = 0
    for reading in readings:
        for piece, clean in reading.pieces(tokenizer.keeps_borders):
            group.append((reading, piece, clean))
            size += len(piece)
            if size >= STEP:
                _encode(tokenizer, group, param, budget)
                yield size
                group, size = [], 0
    if group:
        _encode(tokenizer, group, param, budget)
        yield size


def _encode(
    tokenizer: TextTokenizer, group: list[tuple[IncrementalEncoder, str, bool]], param: str, budget: TokenBudget
) -> None:
    try:
        encoded = tokenizer.encode_batch([piece for _, piece, _ in group])
    except TypeError:  # the library's, of half a surrogate pair
        for reading, piece, _ in group:
            require_unicode(piece, param, reading.index)
        raise
    for (reading, _, clean), ids in zip(group, encoded, strict=True):
        budget.spend(reading.add(ids, clean, param), param)


def require_unicode(text: str, param: str, index: int | None = None) -> None:
    """Raise InvalidInput for a text that is not valid Unicode, such as half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        where = param if index is None else f"{param}[{index}]"
        raise InvalidInput(f"{where} is not valid Unicode: {error}.", param=param, index=index) from None
