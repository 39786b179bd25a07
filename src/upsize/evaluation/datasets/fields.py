"""Which field of a record is what, and whether its value can be used."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import orjson

from upsize.errors import InvalidInput
from upsize.io import Record, Source

ROLES: dict[str, tuple[str, ...]] = {
    "id": ("id", "_id"),
    "query": ("query", "question"),
    "positives": ("positives", "positive", "pos"),
    "negatives": ("negatives", "negative", "neg"),
    "documents": ("documents",),
    "relevance": ("relevance",),
    "text": ("text", "title", "sentence"),
    "label": ("label", "category"),
    "text1": ("text1", "sentence1"),
    "text2": ("text2", "sentence2"),
    "score": ("score", "similarity", "label"),
    "text_a": ("text_a",),
    "text_b": ("text_b",),
    "split": ("split",),
    "language": ("language", "lang"),
    "cluster": ("cluster", "user", "document"),
}
"""What a field can be → the names under which it is looked for, the first that is there being taken."""

GREATEST_GRADE = 100_000
"""trec_eval counts the documents of each grade up to the greatest: one of 2**31 takes it minutes and gigabytes."""

NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
"""In text. Python's own reading takes `1_0` for 10, white space and the digits of other scripts."""


class BadRow(Exception):
    """Why a row cannot be used."""


def columns_of(table: Source, asked: Mapping[str, str]) -> dict[str, str]:
    """Role → column of the table. Raises InvalidInput for a role that is none, and for a column that is not there."""
    for role, column in asked.items():
        if role not in ROLES:
            raise InvalidInput(f"{role!r} is no role of a field. Roles: {', '.join(ROLES)}.")
        if column not in table.columns:
            raise InvalidInput(f"{table.name} has no field {column!r}. Fields: {', '.join(table.columns)}.")
    free = set(table.columns) - set(asked.values())
    if "id" not in asked and asked.get("cluster") in ROLES["id"]:  # each unit by itself: its id is still its id
        free.add(asked["cluster"])
    found = {role: next((name for name in names if name in free), None) for role, names in ROLES.items()}
    return {role: name for role, name in found.items() if name is not None} | dict(asked)


def text(record: Record, column: str) -> str:
    """A text that says something."""
    return _text(repr(column), record.fields.get(column))


def texts(record: Record, column: str | None) -> list[str]:
    """A text or a list of them; in CSV a list is written as JSON. None where there is nothing in the field."""
    value = record.fields.get(column) if column else None
    if value is None or value == "":
        return []
    if isinstance(value, str) and value.startswith("["):
        with suppress(orjson.JSONDecodeError):
            parsed = orjson.loads(value)
            value = parsed if all(isinstance(item, str) for item in parsed) else value
    if isinstance(value, list):
        return [_text(f"{column}[{i}]", item) for i, item in enumerate(value)]
    return [_text(repr(column), value)]


def name(record: Record, column: str) -> str:
    """An id or a label: a string or a whole number, as a string."""
    value = record.fields.get(column)
    if value is None or value == "":
        raise BadRow(f"no {column!r}")
    if isinstance(value, float) and value.is_integer():  # whole numbers beside missing ones in a Parquet file
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise BadRow(f"{column!r} is {value!r:.40}, neither a string nor a whole number")
    return str(value)


def number(record: Record, column: str) -> float:
    """A finite number."""
    return _number(repr(column), record.fields.get(column))


def grade(record: Record, column: str) -> int:
    """A grade of relevance: a whole number."""
    return _grade(repr(column), record.fields.get(column))


def grades(record: Record, column: str) -> list[int]:
    """A list of grades; in CSV written as JSON."""
    value = record.fields.get(column)
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            raise BadRow(f"{column!r} is {value!r:.40}, not a list of grades") from None
    if not isinstance(value, list):
        raise BadRow(f"{column!r} is {value!r:.40}, not a list of grades")
    return [_grade(f"{column}[{i}]", item) for i, item in enumerate(value)]


def _text(what: str, value: Any) -> str:
    if value is None:
        raise BadRow(f"no {what}")
    if not isinstance(value, str):
        raise BadRow(f"{what} is {'a list' if isinstance(value, list) else f'{value!r:.40}'}, not a text")
    if not value.strip():
        raise BadRow(f"{what} is an empty text")
    return value


def _number(what: str, value: Any) -> float:
    try:
        if isinstance(value, str) and not NUMBER.fullmatch(value):
            raise ValueError
        result = float(value)
    except (TypeError, ValueError):
        result = math.nan
    if not math.isfinite(result):
        raise BadRow(f"{what} is {value!r:.40}, not a number")
    return result


def _grade(what: str, value: Any) -> int:
    result = _number(what, value)
    if not result.is_integer():
        raise BadRow(f"{what} is {value!r:.40}, not a whole number")
    if abs(result) > GREATEST_GRADE:
        raise BadRow(f"{what} is {value!r:.40}; grades of relevance go to {GREATEST_GRADE:,} at most, better to 3")
    return int(result)
