"""Numbers as text for people: plain digits with commas, never an exponent. Pure functions."""

from __future__ import annotations

import math
import unicodedata

MISSING = "–"
"""Text for a value that was not measured or is NaN."""
FINEST = 12
"""Most decimals. A smaller value is shown as `less than` the smallest number with this many."""


def plain(value: float | None, digits: int = 3) -> str:
    """Format with `digits` significant digits, or all digits before the point: 1,304; 12; 0.000013; 0.500."""
    if value is None or math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if value == 0:
        return "0"
    if abs(value) >= 10 ** (digits - 1) or float(value).is_integer():
        return fixed(value, 0)
    decimals = digits - 1 - math.floor(math.log10(abs(value)))
    if abs(float(f"{value:.{decimals}f}")) >= 10 ** (digits - 1 - decimals + 1):  # 0.9996 is 1.00, not 1.000
        decimals -= 1
    if decimals > FINEST:
        least = f"{10.0**-FINEST:.{FINEST}f}"
        return f"less than {least}" if 0 < value < 10.0**-FINEST else "0"
    return fixed(value, decimals)


def short(value: float | None, digits: int = 10) -> str:
    """Format without trailing zeros, with at most `digits` significant digits: 0.01, 300, 0.00001, 2.5."""
    if value is None or not math.isfinite(value) or value == 0:
        return plain(value)
    decimals = min(max(digits - 1 - math.floor(math.log10(abs(value))), 0), FINEST)
    text = fixed(value, decimals)
    return text.rstrip("0").rstrip(".") if "." in text else text


def fixed(value: float, decimals: int, sign: bool = False) -> str:
    """Format with `decimals` decimals and commas between thousands. A zero has no sign."""
    if not math.isfinite(value):
        return plain(value)
    text = f"{value:+,.{decimals}f}" if sign else f"{value:,.{decimals}f}"
    return text if any(c in "123456789" for c in text) else text.lstrip("+-")


def bounds(lower: str, upper: str | None) -> str:
    """Format an interval; without an upper bound: `at least`."""
    return f"at least {lower}" if upper is None else f"{lower} to {upper}"


def cells(text: str) -> int:
    """Return the columns of a text on a terminal: 2 for a wide East Asian character, 0 for a combining mark, else 1."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
