"""Lines of text and JSONL files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TextIO

import orjson

from upsize.errors import InvalidInput
from upsize.io.encoding import Encoding
from upsize.io.types import LONGEST, TEXT, Record

BLOCK = 1 << 20
JSON_TYPES = {type(None): "null", bool: "boolean", int: "number", float: "number", str: "string", list: "array"}


def lines_of(file: TextIO, name: str) -> Iterator[str]:
    """Lines without their ends. Only a newline ends a line, since texts may hold other separators; or a carriage
    return, where the first megabyte has no newline.

    Raises InvalidInput for a line of more than `LONGEST` characters.
    """
    block = file.read(BLOCK)
    end = "\r" if "\n" not in block and "\r" in block else "\n"
    rest, number = "", 0
    while block:
        *lines, rest = (rest + block).split(end) if end in block else [rest + block]
        for line in lines:
            number += 1
            yield line.removesuffix("\r")
        if len(rest) > LONGEST:
            raise InvalidInput(f"{name}, line {number + 1}: more than {LONGEST:,} characters. Is it a text file?")
        block = file.read(BLOCK)
    if rest:
        yield rest.removesuffix("\r")


def read_text(file: TextIO, name: str, encoding: Encoding) -> Iterator[Record]:
    """A text a line."""
    for number, line in enumerate(lines_of(file, name), 1):
        fault = encoding.fault(line)
        yield Record(number, fault=fault) if fault else Record(number, {TEXT: line})


def read_jsonl(file: TextIO, name: str, encoding: Encoding) -> Iterator[Record]:
    """A JSON object a line."""
    for number, line in enumerate(lines_of(file, name), 1):
        if fault := encoding.fault(line):
            yield Record(number, fault=fault)
        elif not line.strip():
            yield Record(number, fault="an empty line")
        else:
            yield _object(number, line)


def _object(number: int, line: str) -> Record:
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return Record(number, fault=f"broken JSON ({error.msg} at character {error.pos + 1})")
    if isinstance(value, dict):
        return Record(number, value)
    return Record(number, fault=f"a JSON {JSON_TYPES[type(value)]}, not an object")
