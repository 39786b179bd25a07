"""A little SVG: scales with round ticks, text, lines, and labels that keep out of each other's way.

Colours are classes that the page's style sheet fills, so one picture serves light and dark. A figure that comes from
the verdict carries its exact value in `data-value`; ticks have the class `tick` and none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise

CHARACTER = 7.4
"""Width of a character at the labels' size, in pixels, bold or in the widest of the usual fonts."""
LINE = 15.0
"""Height of a line of labels."""
WORSE = 8
"""Times as bad as a line or point behind a label is another label."""


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
    """Fits `values`, with `room` of the whole left free at both ends."""
    kept = [v for v in values if math.isfinite(v) and (v > 0 or not log)]
    low, high = min(kept), max(kept)
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


def plain(value: float) -> str:
    """A tick's number, short."""
    return f"{value:,.10g}" if abs(value) < 1e7 else f"{value:.0e}"


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
    labels: list[Box] = field(default_factory=list)
    """Where labels already are."""

    def add(self, tag: str, css: str = "", inner: str = "", **attributes: float | str) -> None:
        """One element; attributes with `_` for `-`, numbers rounded to a tenth of a pixel."""
        told = "".join(
            f' {name.replace("_", "-")}="{value if isinstance(value, str) else format(value, ".1f")}"'
            for name, value in attributes.items()
        )
        kind = f' class="{css}"' if css else ""
        self.parts.append(f"<{tag}{kind}{told}>{inner}</{tag}>" if inner else f"<{tag}{kind}{told}/>")

    def line(self, x1: float, y1: float, x2: float, y2: float, css: str) -> None:
        """A straight line; labels keep off the bars of intervals."""
        if css.startswith("bar"):
            self.taken.append((min(x1, x2) - 1, min(y1, y2) - 1, max(x1, x2) + 1, max(y1, y2) + 1))
        self.add("line", css, x1=x1, y1=y1, x2=x2, y2=y2)

    def path(self, points: Sequence[tuple[float, float]], css: str, *, closed: bool = False) -> None:
        """A line through points, which labels keep off, or the area that it encloses."""
        if not closed:
            for (x1, y1), (x2, y2) in pairwise(points):
                pieces = max(int(max(abs(x2 - x1), abs(y2 - y1)) / 6), 1)
                for i in range(pieces):
                    x, y = x1 + (x2 - x1) * i / pieces, y1 + (y2 - y1) * i / pieces
                    self.taken.append((x - 1, y - 2, x + 7, y + 2))
        steps = " L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        self.add("path", css, d=f"M{steps}{' Z' if closed else ''}")

    def text(
        self, x: float, y: float, text: str, css: str = "", anchor: str = "start", value: float | None = None
    ) -> None:
        """A line of text, its base line at y."""
        exact = {} if value is None else {"data_value": repr(value)}
        self.add("text", css, escape(text), x=x, y=y, text_anchor=anchor, **exact)

    def point(self, x: float, y: float, css: str, title: str, radius: float = 5) -> None:
        """A mark that tells what it is when pointed at."""
        self.add("circle", css, f"<title>{escape(title)}</title>", cx=x, cy=y, r=radius)
        self.taken.append((x - radius, y - radius, x + radius, y + radius))

    def label(self, x: float, y: float, text: str, css: str = "label", within: Box | None = None) -> None:
        """Text beside a point, where it covers least of what is there."""
        w = len(text) * CHARACTER
        left, top, right, bottom = within or (0.0, 0.0, self.width, self.height)
        spots = [
            (x + dx if side == "start" else x - dx if side == "end" else x, y + dy, side)
            for distance in (0, 14, 28, 42)
            for side, dx, dy in (
                ("start", 9, 4 - distance),
                ("end", 9, 4 - distance),
                ("middle", 0, -10 - distance),
                ("middle", 0, 20 + distance),
                ("start", 9, 4 + distance),
                ("end", 9, 4 + distance),
            )
        ]

        def box(spot: tuple[float, float, str]) -> Box:
            start = {"start": spot[0], "end": spot[0] - w, "middle": spot[0] - w / 2}[spot[2]]
            return start, spot[1] - LINE + 3, start + w, spot[1] + 3

        def cost(spot: tuple[float, float, str]) -> float:
            b = box(spot)
            outside = max(left - b[0], 0) + max(b[2] - right, 0) + max(top - b[1], 0) + max(b[3] - bottom, 0)
            covered = sum(_overlap(b, other) for other in self.taken)
            return covered + WORSE * sum(_overlap(b, other) for other in self.labels) + 50 * outside

        best = min(spots, key=cost)
        self.labels.append(box(best))
        self.text(best[0], best[1], text, css, best[2])

    def svg(self, name: str, css: str, title: str, description: str) -> str:
        """The picture, with its title and description for those who do not see it."""
        return (
            f'<svg class="{css}" viewBox="0 0 {self.width:.0f} {self.height:.0f}" width="{self.width:.0f}" '
            f'height="{self.height:.0f}" role="img" aria-labelledby="{name}-t {name}-d">'
            f'<title id="{name}-t">{escape(title)}</title><desc id="{name}-d">{escape(description)}</desc>'
            f"{''.join(self.parts)}</svg>"
        )


def _overlap(a: Box, b: Box) -> float:
    return max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)


def axes(d: Drawing, x: Scale, y: Scale, x_title: str, y_title: str) -> None:
    """Frame lines, ticks and titles. Lines of the grid go with the vertical axis alone."""
    for tick in y.ticks(6):
        d.line(x.start, y(tick), x.stop, y(tick), "grid")
        d.text(x.start - 7, y(tick) + 4, plain(tick), "tick", "end")
    for tick in x.ticks(7 if d.width > 500 else 4):
        d.line(x(tick), y.start, x(tick), y.start + 5, "axis")
        d.text(x(tick), y.start + 19, plain(tick), "tick", "middle")
    d.line(x.start, y.start, x.stop, y.start, "axis")
    d.text((x.start + x.stop) / 2, y.start + 38, x_title, "axis-title", "middle")
    d.text(2, y.stop - 10, y_title, "axis-title")
