"""Filters as LanceDB's SQL, and metadata in the form that the SQL reads."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from upsize.store.filters import Condition, Filter, Kind, kind_of, scalars
from upsize.store.numbers import EXACT, split

_PREFIX: Mapping[Kind, str] = {"string": "s.", "number": "n.", "boolean": "b."}
_LOW = "l."
"""Prefix of the name of a number's second part, which is stored unless it is 0. See numbers.split."""
_READ: Mapping[Kind, str] = {"string": "json_get_string", "number": "json_get_float", "boolean": "json_get_bool"}
_SQL = {"eq": "=", "ne": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


def typed(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Each field under a name that tells its type: reading a string as a number would be an error, not no match."""
    result: dict[str, Any] = {}
    for name, value in scalars(metadata).items():
        if isinstance(value, str | bool):
            result[_PREFIX[kind_of(value)] + name] = value
            continue
        result[_PREFIX["number"] + name], low = split(value)
        if low:
            result[_LOW + name] = low
    return result


def _sql(condition: Condition) -> str:
    read = f"{_READ[condition.kind]}(metadata, {_quoted(_PREFIX[condition.kind] + condition.field)})"
    if condition.kind == "number":
        low = f"coalesce({_READ['number']}(metadata, {_quoted(_LOW + condition.field)}), 0.0)"
        return _number(read, low, condition)
    values = [_quoted(v) if isinstance(v, str) else str(v).lower() for v in condition.values]
    if condition.operator == "in":
        return f"{read} IN ({', '.join(values)})"
    return f"{read} {_SQL[condition.operator]} {values[0]}"


def where_sql(where: Filter) -> str:
    """Return the SQL condition of a filter; empty for an empty filter."""
    return " AND ".join(map(_sql, where))


def _number(high: str, low: str, condition: Condition) -> str:
    """A condition on both parts of a number. Below numbers.EXACT the first alone decides."""
    if condition.operator == "in":
        # By their second parts, of which there are few: each value as a term of its own takes seconds to plan.
        groups: dict[float, list[str]] = defaultdict(list)
        for first, second in map(split, condition.numbers):
            groups[second].append(repr(first))
        return _any([f"({high} IN ({', '.join(firsts)}) AND {low} = {second!r})" for second, firsts in groups.items()])
    (value,) = condition.numbers
    first, second = split(value)
    compare = _SQL[condition.operator]
    if abs(value) < EXACT:
        return f"{high} {compare} {first!r}"
    if condition.operator == "eq":
        return f"({high} = {first!r} AND {low} = {second!r})"
    outside = "<>" if condition.operator == "ne" else compare[0]
    return f"({high} {outside} {first!r} OR ({high} = {first!r} AND {low} {compare} {second!r}))"


def _any(parts: Sequence[str]) -> str:
    """Join conditions by OR as a balanced tree: the parser nests a chain once per condition."""
    if len(parts) == 1:
        return parts[0]
    half = len(parts) // 2
    return f"({_any(parts[:half])} OR {_any(parts[half:])})"


def one_of(column: str, ids: Sequence[str]) -> str:
    """Return the SQL condition that a column holds one of these ids."""
    return f"{column} IN ({', '.join(map(_quoted, ids))})"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
