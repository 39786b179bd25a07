"""The roles of a record's fields, and checks of their values."""

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
"""Role → names of its field. The first name that the file has is taken."""

GREATEST_GRADE = 100_000
"""trec_eval keeps a counter for each grade up to the greatest, so a grade of 2**31 takes minutes and gigabytes."""

NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
"""A number in a text file. `float` would also accept `1_0`, white space and digits of other scripts."""


class BadRow(Exception):
    """A row cannot be used; the message says why."""


def columns_of(table: Source, asked: Mapping[str, str]) -> dict[str, str]:
    """Role → column of the table. Raises InvalidInput for an unknown role and for a missing column."""
    for role, column in asked.items():
        if role not in ROLES:
            raise InvalidInput(f"{role!r} is not a role of a field. Roles: {', '.join(ROLES)}.")
        if column not in table.columns:
            raise InvalidInput(f"{table.name} has no field {column!r}. Fields: {', '.join(table.columns)}.")
    free = set(table.columns) - set(asked.values())
    if "id" not in asked and asked.get("cluster") in ROLES["id"]:  # a cluster for each unit; the field is still its id
        free.add(asked["cluster"])
    found = {role: next((name for name in names if name in free), None) for role, names in ROLES.items()}
    return {role: name for role, name in found.items() if name is not None} | dict(asked)


def text(record: Record, column: str) -> str:
    """A text that is not blank. BadRow for anything else."""
    return _text(repr(column), record.fields.get(column))


def texts(record: Record, column: str | None) -> list[str]:
    """The texts of a field with one text or a list, which CSV holds as JSON. Empty where the field is empty."""
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
    """An id or a label as a string. The field holds a string or a whole number."""
    value = record.fields.get(column)
    if value is None or value == "":
        raise BadRow(f"no {column!r}")
    if isinstance(value, float) and value.is_integer():  # Parquet holds whole numbers as floats where some are missing
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise BadRow(f"{column!r} is {value!r:.40}, neither a string nor a whole number")
    return str(value)


def number(record: Record, column: str) -> float:
    """A finite number. BadRow for anything else."""
    return _number(repr(column), record.fields.get(column))


def grade(record: Record, column: str) -> int:
    """A grade of relevance, which is a whole number. BadRow for anything else."""
    return _grade(repr(column), record.fields.get(column))


def grades(record: Record, column: str) -> list[int]:
    """A list of grades, which CSV holds as JSON. BadRow for anything else."""
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
