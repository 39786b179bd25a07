"""Filters: conditions on metadata. A document must meet all of them. Each store translates them to its own language.

    {"lang": "en", "year": {"gte": 2020, "lt": 2025}, "kind": {"in": ["faq", "guide"]}, "draft": {"ne": true}}

A string is compared with strings only, a number with numbers, true and false with themselves; a document without the
field, or with a value of another type, does not meet a condition on it, `ne` included. Numbers are compared exactly, as
Python does: 1 equals 1.0, and 2**53 does not equal 2**53 + 1.
"""

from __future__ import annotations

import math
import operator as op
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from upsize.errors import InvalidInput
from upsize.store.numbers import EXACT, LEAST, MOST, Number

Operator = Literal["eq", "ne", "in", "gt", "gte", "lt", "lte"]
OPERATORS: tuple[Operator, ...] = get_args(Operator)
ORDERED = ("gt", "gte", "lt", "lte")

Scalar = str | int | float | bool
Kind = Literal["string", "number", "boolean"]

MOST_CONDITIONS = 64
"""Conditions of one filter. Chosen: stores parse them as nested expressions, whose depth costs stack."""
MOST_VALUES = 4096
"""Values in all `in` lists of one filter. Chosen."""
LONGEST_FIELD = 1024
"""Characters of a field's name."""

_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "ne": op.ne,
    "gt": op.gt,
    "gte": op.ge,
    "lt": op.lt,
    "lte": op.le,
}


@dataclass(frozen=True)
class Condition:
    """One condition on one field."""

    field: str
    operator: Operator
    values: tuple[Scalar, ...]
    """Values of one kind: exactly one, or at least one for `in`."""

    @property
    def kind(self) -> Kind:
        """The kind of its values, and of the values that can meet it."""
        return kind_of(self.values[0])

    @property
    def numbers(self) -> tuple[Number, ...]:
        """Its numeric values."""
        return tuple(v for v in self.values if not isinstance(v, str))

    def met_by(self, value: Any) -> bool:
        """Return whether a document's value meets the condition. `value` is None if the document lacks the field."""
        if not isinstance(value, str | int | float) or kind_of(value) != self.kind:
            return False
        if self.operator in ("eq", "in"):
            return value in self.values
        return _COMPARE[self.operator](value, self.values[0])


Filter = tuple[Condition, ...]


def parse_filter(asked: Mapping[str, Any] | None) -> Filter:
    """Return the conditions of a JSON object. Raises InvalidInput, which names the field."""
    conditions: list[Condition] = []
    for name, wanted in (asked or {}).items():
        if len(name) > LONGEST_FIELD:
            raise InvalidInput(
                f"filter has a field name of {len(name):,} characters; {LONGEST_FIELD:,} at most.", param="filter"
            )
        _require_text(name, "a field's name")
        pairs = wanted.items() if isinstance(wanted, Mapping) else [("eq", wanted)]
        if not pairs:
            raise InvalidInput(f"filter.{name} has no condition.", param="filter")
        if len(conditions) + len(pairs) > MOST_CONDITIONS:
            raise InvalidInput(f"filter has more than {MOST_CONDITIONS} conditions. Ask with fewer.", param="filter")
        conditions += [_condition(name, operator, value) for operator, value in pairs]
    if (values := sum(len(c.values) for c in conditions)) > MOST_VALUES:
        raise InvalidInput(f"filter has {values:,} values; {MOST_VALUES:,} at most.", param="filter")
    return tuple(conditions)


def meets(metadata: Mapping[str, Any], where: Filter) -> bool:
    """Return whether a document with this metadata meets every condition."""
    return all(condition.met_by(metadata.get(condition.field)) for condition in where)


def _condition(name: str, operator: str, value: Any) -> Condition:
    if operator not in OPERATORS:
        raise InvalidInput(f"filter.{name}.{operator[:60]}: use one of {', '.join(OPERATORS)}.", param="filter")
    if operator == "in" and not (isinstance(value, list) and value):
        raise InvalidInput(f"filter.{name}.in is {_described(value)}; give a list of values.", param="filter")
    values = tuple(_scalar(name, v) for v in (value if operator == "in" else [value]))
    if len({kind_of(v) for v in values}) > 1:
        raise InvalidInput(f"filter.{name}.in mixes types; give strings, or numbers.", param="filter")
    if operator in ORDERED and isinstance(values[0], bool):
        raise InvalidInput(
            f"filter.{name}.{operator} is {values[0]!r}; there is no order of true and false.", param="filter"
        )
    return Condition(name, operator, values)


def _scalar(name: str, value: Any) -> Scalar:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        _require_text(value, f"filter.{name}")
        return value
    if isinstance(value, int):
        if LEAST <= value <= MOST:
            return value
        raise InvalidInput(
            f"filter.{name} has a whole number of more than 64 bits, which no document can hold.", param="filter"
        )
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        raise InvalidInput(f"filter.{name} is {value}; give a finite number.", param="filter")
    raise InvalidInput(f"filter.{name} is {_described(value)}; give a string, a number, true or false.", param="filter")


def _require_text(text: str, where: str) -> None:
    """InvalidInput for text that no document can hold and stores cannot keep."""
    if "\0" in text or any("\ud800" <= c <= "\udfff" for c in text):
        raise InvalidInput(
            f"filter: {where} holds a NUL, or half of a surrogate pair, which is not text.", param="filter"
        )


def _described(value: Any) -> str:
    """For a message: of a long or deeply nested value the type alone."""
    if isinstance(value, Mapping | list) and value:
        return "a list" if isinstance(value, list) else "an object"
    text = repr(value)
    return f"{text[:60]}…" if len(text) > 60 else text


def kind_of(value: Scalar) -> Kind:
    """A string, a number, or true and false."""
    if isinstance(value, bool):
        return "boolean"
    return "string" if isinstance(value, str) else "number"


def scalars(metadata: Mapping[str, Any]) -> dict[str, Scalar]:
    """What of a document's metadata can be filtered by: its strings, numbers and truth values."""
    return {name: value for name, value in metadata.items() if isinstance(value, bool | str | int | float)}


def has_large_number(metadata: Mapping[str, Any]) -> bool:
    """Whether a number that can be filtered by takes more than the 53 bits of a float."""
    return any(abs(v) >= EXACT for v in scalars(metadata).values() if not isinstance(v, str))
