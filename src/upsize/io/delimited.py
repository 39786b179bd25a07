"""Reads CSV and TSV files: the header, then one record per row."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from typing import TextIO

from upsize.errors import InvalidInput
from upsize.io.dialect import Dialect
from upsize.io.encoding import TextEncoding
from upsize.io.types import END_MARK, LONGEST, Record


class DelimitedReader:
    """Reads the rows of an open file after its header."""

    def __init__(self, file: TextIO, name: str, dialect: Dialect, encoding: TextEncoding) -> None:
        """Read the header. Raises InvalidInput if it is invalid."""
        csv.field_size_limit(LONGEST)  # the module's own limit is 128 KiB, and texts may be longer
        self._skipped = dialect.skip
        lines = _lines(file, name)
        for _ in range(dialect.skip):
            next(lines, "")
        self._encoding = encoding
        self._reader = csv.reader(lines, **dialect.options())
        self.header = self._header(name)

    def __iter__(self) -> Iterator[Record]:
        while True:
            line = self._line + 1
            try:
                values = next(self._reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield Record(line, row_error=f"broken CSV ({error})")
                continue
            row_error = self._row_error(values)
            fields = {} if row_error else dict(zip(self.header, values, strict=True))
            yield Record(line, fields, row_error)

    @property
    def _line(self) -> int:
        return self._skipped + self._reader.line_num

    def _row_error(self, values: list[str]) -> str | None:
        if not values:
            return "an empty line"
        if row_error := next((f for value in values if (f := self._encoding.row_error(value))), None):
            return row_error
        if len(values) == len(self.header):
            return None
        hint = "" if len(self.header) > 1 else " (a text with commas needs quotes; or say --format text)"
        return f"{len(values)} fields where the header has {len(self.header)}{hint}"

    def _header(self, name: str) -> list[str]:
        header: list[str] = []
        line = self._line + 1
        try:
            while not header:
                line = self._line + 1
                header = [column.strip() for column in next(self._reader)]
        except StopIteration:
            return []
        except csv.Error as error:
            raise InvalidInput(f"{name}, line {line}: a broken CSV header ({error}).") from None
        if row_error := next((f for column in header if (f := self._encoding.row_error(column))), None):
            raise InvalidInput(f"{name}, line {line}: the header is {row_error}. Say its encoding with --encoding.")
        times = Counter(header)
        if twice := next((column for column, count in times.items() if column and count > 1), None):
            raise InvalidInput(
                f"{name}, line {line}: two columns of one name, {twice!r}. Header: {', '.join(header[:20])}."
            )
        if times[""] > 1:
            raise InvalidInput(f"{name}, line {line}: {times['']} columns of the header have no name. Name them.")
        return header


def _lines(file: TextIO, name: str) -> Iterator[str]:
    """Yield lines with their ends, for `csv.reader`, without a ^Z at the very end of the file.

    Raises InvalidInput for a line of more than `LONGEST` characters.
    """
    number = 0
    line = file.readline(LONGEST + 1)
    while line:
        number += 1
        if len(line) > LONGEST:
            raise InvalidInput(f"{name}, line {number}: more than {LONGEST:,} characters. Is it a text file?")
        following = file.readline(LONGEST + 1)
        if not following:
            line = line.rstrip(END_MARK)
        if line:
            yield line
        line = following
