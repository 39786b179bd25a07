"""SVG drawings: scales with round ticks, text, lines, and labels that avoid each other.

Colours are classes that the page's style sheet fills, so one picture serves light and dark. A figure that comes from
the verdict carries its exact value in `data-value`; ticks have the class `tick` and none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from html import escape
from itertools import pairwise

from upsize.number_format import cells, short

WIDTHS = (("mMW@%", 12.0), ("+−=wQGODNHU…", 10.0), ("iljtrf.,:;'|!()[]/ -", 5.2))
"""Characters, and their width in pixels at the labels' size in the widest of the usual fonts (DejaVu Sans)."""
CHARACTER, WIDE = 7.9, 12.5
"""Of other characters, and of the wide ones of East Asia."""
BOLD = 1.08
LINE = 15.0
"""Height of a line of labels."""
LABEL_OVERLAP_COST = 8
"""Cost of a square pixel shared with another label; one shared with a line or point costs 1. All four are chosen."""
OUTSIDE_COST = 50
"""Cost of a pixel outside the frame."""
DISTANCE_COST = 2.0
"""Cost of a pixel of distance between a label and its point."""
NEARER_POINT_COST = 60.0
"""Cost of each other point that is nearer to the label than its own."""
TICKS = 6
"""Numbers on a vertical axis."""
LEADER = 16.0
"""Pixels of distance from which a line leads from a label to its point."""


@dataclass(frozen=True)
class Scale:
    """Values of [low, high] onto pixels of [start, stop]; logarithmic if `log`."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Pixels; values outside are held at the edge."""
        value = min(max(value, self.low), self.high)
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.stop - self.start)

    def ticks(self, most: int) -> list[float]:
        """At most `most` round values within."""
        return _log_ticks(self.low, self.high, most) if self.log else _linear_ticks(self.low, self.high, most)


def scale(values: Iterable[float], start: float, stop: float, *, log: bool = False, room: float = 0.08) -> Scale:
    """A scale that fits `values`, with `room` of its length free at both ends; from 0 to 1 where there are none."""
    kept = [v for v in values if math.isfinite(v) and (v > 0 or not log)]
    low, high = min(kept, default=0.0 if not log else 0.1), max(kept, default=1.0)
    if log:
        spread = max(math.log(high / low), 0.2)
        return Scale(low / math.exp(room * spread), high * math.exp(room * spread), start, stop, True)
    spread = high - low or abs(high) / 10 or 1.0
    return Scale(low - room * spread, high + room * spread, start, stop)


def _linear_ticks(low: float, high: float, most: int) -> list[float]:
    raw = (high - low) / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks: list[float] = []
    for mantissas in ((1, 1.5, 2, 3, 5, 7), (1, 2, 3, 5), (1, 2, 5), (1, 3), (1,)):
        ticks = [m * 10.0**d for d in decades for m in mantissas if low <= m * 10.0**d <= high]
        if len(ticks) <= most:
            return ticks
    return ticks[:: math.ceil(len(ticks) / most)]


def tick_text(value: float, sign: bool = False) -> str:
    """A tick's number: all its digits, and from ten millions on in millions or billions."""
    for size, name in ((1e9, " billion"), (1e6, " million")):
        if abs(value) >= max(size, 1e7):
            value, unit = value / size, name
            break
    else:
        unit = ""
    return f"{'+' if sign and value > 0 else ''}{short(value)}{unit}"


def width_of(text: str, bold: bool = False) -> float:
    """An upper estimate of a label's width in pixels."""
    return sum(_character(c) for c in text) * (BOLD if bold else 1.0)


@cache
def _character(c: str) -> float:
    known = (width for characters, width in WIDTHS if c in characters)
    return next(known, CHARACTER if cells(c) == 1 else WIDE * cells(c) / 2)


