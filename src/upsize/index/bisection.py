"""Bisection: a text that cannot be embedded does not prevent the others; a failed batch is tried again in halves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from upsize.errors import InvalidInput, NonFiniteVector, OutOfMemory, RequestTooLarge, UpsizeError

CANNOT = (InvalidInput, NonFiniteVector, OutOfMemory)
"""Errors that one text causes, whenever it is embedded."""

T = TypeVar("T")
V = TypeVar("V")


def each(
    compute: Callable[[Sequence[T]], Sequence[V]], items: Sequence[T], *, together: bool = False
) -> list[V | UpsizeError]:
    """The result of `compute` for every item, or the error of an item that it cannot compute.

    `compute` is called with all items, and with halves where it raises CANNOT, down to the item at fault: 2 log₂ n
    calls for one bad item of n. Other errors are raised. `together` also raises RequestTooLarge, because the parts
    would cost as much as the whole.
    """
    if not items:
        return []
    try:
        return list(compute(items))
    except CANNOT as error:
        if together and isinstance(error, RequestTooLarge):
            raise
        if len(items) == 1:
            return [error]
    half = len(items) // 2
    return each(compute, items[:half]) + each(compute, items[half:])
