"""Reading: texts become ids in steps, so that whoever waits for another text has a turn between them.

A step is STEP characters. A text that is longer than the model takes is read no further than is needed to know it: what
it costs depends on the model's limit, not on the text. At `borders` alone is a text taken apart, so its ids are those
of the whole.
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
"""Characters of a step: some ten milliseconds."""

Value = TypeVar("Value")
Steps = Generator[int, None, Value]
"""Work that pauses after each step, which gives its characters; its value comes at the end."""


def finish(steps: Steps[Value]) -> Value:
    """Do all steps; their value."""
    while True:
        try:
            next(steps)
        except StopIteration as finished:
            value: Value = finished.value
            return value


def exact_characters(limit: int) -> int:
    """Characters of a text that are read even where a model of `limit` tokens takes fewer, to count what is lost."""
    return max(1 << 16, 16 * limit)


def _reach(limit: int) -> int:
    """Characters without a border that are encoded as one."""
    return max(1 << 18, 32 * limit)


@dataclass
class TokenBudget:
    """Tokens that a request may have in all."""

    most: float = float("inf")
    spent: int = 0

    def spend(self, tokens: int, param: str) -> None:
        """RequestTooLarge where it is more than that."""
        self.spent += tokens
        if self.spent > self.most:
            raise RequestTooLarge(
                f"{param}: the request has more than {self.most:,.0f} tokens in all, what is put around each text "
                "included. Send fewer texts a call; the server's setting is --max-request-tokens.",
                param=param,
            )

    def require(self, each: int, texts: int, param: str) -> None:
        """RequestTooLarge where `each` tokens that stand before every text would be too many, before they are built."""
        if self.spent + each * texts > self.most:
            raise RequestTooLarge(
                f"{param} has {each:,} tokens with what belongs to it, and stands before each of {texts:,} texts: "
                f"{each * texts:,} tokens, where a request may have {self.most:,.0f}. Send fewer texts a call, or a "
                f"shorter {param}; the server's setting is --max-request-tokens.",
                param=param,
            )


class IncrementalEncoder:
    """The ids of one text as far as they are wanted: the first `keep` of them, or with `backward` the last."""

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
        """`cut`: it may have more ids, which are counted, those of a long text in part; otherwise reading ends as soon
        as it is known to have more. `whole`: all are counted, where no border is near within a few. `hold_all`: `ids`
        are all of those. `limit` is the model's."""
        self.keep, self.index, self.count, self.complete, self.last = keep, index, 0, False, -1
        self._hold = 1 << 62 if hold_all else keep
        self._text, self._backward, self._whole, self._reach = text, backward, whole, _reach(limit)
        exact = exact_characters(limit)
        self._exact: float = float("inf") if whole else exact if cut or len(text) <= exact else 0
        self._characters = self._held = 0
        self._parts: list[Ids] = []

    @property
    def ids(self) -> Ids:
        """Those that are kept, in the text's order."""
        if len(self._parts) == 1:
            return self._parts[0]
        return np.concatenate(self._parts[:: -1 if self._backward else 1] or [np.empty(0, np.int32)])

    def pieces(self, splits: bool) -> Iterator[tuple[str, bool]]:
        """Parts still to encode, and whether each ends where its ids do not depend on what follows."""
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
        """Ids of the next part; how many of them the text may have. InvalidInput where it cannot be taken apart."""
        before = min(self.count, self.keep)
        if not clean and not self._whole:
            # Cut where no border is near: far from the cut the ids are those of the whole, and only these count.
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
    """Encode what the readings still lack, in steps. `param` names the field in errors."""
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
    """InvalidInput for a text that is no Unicode, such as half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        where = param if index is None else f"{param}[{index}]"
        raise InvalidInput(f"{where} is not valid Unicode: {error}.", param=param, index=index) from None
