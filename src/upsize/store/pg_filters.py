"""Filters as SQL on a jsonb column."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb

from upsize.store.filters import ORDERED, Condition, Filter, Kind, Scalar, scalars
from upsize.store.numbers import exact

_SQL = {"ne": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_READ: Mapping[Kind, str] = {
    "string": "metadata->>%s",
    "number": "(metadata->%s)::numeric",
    "boolean": "(metadata->%s)::bool",
}
_ARRAY: Mapping[Kind, str] = {"string": "text", "number": "numeric", "boolean": "bool"}
ALTERNATIVES = 32
"""Values of an `in` list up to which each becomes a containment test, which the index on metadata answers. Chosen."""


def where_clause(conditions: Filter) -> tuple[sql.Composed, list[Any]]:
    """Return the WHERE clause and its parameters."""
    parts, values = [], []
    for condition in conditions:
        part, more = _condition(condition)
        parts.append(part)
        values += more
    if not parts:
        return sql.SQL("{}").format(sql.SQL("")), []
    return sql.SQL("WHERE {}").format(sql.SQL(" AND ").join(parts)), values


def _condition(condition: Condition) -> tuple[sql.SQL, list[Any]]:
    """Equality as containment, which an index on metadata answers; the rest by CASE, since AND may look at its right
    side first. jsonb's numbers are decimal, and compared exactly."""
    field, kind, values = condition.field, condition.kind, [_decimal(v) for v in condition.values]
    if condition.operator in ("eq", "in") and len(values) <= ALTERNATIVES:
        within = " OR ".join(["metadata @> %s"] * len(values))
        return sql.SQL(f"({within})"), [_json({field: value}) for value in condition.values]
    read = f'({_READ[kind]}) COLLATE "C"' if kind == "string" and condition.operator in ORDERED else _READ[kind]
    if condition.operator == "in":
        compare, wanted = f"= ANY(%s::{_ARRAY[kind]}[])", values
    else:
        compare, wanted = f"{_SQL[condition.operator]} %s::{_ARRAY[kind]}", values[0]
    text = f"CASE WHEN jsonb_typeof(metadata->%s) = '{kind}' THEN {read} {compare} ELSE false END"
    return sql.SQL(text), [field, field, wanted]


def _decimal(value: Scalar) -> Any:
    """A number as its decimal digits: those of a whole number exactly, of another float the shortest that mean it,
    which are ordered as the floats are."""
    return value if isinstance(value, str | bool) else Decimal(repr(exact(value)))


def to_jsonb(metadata: Mapping[str, Any]) -> Jsonb:
    """Return the part of a document's metadata that filters can read, as jsonb."""
    return _json(scalars(metadata))


def _json(metadata: Mapping[str, Scalar]) -> Jsonb:
    return Jsonb({name: v if isinstance(v, str | bool) else exact(v) for name, v in metadata.items()})
