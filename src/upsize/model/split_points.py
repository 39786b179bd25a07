"""Borders: places where a text can be cut so that the ids of its parts are the ids of the whole.

They hold for the split of Qwen2's tokenizer, after NFC normalisation, with a BPE that stays within a pre-token. The
pattern looks ahead only behind white space and never looks behind, so a place is a border if no match can reach across
it, whatever stands farther away:

- a space after what is no white space: only the first character of a match may be a space;
- a digit after what is no white space, and any character after a digit: a digit is a match of its own;
- after a line break, if no white space follows: a run of white space ends with its last line break;
- punctuation after a letter: a run of letters ends there. (Not that which stands in added tokens: <|im_start|>.)

The character behind a border never composes with what is before it (NFC), so the parts normalise as the whole does.
The classes below hold only characters whose category no Unicode version has changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""The published pre-tokenizer's pattern: the borders are those of this one alone."""

PIECE = 1 << 14
"""Characters from which on a text is cut at its next border. Pieces of one text are encoded in parallel."""

_SOLID = (
    "!-~\u00a1-\u167f\u1681-\u180d\u2010-\u2027\u2030-\u205e\u2070-\u2fff\u3001-\ud7ff\uf900-\ufefe\uff00-\ufffd"
    "\U00010000-\U0010ffff"
)
"""No white space, and no control character."""
_LETTER = "A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u0410-\u044f\u3041-\u3096\u30a1-\u30fa\u4e00-\u9fa5\uac00-\ud7a3"
_PUNCTUATION = "!\"'(),.:;?\u3001\u3002\u300a-\u300f\uff01\uff08\uff09\uff0c\uff1a\uff1b\uff1f"
_AFTER_BREAK = f"!-~{_LETTER}"

BORDER = re.compile(
    f"(?<=[{_SOLID}])(?=[ 0-9])|(?<=[0-9])(?=[!-~])|(?<=\n)(?=[{_AFTER_BREAK}])|(?<=[{_LETTER}])(?=[{_PUNCTUATION}])"
)
"""Matches nothing, at a border."""


def next_border(text: str, start: int, reach: int) -> int | None:
    """The first border at `start` or up to `reach` characters behind it; None where there is none."""
    found = BORDER.search(text, start, min(start + reach + 1, len(text)))
    return found.start() if found else None


def last_border(text: str, end: int, reach: int) -> int | None:
    """The last border at `end` or up to `reach` characters before it; None where there is none."""
    floor, width = max(end - reach, 0), 256
    while end > floor:
        low = max(end - width, floor)
        places = [found.start() for found in BORDER.finditer(text, low, min(end + 1, len(text)))]
        if places:
            return places[-1]
        end, width = low, width * 2
    return None


def pieces(text: str, reach: int, *, backward: bool = False, on: bool = False) -> Iterator[tuple[str, bool]]:
    """The text in parts of PIECE characters and a little more, first to last, or last to first.

    With each part: whether it ends at borders. One that does not is `reach` characters long, cut where no border is
    near, and the last that is given of its text, unless it goes `on`.
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