def shortened(text: str, width: float) -> str:
    """The text, its middle replaced by … where it is wider than `width` pixels: names differ at both ends."""
    if width_of(text) <= width:
        return text
    head, tail = text[: len(text) // 2], text[len(text) // 2 :]
    while (head or tail) and width_of(f"{head}…{tail}") > width:
        head, tail = (head[:-1], tail) if len(head) >= len(tail) else (head, tail[1:])
    return f"{head}…{tail}"


Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""


@dataclass
class Drawing:
    """Elements of one picture, in the order in which they cover each other."""

    width: float
    height: float
    parts: list[str] = field(default_factory=list)
    taken: list[Box] = field(default_factory=list)
    """Where points and lines already are."""
    marks: list[tuple[float, float]] = field(default_factory=list)
    """Where points are."""
    labels: list[Box] = field(default_factory=list)
    """Where labels already are."""

    def add(self, tag: str, css: str = "", inner: str = "", **attributes: float | str) -> None:
        """One element; attributes with `_` for `-`, numbers rounded to a tenth of a pixel."""
        values = "".join(
            f' {name.replace("_", "-")}="{value if isinstance(value, str) else format(value, ".1f")}"'
            for name, value in attributes.items()
        )
        kind = f' class="{css}"' if css else ""
        self.parts.append(f"<{tag}{kind}{values}>{inner}</{tag}>" if inner else f"<{tag}{kind}{values}/>")

    def line(self, x1: float, y1: float, x2: float, y2: float, css: str) -> None:
        """A straight line; labels avoid the bars of intervals."""
        if css.startswith("bar"):
            self.taken.append((min(x1, x2) - 1, min(y1, y2) - 1, max(x1, x2) + 1, max(y1, y2) + 1))
        self.add("line", css, x1=x1, y1=y1, x2=x2, y2=y2)

    def path(self, points: Sequence[tuple[float, float]], css: str, *, closed: bool = False) -> None:
        """A line through points, which labels avoid, or the area that it encloses."""
        if not closed:
            for (x1, y1), (x2, y2) in pairwise(points):
                pieces = max(int(max(abs(x2 - x1), abs(y2 - y1)) / 6), 1)
                for i in range(pieces):
                    x, y = x1 + (x2 - x1) * i / pieces, y1 + (y2 - y1) * i / pieces
                    self.taken.append((x - 1, y - 2, x + 7, y + 2))
        steps = " L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        self.add("path", css, d=f"M{steps}{' Z' if closed else ''}")

    def text(
        self,
        x: float,
        y: float,
        text: str,
        css: str = "",
        anchor: str = "start",
        value: float | None = None,
        title: str | None = None,
    ) -> None:
        """A line of text, its base line at y; `title` is the tooltip."""
        exact = {} if value is None else {"data_value": repr(value)}
        inner = (f"<title>{escape(title)}</title>" if title else "") + escape(text)
        self.add("text", css, inner, x=x, y=y, text_anchor=anchor, **exact)

    def point(self, x: float, y: float, css: str, title: str, radius: float = 5) -> None:
        """A mark with a tooltip."""
        self.add("circle", css, f"<title>{escape(title)}</title>", cx=x, cy=y, r=radius)
        self.taken.append((x - radius, y - radius, x + radius, y + radius))
        self.marks.append((x, y))

    def label(self, x: float, y: float, text: str, css: str = "label", within: Box | None = None) -> None:
        """Text beside a point, as near as marks and other labels allow; a leader line connects them where they are far
        apart. A text that is wider than the frame is shortened, and whole in the tooltip."""
        left, top, right, bottom = within or (0.0, 0.0, self.width, self.height)
        bold = "chosen" in css
        shown = shortened(text, (right - left) / (BOLD if bold else 1.0))
        w = width_of(shown, bold)
        spots = [
            (start, y + dy)
            for distance in (0, 14, 28, 42)
            for start, dy in (
                (x + 9, 4 - distance),
                (x - 9 - w, 4 - distance),
                (x - w / 2, -10 - distance),
                (x - w / 2, 20 + distance),
                (min(max(x - w / 2, left), right - w), -10 - distance),
                (min(max(x - w / 2, left), right - w), 20 + distance),
                (x + 9, 4 + distance),
                (x - 9 - w, 4 + distance),
            )
        ]

        def box(spot: tuple[float, float]) -> Box:
            return spot[0], spot[1] - LINE + 3, spot[0] + w, spot[1] + 3

        def cost(spot: tuple[float, float]) -> float:
            b = box(spot)
            outside = max(left - b[0], 0) + max(b[2] - right, 0) + max(top - b[1], 0) + max(b[3] - bottom, 0)
            covered = sum(_overlap(b, other) for other in self.taken)
            away = _gap(b, x, y)
            nearer = sum(_gap(b, *other) < away for other in self.marks if other != (x, y))
            crowded = LABEL_OVERLAP_COST * sum(_overlap(b, o) for o in self.labels) + NEARER_POINT_COST * nearer
            return covered + crowded + OUTSIDE_COST * outside + DISTANCE_COST * away

        best = min(spots, key=cost)
        self.labels.append(box(best))
        end = _nearest(box(best), x, y)
        if _gap(box(best), x, y) > LEADER:
            self.add("line", "leader", x1=x, y1=y, x2=end[0], y2=end[1])
        self.text(best[0], best[1], shown, css, title=text if shown != text else None)

    def svg(self, name: str, css: str, title: str, description: str) -> str:
        """The SVG element, with its title and description for screen readers."""
        return (
            f'<svg class="{css}" viewBox="0 0 {self.width:.0f} {self.height:.0f}" width="{self.width:.0f}" '
            f'height="{self.height:.0f}" role="img" aria-labelledby="{name}-t {name}-d">'
            f'<title id="{name}-t">{escape(title)}</title><desc id="{name}-d">{escape(description)}</desc>'
            f"{''.join(self.parts)}</svg>"
        )


def _nearest(b: Box, x: float, y: float) -> tuple[float, float]:
    """The point of a box that is nearest to another."""
    return min(max(x, b[0]), b[2]), min(max(y, b[1]), b[3])


def _gap(b: Box, x: float, y: float) -> float:
    """Pixels between a box and a point."""
    near = _nearest(b, x, y)
    return math.hypot(near[0] - x, near[1] - y)


def _overlap(a: Box, b: Box) -> float:
    return max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)


def margin(y: Scale, least: float) -> float:
    """Where the frame starts, so that the numbers of the vertical axis fit beside it."""
    return max(least, *(width_of(tick_text(tick)) + 12 for tick in y.ticks(TICKS)))


def axes(d: Drawing, x: Scale, y: Scale, x_title: str, y_title: str) -> None:
    """Frame lines, ticks and titles. Lines of the grid go with the vertical axis alone."""
    for tick in y.ticks(TICKS):
        d.line(x.start, y(tick), x.stop, y(tick), "grid")
        d.text(x.start - 7, y(tick) + 4, tick_text(tick), "tick", "end")
    for tick in x.ticks(7 if d.width > 500 else 4):
        d.line(x(tick), y.start, x(tick), y.start + 5, "axis")
        d.text(x(tick), y.start + 19, tick_text(tick), "tick", "middle")
    d.line(x.start, y.start, x.stop, y.start, "axis")
    d.text((x.start + x.stop) / 2, y.start + 38, x_title, "axis-title", "middle")
    d.text(2, y.stop - 10, y_title, "axis-title")
