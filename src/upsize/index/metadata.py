"""Metadata of a document: its limits, and how it is stored and read.

Metadata is a JSON object. What is written is within the limits below; what an older version stored beyond them is
read all the same, cut at the deepest level that a reply can hold.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import msgspec

DEPTH = 32
"""Levels of objects and lists, the metadata object included. JSON writers give up near 250, parsers near 1,000."""
BYTES = 64 << 10
"""Of one document's metadata as JSON: a search of 1,000 results returns 64 MiB of it at most."""
KEY_BYTES = 256
PLACE = 200
"""Characters of a place that a message names."""
INTEGERS = range(-(1 << 63), 1 << 64)
"""Whole numbers that the journal's MessagePack and the replies' JSON hold exactly."""
OMITTED = f"[omitted: nested deeper than {DEPTH} levels]"
"""Stands in a reply for a stored value that is nested too deeply to be written."""

NUL = "\0"


def metadata_fault(metadata: Mapping[str, Any]) -> str | None:
    """Why this metadata cannot be written, starting with the field ("metadata.lang is …"); None if it can."""
    try:
        size = len(msgspec.json.encode(metadata))
    except RecursionError:
        return _too_deep("metadata")
    except UnicodeEncodeError:
        return "metadata holds half of a surrogate pair, which is not text. Repair the text, or leave the field out."
    except (TypeError, ValueError, OverflowError) as error:
        return f"metadata cannot be written as JSON: {error}. Write dates as strings."
    if size > BYTES:
        return (
            f"metadata takes {size:,} bytes as JSON; {BYTES:,} are kept at most. Leave out what searches do not need."
        )
    left: list[tuple[str, int, Any]] = [("metadata", 1, metadata)]
    while left:
        place, level, value = left.pop()
        if isinstance(value, dict | list) and level > DEPTH:
            return _too_deep(place)
        if isinstance(value, dict):
            for name, inner in value.items():
                if fault := _field_fault(place, name, inner):
                    return fault
                left.append((f"{place}.{name}"[:PLACE], level + 1, inner))
        elif isinstance(value, list):
            left += ((f"{place}[{i}]"[:PLACE], level + 1, inner) for i, inner in enumerate(value))
        elif fault := _value_fault(value):
            return f"{place} {fault}"
    return None


def _too_deep(place: str) -> str:
    return f"{place} is nested deeper than {DEPTH} levels. Flatten it, or send it as a string."


def _field_fault(place: str, name: object, value: object) -> str | None:
    if not isinstance(name, str):
        return f"{place} has a key that is not a string: {name!r:.40}."
    if NUL in name or (isinstance(value, str) and NUL in value):
        return f"{place}.{name[:40]!r} holds a NUL."
    if len(name.encode()) > KEY_BYTES:
        return f"{place} has a key of {len(name.encode()):,} bytes ({name[:40]!r} …); {KEY_BYTES} are kept at most."
    return None


def _value_fault(value: Any) -> str | None:
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, str):
        return "holds a NUL." if NUL in value else None
    if isinstance(value, float):
        return None if math.isfinite(value) else f"is {value}; give a finite number, or leave out NaN."
    if isinstance(value, int):
        return None if value in INTEGERS else "is a whole number of more than 64 bits. Send it as a string."
    return f"is of the type {type(value).__name__}; give a string, a number, true, false, null, a list or an object."


def encode_metadata(metadata: Mapping[str, Any]) -> str:
    """As JSON text. An entry of an older journal may be nested more deeply than Python's writer goes: it is cut."""
    try:
        return json.dumps(metadata, ensure_ascii=False)
    except RecursionError:
        return json.dumps(_cut(metadata, 1), ensure_ascii=False)


def decode_metadata(text: str) -> dict[str, Any]:
    """From JSON text; what is nested too deeply for a reply is replaced by OMITTED."""
    if text.count("{") + text.count("[") <= DEPTH:  # no deeper than that
        value: dict[str, Any] = json.loads(text)
        return value
    try:
        value = json.loads(text)
    except RecursionError:
        return {"metadata": OMITTED}
    cut: dict[str, Any] = _cut(value, 1)
    return cut


def _cut(value: Any, level: int) -> Any:
    """Replace containers below DEPTH; `level` is the nesting level of the value."""
    if not isinstance(value, dict | list):
        return value
    if level > DEPTH:
        return OMITTED
    if isinstance(value, dict):
        return {name: _cut(inner, level + 1) for name, inner in value.items()}
    return [_cut(inner, level + 1) for inner in value]
