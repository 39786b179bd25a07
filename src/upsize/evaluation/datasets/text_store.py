"""Texts on disk: a corpus of any size needs memory only for its offsets, 8 bytes a text."""

from __future__ import annotations

import tempfile
import weakref
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

BLOCK = 1024
"""Texts that an iteration reads at a time. Chosen: a few MB at most for ordinary documents."""


class TextStore(Sequence[str]):
    """A sequence of texts in an unnamed temporary file, which is deleted with the object.

    Append all texts first, then read. Indexing reads one text from the file; iterating reads blocks of texts.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the object lives)
        weakref.finalize(self, self._file.close)
        self._ends = array("Q", [0])
        for text in texts:
            self.append(text)

    def append(self, text: str) -> None:
        """Add a text at the end."""
        data = text.encode()
        self._file.seek(self._ends[-1])
        self._file.write(data)
        self._ends.append(self._ends[-1] + len(data))

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        """One text, or a list of some."""
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            return self._block(start, stop) if step == 1 else [self[i] for i in range(start, stop, step)]
        place = range(len(self))[index]
        return self._block(place, place + 1)[0]

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), BLOCK):
            yield from self._block(start, min(start + BLOCK, len(self)))

    def _block(self, start: int, stop: int) -> list[str]:
        if stop <= start:
            return []
        self._file.seek(first := self._ends[start])
        data = self._file.read(self._ends[stop] - first)
        return [data[self._ends[i] - first : self._ends[i + 1] - first].decode() for i in range(start, stop)]
