"""Filters: conditions on metadata, all of which a document must meet. Each store puts them in its own language.

    {"lang": "en", "year": {"gte": 2020, "lt": 2025}, "kind": {"in": ["faq", "guide"]}, "draft": {"ne": true}}

A string is compared with strings only, a number with numbers, true and false with themselves; a document without the
field, or with a value of another type, does not meet a condition on it, `ne` included.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from upsize.errors import InvalidInput

Operator = Literal["eq", "ne", "in", "gt", "gte", "lt", "lte"]
OPERATORS: tuple[Operator, ...] = get_args(Operator)
ORDERED = ("gt", "gte", "lt", "lte")

Scalar = str | float | bool


@dataclass(frozen=True)
class Condition:
    """One condition on one field."""

    field: str
    operator: Operator
    values: tuple[Scalar, ...]
    """Of one type: one value, or of `in` at least one."""

    @property
    def type(self) -> type:
        """str, float or bool."""
        return type(self.values[0])


Filter = tuple[Condition, ...]


def parse_filter(asked: Mapping[str, Any] | None) -> Filter:
    """The conditions of a JSON object; InvalidInput names the field."""
    conditions: list[Condition] = []
    for name, wanted in (asked or {}).items():
        pairs = wanted.items() if isinstance(wanted, Mapping) else [("eq", wanted)]
        if not pairs:
            raise InvalidInput(f"filter.{name}: no condition in it.", param="filter")
        conditions += [_condition(name, operator, value) for operator, value in pairs]
    return tuple(conditions)


def _condition(name: str, operator: str, value: Any) -> Condition:
    if operator not in OPERATORS:
        raise InvalidInput(f"filter.{name}.{operator}: use one of {', '.join(OPERATORS)}.", param="filter")
    if operator == "in" and not (isinstance(value, list) and value):
        raise InvalidInput(f"filter.{name}.in is {value!r}; give a list of values.", param="filter")
    values = tuple(_scalar(name, v) for v in (value if operator == "in" else [value]))
    if len({type(v) for v in values}) > 1:
        raise InvalidInput(f"filter.{name}.in mixes types; give strings, or numbers.", param="filter")
    if operator in ORDERED and isinstance(values[0], bool):
        raise InvalidInput(
            f"filter.{name}.{operator} is {value!r}; there is no order of true and false.", param="filter"
        )
    return Condition(name, operator, values)


def _scalar(name: str, value: Any) -> Scalar:
    if isinstance(value, bool | str):
        return value
    if isinstance(value, int | float):
        return float(value)
    raise InvalidInput(f"filter.{name} is {value!r}; give a string, a number, true or false.", param="filter")


def scalars(metadata: Mapping[str, Any]) -> dict[str, Scalar]:
    """What of a document's metadata can be filtered by: its strings, numbers (as floats) and truth values."""
    return {
        name: value if isinstance(value, bool | str) else float(value)
        for name, value in metadata.items()
        if isinstance(value, bool | str | int | float)
    }
