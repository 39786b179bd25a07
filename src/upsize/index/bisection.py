"""One bad text keeps no other from its vector: what fails together is tried in halves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from upsize.errors import InvalidInput, NonFiniteVector, OutOfMemory, RequestTooLarge, UpsizeError

CANNOT = (InvalidInput, NonFiniteVector, OutOfMemory)
"""What a text's own embedding may fail with, however often it is tried."""

T = TypeVar("T")
V = TypeVar("V")


def each(
    compute: Callable[[Sequence[T]], Sequence[V]], items: Sequence[T], *, together: bool = False
) -> list[V | UpsizeError]:
    """What `compute` gives for every item, or of one that it cannot take the error.

    `compute` is called with all of them, and where it raises CANNOT with halves, down to the one item whose fault it
    is: 2 log₂ n calls for one bad item of n. Other errors are raised, and `together` RequestTooLarge: in parts it would
    cost as much.
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
