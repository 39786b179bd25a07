"""Reads a filter on the command line: JSON, with a suggestion for anything else."""

from __future__ import annotations

import ast
import json
import re
from typing import Any

from upsize.errors import InvalidInput

EXAMPLE = {"lang": "en", "year": {"gte": 2020}}
OPERATORS = {">=": "gte", "<=": "lte", ">": "gt", "<": "lt"}
_PAIR = re.compile(r"""\s*["']?([\w.-]+)["']?\s*(>=|<=|==|=|:|>|<)\s*(.+?)\s*""")


def filter_of(text: str) -> dict[str, Any]:
    """Return the condition on metadata. Raises InvalidInput, with a suggestion, unless the text is a JSON object."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = f"not JSON: {error}"
    else:
        if isinstance(value, dict):
            return value
        reason = "not a JSON object"
    meant = _meant(text) or EXAMPLE
    raise InvalidInput(f"--filter is {reason}. Write it so: --filter '{json.dumps(meant, ensure_ascii=False)}'")


def compares_numbers(condition: dict[str, Any]) -> bool:
    """Return whether any field of the condition is compared with a number, alone, in a range or in a list."""
    return any(_has_number(wanted) for wanted in condition.values())


def _has_number(wanted: object) -> bool:
    values = wanted.values() if isinstance(wanted, dict) else [wanted]
    listed = [v for value in values for v in (value if isinstance(value, list) else [value])]
    return any(isinstance(value, int | float) and not isinstance(value, bool) for value in listed)


def _meant(text: str) -> dict[str, Any] | None:
    """`lang=en`, `year>=2020,lang=en`, `{lang: en}` and Python's `{'lang': 'en'}` as JSON; None if none of these."""
    if len(text) > 1000:
        return None
    try:
        value = ast.literal_eval(text.strip())
        if isinstance(value, dict) and json.dumps(value):
            return value
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        pass
    meant: dict[str, Any] = {}
    for part in re.split(r",|\s+and\s+|&&?", text.strip().removeprefix("{").removesuffix("}")):
        if not (pair := _PAIR.fullmatch(part)):
            return None
        name, operator, operand = pair[1], OPERATORS.get(pair[2]), _scalar(pair[3])
        meant[name] = operand if operator is None else {**meant.get(name, {}), operator: operand}
    return meant


def _scalar(text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return text.strip("\"'")
    return value if isinstance(value, str | int | float) else text
