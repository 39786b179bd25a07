"""Exact numbers for stores that compare 64-bit floats: each number is the sum of two floats."""

from __future__ import annotations

import math

Number = int | float

EXACT = 1 << 53
"""Every whole number below this size is a float, so its second part is 0."""
LEAST, MOST = -(1 << 63), (1 << 64) - 1
"""Range of whole numbers in metadata and filters: that of the journal's format."""


def split(value: Number) -> tuple[float, float]:
    """(high, low): the largest float that is not above the value, and the rest, 0 or more.

    Pairs are ordered as the numbers are, and equal numbers give equal pairs: 1 and 1.0, 0.0 and -0.0.
    """
    high = float(value) + 0.0  # -0.0 becomes 0.0
    if high > value:  # Python compares a whole number with a float exactly
        high = math.nextafter(high, -math.inf)
    return high, float(value - int(high)) if isinstance(value, int) else 0.0


def exact(value: Number) -> Number:
    """A float that is a whole number as that number, whose decimal digits are exact."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
