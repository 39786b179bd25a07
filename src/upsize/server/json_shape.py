"""The shape of a JSON body, found before it is decoded: its depth, and its numbers of values, lists and fields.

The objects of a decoded body can take fifty times its size, and decoding holds the interpreter's lock. This module only
reads the bytes, a block at a time, with numpy operations that release the lock.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from upsize.errors import InvalidInput

MAX_DEPTH = 64
"""Nested lists and objects. Bodies need 4 levels, metadata of documents a few more."""
MAX_VALUES = 1 << 21
"""Values and field names in all: twice the default limit of token ids in a request. So many take some 100 ms and
150 MB to decode."""
MAX_LISTS = 1 << 18
"""Lists and objects in all. One takes ten times the memory of a number."""
MAX_FIELDS = 100
"""Fields of the body itself. No client is known to send more than 40."""

BLOCK_BYTES = 1 << 20


@dataclass
class JsonShape:
    """The shape of the bytes that were scanned so far."""

    depth: int = 0
    """The greatest depth."""
    values: int = 0
    lists: int = 0
    """Lists and objects."""
    fields: int = 0
    """Fields of the outermost object."""


def check(body: bytes) -> None:
    """Raise InvalidInput for a body that nests too deep or has too many values. The decoder finds invalid JSON."""
    if len(body) <= MAX_VALUES and body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return  # the body of most requests: a few texts
    shape = measure(body)
    if shape.depth > MAX_DEPTH:
        raise InvalidInput(f"The body nests lists or objects {shape.depth:,} deep; {MAX_DEPTH} is the most.")
    if shape.fields > MAX_FIELDS:
        raise InvalidInput(f"The body has {shape.fields:,} fields; {MAX_FIELDS} is the most.")
    if shape.lists > MAX_LISTS:
        raise InvalidInput(
            f"The body has {shape.lists:,} lists and objects; {MAX_LISTS:,} is the most. Send them in several calls."
        )
    if shape.values > MAX_VALUES:
        raise InvalidInput(
            f"The body has {shape.values:,} values (texts, numbers, lists, fields); {MAX_VALUES:,} is the most. Send "
            "them in several calls."
        )


def measure(body: bytes) -> JsonShape:
    """The shape of a whole body."""
    shape, scan = JsonShape(), _Scanner()
    for start in range(0, len(body), BLOCK_BYTES):
        scan.block(np.frombuffer(body, np.uint8, min(BLOCK_BYTES, len(body) - start), start), shape)
    return shape


_STRUCTURAL = np.zeros(256, np.bool_)
_STRUCTURAL[list(b'"\\[]{},:')] = True


@dataclass
class _Scanner:
    """The state of the scan between two blocks."""

    in_string: bool = False
    escaped: bool = False
    """Whether the next byte is escaped by a backslash."""
    depth: int = 0

    def block(self, data: NDArray[np.uint8], shape: JsonShape) -> None:
        positions = np.flatnonzero(_STRUCTURAL[data])
        found = data[positions]
        quotes = (found == ord('"')) & ~self._escaped(positions, found, len(data))
        outside = ~(np.bitwise_xor.accumulate(quotes) ^ self.in_string) if len(found) else quotes
        self.in_string ^= bool(np.count_nonzero(quotes) % 2)
        found = found[outside]  # structural bytes outside strings
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

    def _escaped(self, positions: NDArray[np.int64], found: NDArray[np.uint8], size: int) -> NDArray[np.bool_]:
        """Which positions follow an odd number of backslashes."""
        before, self_escaped = np.zeros(size + 1, np.bool_), self.escaped
        slashes = positions[found == ord("\\")]
        self.escaped = False
        if self_escaped:
            before[0] = True
            slashes = slashes[1:] if len(slashes) and slashes[0] == 0 else slashes
        if len(slashes):
            starts = np.flatnonzero(np.diff(slashes, prepend=-2) != 1)
            lengths = np.diff(starts, append=len(slashes))
            before[slashes[starts] + lengths] = lengths % 2 == 1
            self.escaped = bool(before[size])
        return before[positions]
