"""Figures in HTML. Each carries its exact value in `<data value>`, as it is in the JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from upsize import number_format

NOTHING = Markup('<span title="not measured, or does not apply">{}</span>').format(number_format.MISSING)


@dataclass(frozen=True)
class Row:
    """A row of a table. Cells of type str are escaped."""

    cells: tuple[str, ...]
    css: str = ""


@dataclass(frozen=True)
class TableData:
    """What a template's `table` macro shows."""

    heads: tuple[str, ...]
    rows: tuple[Row, ...]


def number(value: float | None, form: str = "", unit: str = "", by: float = 1.0) -> Markup:
    """`value` / `by`, shown in `form` with its unit; the exact value inside.

    Forms: `.2f` and the like, with or without sign; `,` for whole numbers; `short` for all digits that a value has; by
    default three significant digits.
    """
    if value is None or not math.isfinite(value):
        return NOTHING
    shown = _shown(value if by == 1.0 else value / by, form)
    return Markup('<data value="{}">{}</data>{}').format(repr(value), shown, unit)


def _shown(value: float, form: str) -> str:
    if form == "short":
        return number_format.short(value)
    if form.endswith("f"):
        return number_format.fixed(value, int(form[:-1].rpartition(".")[2]), sign=form.startswith("+"))
    return format(value, form) if form else number_format.plain(value)


def duration(seconds: float | None) -> Markup:
    """Seconds, minutes, hours or days, whichever reads best."""
    if seconds is None:
        return NOTHING
    for unit, size in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return number(seconds, "", f" {unit}", size)
    return number(seconds, "", " s")


def gigabytes(size: float | None) -> Markup:
    """Bytes in GB, or MB below one."""
    if size is None or size >= 1e9:
        return number(size, ".2f", " GB", 1e9)
    return number(size, "", " MB", 1e6)


def interval(estimate: float, lower: float, upper: float | None, form: str = ".3f", unit: str = "") -> Markup:
    """The estimate, and its bounds in small below it. Without an upper bound the text says that there is none."""
    bounds = number_format.bounds(number(lower, form), None if upper is None else number(upper, form))
    return number(estimate, form, unit) + small(Markup(bounds), "range")


def small(text: str, css: str = "") -> Markup:
    """A line in small below a figure."""
    return Markup('<small class="{}">{}</small>' if css else "<small>{1}</small>").format(css, text)


def mapping(values: Any) -> Markup:
    """`name value` pairs, separated by semicolons; numbers are exact."""
    if isinstance(values, Mapping):
        pairs = ((str(k).replace("_", " "), x) for k, x in values.items() if x not in (None, "", [], {}))
        return Markup("; ").join(Markup("{} {}").format(name, mapping(x)) for name, x in pairs)
    if isinstance(values, list | tuple):
        return Markup(", ").join(map(mapping, values))
    if isinstance(values, bool):
        return Markup("yes" if values else "no")
    return number(values) if isinstance(values, int | float) else Markup.escape(str(values))
