"""The shape of a JSON body, found before anything is built of it: how deep, how many values, how many fields.

What a parser builds of a body can be fifty times its size, and takes the interpreter's lock while it is built. This
looks at the bytes alone, a block at a time, in arrays that need no lock.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from upsize.errors import InvalidInput

MOST_DEPTH = 64
"""Lists and objects within each other. Bodies need 4, metadata of documents a few more."""
MOST_VALUES = 1 << 21
"""Values and names in all, twice the token ids that a request may have by default: some 100 ms and 150 MB to build."""
MOST_LISTS = 1 << 18
"""Lists and objects in all: what is built of one takes ten times what a number takes."""
MOST_FIELDS = 100
"""Of the body itself. The longest that any client sends are of 40."""

_BLOCK = 1 << 20


@dataclass
class JsonShape:
    """Of the bytes seen so far."""

    depth: int = 0
    """The greatest."""
    values: int = 0
    lists: int = 0
    """Objects too."""
    fields: int = 0
    """Of the outermost object."""


def check(body: bytes) -> None:
    """InvalidInput for a body that is too deep or has too many values; of what is no JSON the parser tells."""
    if len(body) <= MOST_VALUES and body.count(b"[") + body.count(b"{") <= MOST_DEPTH:
        return  # most bodies: texts, however long
    shape = measure(body)
    if shape.depth > MOST_DEPTH:
        raise InvalidInput(f"The body nests lists or objects {shape.depth:,} deep; {MOST_DEPTH} is the most.")
    if shape.fields > MOST_FIELDS:
        raise InvalidInput(f"The body has {shape.fields:,} fields; {MOST_FIELDS} is the most.")
    if shape.lists > MOST_LISTS:
        raise InvalidInput(
            f"The body has {shape.lists:,} lists and objects; {MOST_LISTS:,} is the most. Send them in several calls."
        )
    if shape.values > MOST_VALUES:
        raise InvalidInput(
            f"The body has {shape.values:,} values (texts, numbers, lists, fields); {MOST_VALUES:,} is the most. Send "
            "them in several calls."
        )


def measure(body: bytes) -> JsonShape:
    """The shape of a whole body."""
    shape, scan = JsonShape(), _Scan()
    for start in range(0, len(body), _BLOCK):
        scan.block(np.frombuffer(body, np.uint8, min(_BLOCK, len(body) - start), start), shape)
    return shape


_LOOK = np.zeros(256, np.bool_)
_LOOK[list(b'"\\[]{},:')] = True


@dataclass
class _Scan:
    """Where one block ends and the next goes on."""

    inside: bool = False
    """Within a string."""
    escaped: bool = False
    """The first byte stands behind a backslash that is none itself."""
    depth: int = 0

    def block(self, data: NDArray[np.uint8], shape: JsonShape) -> None:
        places = np.flatnonzero(_LOOK[data])
        found = data[places]
        quotes = (found == ord('"')) & ~self._escaped(places, found, len(data))
        outside = ~(np.bitwise_xor.accumulate(quotes) ^ self.inside) if len(found) else quotes
        self.inside ^= bool(np.count_nonzero(quotes) % 2)
        found = found[outside]  # without the quotes that open a string; those that close one count for nothing
        opens, closes = (found == ord("[")) | (found == ord("{")), (found == ord("]")) | (found == ord("}"))
        depth = self.depth + np.cumsum(opens.astype(np.int8) - closes.astype(np.int8), dtype=np.int32)
        if not len(depth):
            return
        self.depth = int(depth[-1])
        colons = found == ord(":")
        shape.depth = max(shape.depth, int(depth.max()))
        shape.values += sum(int(np.count_nonzero(kind)) for kind in (found == ord(","), opens, colons))
        shape.lists += int(np.count_nonzero(opens))
        shape.fields += int(np.count_nonzero(colons & (depth == 1)))

    def _escaped(self, places: NDArray[np.int64], found: NDArray[np.uint8], size: int) -> NDArray[np.bool_]:
        """Which of the places an odd number of backslashes stands before."""
        before, self_escaped = np.zeros(size + 1, np.bool_), self.escaped
        slashes = places[found == ord("\\")]
        self.escaped = False
        if self_escaped:
            before[0] = True
            slashes = slashes[1:] if len(slashes) and slashes[0] == 0 else slashes
        if len(slashes):
            starts = np.flatnonzero(np.diff(slashes, prepend=-2) != 1)
            lengths = np.diff(starts, append=len(slashes))
            before[slashes[starts] + lengths] = lengths % 2 == 1
            self.escaped = bool(before[size])
        return before[places]
