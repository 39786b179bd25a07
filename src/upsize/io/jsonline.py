"""One line of JSONL as an object in which every key is there once.

Of a key that is there twice, parsers take the last value without a word. So does orjson, which is fast; whether it did
is told by how many keys a line has, and the slow parser then names the key.
"""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

from upsize.io.types import Record

TYPES = {type(None): "null", bool: "boolean", int: "number", float: "number", str: "string", list: "array"}
_KEY_END = re.compile(r'"[ \t\n\r]*:')
"""Ends every key, and may stand within a text too."""
_SHOWN = 80


class RepeatedKey(ValueError):
    """A key that an object holds twice."""


def record_of(number: int, line: str) -> Record:
    """Return the record of a line, or its row error."""
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return Record(number, row_error=f"broken JSON ({error.msg} at character {error.pos + 1})")
    if not isinstance(value, dict):
        return Record(number, row_error=f"a JSON {TYPES[type(value)]}, not an object")
    try:
        key = repeated_key(line, value)
    except RecursionError:
        return Record(number, row_error="objects or lists nested too deeply")
    if key is not None:
        return Record(number, row_error=f"the key {key!r:.{_SHOWN}} is there twice")
    return Record(number, value)


def repeated_key(text: str, value: Any) -> str | None:
    """A key that one of the objects in a JSON text holds twice, None if there is none. `value` is what the text
    says. RecursionError for one of very many levels."""
    if len(_KEY_END.findall(text)) == _keys_of(value):
        return None
    try:
        json.loads(text, object_pairs_hook=_once, parse_int=str, parse_float=str)
    except RepeatedKey as repeated:
        return str(repeated)
    return None


def _once(pairs: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise RepeatedKey(key)
        seen.add(key)


def _keys_of(value: Any) -> int:
    """Keys of all objects within."""
    count, left = 0, [value]
    while left:
        inner = left.pop()
        if isinstance(inner, dict):
            count += len(inner)
            left += [v for v in inner.values() if isinstance(v, dict | list)]
        elif inner and isinstance(inner, list) and not isinstance(inner[0], int | float | str):
            left += [v for v in inner if isinstance(v, dict | list)]
    return count
