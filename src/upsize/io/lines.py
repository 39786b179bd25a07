"""Reads text and JSONL files line by line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TextIO

from upsize.errors import InvalidInput
from upsize.io.encoding import TextEncoding
from upsize.io.jsonline import record_of
from upsize.io.types import END_MARK, LONGEST, TEXT, Record

BLOCK = 1 << 20


def lines_of(file: TextIO, name: str) -> Iterator[str]:
    """Lines without their ends. Only a newline ends a line, since texts may hold other separators; or a carriage
    return, where the first megabyte has no newline. A ^Z at the very end of the file is left out.

    Raises InvalidInput for a line of more than `LONGEST` characters.
    """
    block = file.read(BLOCK)
    end = "\r" if "\n" not in block and "\r" in block else "\n"
    rest, size, number = [""], 0, 0
    while block:
        first, *lines = block.split(end)
        rest.append(first)
        size += len(first)
        if lines:
            for line in ("".join(rest), *lines[:-1]):
                number += 1
                yield line.removesuffix("\r")
            rest, size = [lines[-1]], len(lines[-1])
        if size > LONGEST:
            raise InvalidInput(f"{name}, line {number + 1}: more than {LONGEST:,} characters. Is it a text file?")
        block = file.read(BLOCK)
    if last := "".join(rest).rstrip(END_MARK):
        yield last.removesuffix("\r")


def read_text(file: TextIO, name: str, encoding: TextEncoding) -> Iterator[Record]:
    """A text a line."""
    for number, line in enumerate(lines_of(file, name), 1):
        row_error = encoding.row_error(line)
        yield Record(number, row_error=row_error) if row_error else Record(number, {TEXT: line})


def read_jsonl(file: TextIO, name: str, encoding: TextEncoding) -> Iterator[Record]:
    """A JSON object a line."""
    for number, line in enumerate(lines_of(file, name), 1):
        if row_error := encoding.row_error(line):
            yield Record(number, row_error=row_error)
        elif not line.strip():
            yield Record(number, row_error="an empty line")
        else:
            yield record_of(number, line)
