"""Split points: places where a text can be split so that the ids of its parts are the ids of the whole.

They hold for the split of Qwen2's tokenizer, after NFC normalisation, with a BPE that stays within a pre-token. The
pattern looks ahead only behind white space and never looks behind, so a place is a split point if no match
can span it, whatever text is farther away:

- a space after what is no white space: only the first character of a match may be a space;
- a digit after what is no white space, and any character after a digit: a digit is a match of its own;
- after a line break, if no white space follows: a run of white space ends with its last line break;
- punctuation after a letter: a run of letters ends there. (Not that which stands in added tokens: <|im_start|>.)

The character after a split point never composes with what is before it (NFC), so the parts normalise as the whole does.
The classes below hold only characters whose category no Unicode version has changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""The published pre-tokenizer's pattern: the split points hold for this pattern alone."""

PIECE = 1 << 14
"""Characters after which a text is split at the next split point. The parts are encoded in parallel. Chosen."""

_SOLID = (
    "!-~\u00a1-\u167f\u1681-\u180d\u2010-\u2027\u2030-\u205e\u2070-\u2fff\u3001-\ud7ff\uf900-\ufefe\uff00-\ufffd"
    "\U00010000-\U0010ffff"
)
"""Characters that are neither white space nor control characters."""
_LETTER = "A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u0410-\u044f\u3041-\u3096\u30a1-\u30fa\u4e00-\u9fa5\uac00-\ud7a3"
_PUNCTUATION = "!\"'(),.:;?\u3001\u3002\u300a-\u300f\uff01\uff08\uff09\uff0c\uff1a\uff1b\uff1f"
_AFTER_BREAK = f"!-~{_LETTER}"

BORDER = re.compile(
    f"(?<=[{_SOLID}])(?=[ 0-9])|(?<=[0-9])(?=[!-~])|(?<=\n)(?=[{_AFTER_BREAK}])|(?<=[{_LETTER}])(?=[{_PUNCTUATION}])"
)
"""Matches the empty string at a split point."""


def next_border(text: str, start: int, reach: int) -> int | None:
    """Return the first split point from `start` to `reach` characters after it; None if there is none."""
    found = BORDER.search(text, start, min(start + reach + 1, len(text)))
    return found.start() if found else None


def last_border(text: str, end: int, reach: int) -> int | None:
    """Return the last split point from `end` to `reach` characters before it; None if there is none."""
    floor, width = max(end - reach, 0), 256
    while end > floor:
        low = max(end - width, floor)
        places = [found.start() for found in BORDER.finditer(text, low, min(end + 1, len(text)))]
        if places:
            return places[-1]
        end, width = low, width * 2
    return None


def pieces(text: str, reach: int, *, backward: bool = False, on: bool = False) -> Iterator[tuple[str, bool]]:
    """Yield (part, whether it ends at split points): parts of about PIECE characters, in order or `backward`.

    A part that does not end at split points is `reach` characters long, because no split point is near. It is the last
    part of its text, unless `on` asks for the rest.
    """
    if backward:
        end = len(text)
        while end > PIECE:
            place = last_border(text, end - PIECE, reach)
            if place is None:
                break
            yield text[place:end], True
            end = place
        low = max(end - PIECE - reach, 0)
        if end:
            yield text[low:end], low == 0
        return
    start = 0
    while start < len(text):
        stop = len(text)
        if stop - start > PIECE:
            place = next_border(text, start + PIECE, reach)
            stop = min(start + PIECE + reach, len(text)) if place is None else place
            clean = place is not None or stop == len(text)
        else:
            clean = True
        yield text[start:stop], clean
        if not clean and not on:
            return
        start = stop
