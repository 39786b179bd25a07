"""Numbers and tables in HTML. Every figure carries its exact value in `<data value>`, as it stands in the JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

from upsize import number_format as figures

NOTHING = f'<span title="not measured, or does not apply">{figures.MISSING}</span>'


def number(value: float | None, form: str = "", unit: str = "", by: float = 1.0) -> str:
    """`value` / `by`, shown in `form` with its unit; the exact value inside. Forms: `.2f` and the like, with or without
    sign; `,` for whole numbers; `short` for all digits that a value has; by default three significant digits."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return f'<data value="{value!r}">{_shown(value if by == 1.0 else value / by, form)}</data>{escape(unit)}'


def _shown(value: float, form: str) -> str:
    if form == "short":
        return figures.short(value)
    if form.endswith("f"):
        return figures.fixed(value, int(form[:-1].rpartition(".")[2]), sign=form.startswith("+"))
    return format(value, form) if form else figures.plain(value)


def duration(seconds: float | None) -> str:
    """Seconds, minutes, hours or days, whichever reads best."""
    if seconds is None:
        return NOTHING
    for unit, size in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return number(seconds, "", f" {unit}", size)
    return number(seconds, "", " s")


def gigabytes(size: float | None) -> str:
    """Bytes in GB, or MB below one."""
    if size is None or size >= 1e9:
        return number(size, ".2f", " GB", 1e9)
    return number(size, "", " MB", 1e6)


def interval(estimate: float, lower: float, upper: float | None, form: str = ".3f", unit: str = "") -> str:
    """The estimate, and its bounds in small below it; without an upper bound it says what is known."""
    told = figures.bounds(number(lower, form), None if upper is None else number(upper, form))
    return f'{number(estimate, form, unit)}<small class="range">{told}</small>'


def table(
    heads: Sequence[str],
    rows: Iterable[tuple[str, Sequence[str]]],
    caption: str = "",
    left: frozenset[int] = frozenset(),
) -> str:
    """Heads are text, cells HTML; each row is its class and its cells, the first of which names it.

    Columns in `left` hold prose. It scrolls by itself on a narrow page, reachable by keyboard.
    """
    head = "".join(f'<th scope="col"{_css("left" if i in left else "")}>{escape(h)}</th>' for i, h in enumerate(heads))
    body = "".join(
        f'<tr{_css(css)}><th scope="row">{cells[0]}</th>'
        + "".join(f"<td{_css('prose' if i in left else '')}>{cell}</td>" for i, cell in enumerate(cells[1:], 1))
        + "</tr>"
        for css, cells in rows
    )
    label = escape(caption or heads[0])
    told = f"<caption>{escape(caption)}</caption>" if caption else ""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{label}"><table>{told}'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _css(name: str) -> str:
    return f' class="{name}"' if name else ""


def folded(summary: str, content: str) -> str:
    """Content that opens when asked for."""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def key(*entries: tuple[str, str]) -> str:
    """A legend: class of the mark, and what it stands for."""
    items = "".join(f'<li><i class="{css}" aria-hidden="true"></i>{escape(text)}</li>' for css, text in entries)
    return f'<ul class="key">{items}</ul>'
