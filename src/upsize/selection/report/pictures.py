"""The drawings of a report: quality against latency and cost, differences, latency against rate, slices.

Each is drawn twice, for a wide page and for a phone: text that is scaled down to a phone cannot be read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass

from markupsafe import Markup

from upsize.number_format import short
from upsize.selection.report.svg import Box, Drawing, Scale, axes, margin, scale, shortened, tick_text, width_of
from upsize.selection.verdict import CandidateReport, Difference, LoadPoint, Verdict

WIDE, NARROW = 720.0, 350.0
"""Pixels: the page's column, and a phone of 390 pixels without its margins."""
SEE_TABLE = "The same figures are in the table below it."
MOST_ROWS = 15
"""Differences drawn; all of them are in the table."""
MOST_LINES = 6
"""Candidates of the latency picture."""


def both(name: str, draw: Callable[[float], Drawing], title: str, description: str) -> Markup:
    """A picture at both widths; the style sheet shows one."""
    return Markup(
        "".join(
            draw(width).svg(f"{name}-{css}", css, title, f"{description} {SEE_TABLE}")
            for css, width in (("wide", WIDE), ("narrow", NARROW))
        )
    )


@dataclass(frozen=True)
class AxisValue:
    """A value on the horizontal axis, with bounds where it was measured with an interval."""

    estimate: float
    lower: float
    upper: float


def latency_of(c: CandidateReport) -> AxisValue | None:
    """p95 at the user's rate, in milliseconds."""
    if c.latency is None:
        return None
    p95 = c.latency.at_rate.p95
    return AxisValue(p95.estimate, p95.lower, p95.estimate if p95.upper is None else p95.upper)


def price_of(c: CandidateReport) -> AxisValue | None:
    """Price of a million queries."""
    if c.money is None:
        return None
    return AxisValue(c.money.per_million_queries, c.money.per_million_queries, c.money.per_million_queries)


def gflop_of(c: CandidateReport) -> AxisValue | None:
    """GFLOP of a query."""
    gflop = c.flops_a_query / 1e9
    return AxisValue(gflop, gflop, gflop) if gflop > 0 else None


def vector_bytes_of(c: CandidateReport) -> AxisValue | None:
    """Bytes of a vector in the index."""
    size = float(c.bytes_a_vector)
    return AxisValue(size, size, size)


def cost_axis(v: Verdict) -> tuple[Callable[[CandidateReport], AxisValue | None], str]:
    """The cost of a candidate, and the title of its axis.

    It is the price where one is given, else GFLOP of a query, or bytes of a vector where candidates differ in dimension
    alone.
    """
    if any(c.money is not None for c in v.candidates):
        return price_of, "price of a million queries"
    if len({c.flops_a_query for c in v.candidates}) == 1 and len({c.bytes_a_vector for c in v.candidates}) > 1:
        return vector_bytes_of, "bytes a vector"
    return gflop_of, "GFLOP a query"


def frontier(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the (cost, quality) pairs that no other beats in both, cheapest first: the Pareto frontier."""
    order = sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1]))
    kept: list[int] = []
    for i in order:
        if not kept or points[i][1] > points[kept[-1]][1]:
            kept.append(i)
    return kept


def tradeoff(v: Verdict, width: float, cost_of: Callable[[CandidateReport], AxisValue | None], x_title: str) -> Drawing:
    """Quality against a cost, with intervals, and the Pareto frontier."""
    shown = [(c, cost) for c in v.candidates if (cost := cost_of(c)) is not None]
    height = 400.0 if width > 500 else 330.0
    d = Drawing(width, height)
    costs = [x for _, cost in shown for x in (cost.lower, cost.upper)]
    y = scale([q for c, _ in shown for q in astuple(c.quality)], height - 48, 26)
    x = scale(costs, margin(y, 48), width - 14, log=max(costs) > 4 * min(costs) > 0)
    axes(d, x, y, x_title, v.task.metric)
    places = [(x(cost.estimate), y(c.quality.estimate)) for c, cost in shown]
    line = frontier([(cost.estimate, c.quality.estimate) for c, cost in shown])
    stairs: list[tuple[float, float]] = []
    for i in line:
        stairs += [(places[i][0], stairs[-1][1])] if stairs else []
        stairs.append(places[i])
    d.path([*stairs, (x.stop, stairs[-1][1])], "pareto")
    for (c, cost), (px, py) in zip(shown, places, strict=True):
        css = _mark(v, c)
        d.line(px, y(c.quality.lower), px, y(c.quality.upper), f"bar {css}")
        d.line(x(cost.lower), py, x(cost.upper), py, f"bar {css}")
    for (c, _), (px, py) in zip(shown, places, strict=True):
        d.point(px, py, f"mark {_mark(v, c)}", c.id, 7 if c.id == v.choice else 5)
    named = {v.choice, v.runner_up, shown[0][0].id, *(shown[i][0].id for i in line)}
    frame: Box = (x.start, y.stop, x.stop, y.start)
    for (c, _), (px, py) in sorted(zip(shown, places, strict=True), key=lambda item: item[0][0].id != v.choice):
        if len(shown) <= 8 or c.id in named:
            d.label(px, py, c.id, "label chosen" if c.id == v.choice else "label", frame)
    return d


def _mark(v: Verdict, c: CandidateReport) -> str:
    return "chosen" if c.id == v.choice else "other" if c.feasible else "infeasible"


def shown_differences(v: Verdict) -> list[Difference]:
    """All differences, or those of the choice where there are more than MOST_ROWS."""
    if len(v.differences) <= MOST_ROWS:
        return list(v.differences)
    return [d for d in v.differences if v.choice in (d.smaller, d.larger)][:MOST_ROWS]


@dataclass(frozen=True)
class ForestRow:
    """One line of a forest plot."""

    name: str
    estimate: float
    lower: float
    upper: float
    css: str


def forest(rows: Sequence[ForestRow], delta: float, width: float, x_title: str) -> Drawing:
    """Estimates with their bounds, below each other, against zero and the margin delta."""
    step, top = 44.0, 30.0
    height = top + step * len(rows) + 46
    d = Drawing(width, height)
    ends = [e for r in rows for e in (r.lower, r.upper)]
    x = scale([*ends, -delta, delta], 10, width - 24, room=0.05)
    bottom = top + step * len(rows)
    d.path([(x(-delta), top), (x(delta), top), (x(delta), bottom), (x(-delta), bottom)], "margin", closed=True)
    d.text(x(0), top - 8, f"±{short(delta)}", "note", "middle", value=delta)
    for tick in x.ticks(7 if width > 500 else 5):
        d.line(x(tick), bottom, x(tick), bottom + 5, "axis")
        d.text(x(tick), bottom + 19, tick_text(tick, sign=True), "tick", "middle")
    d.line(x(0), top, x(0), bottom, "zero")
    d.line(x.start, bottom, x.stop, bottom, "axis")
    d.text((x.start + x.stop) / 2, bottom + 38, x_title, "axis-title", "middle")
    for i, row in enumerate(rows):
        y = top + step * i + 31
        shown = shortened(row.name, width - 20)
        w = width_of(shown)
        at = min(max(x(row.estimate) - w / 2, 10), width - 10 - w)
        d.text(at, y - 11, shown, "label", title=row.name if shown != row.name else None)
        d.line(x(row.lower), y, x(row.upper), y, f"bar {row.css}")
        for end in (row.lower, row.upper):
            d.line(x(end), y - 4, x(end), y + 4, f"bar {row.css}")
        d.point(x(row.estimate), y, f"mark {row.css}", row.name, 4.5)
    return d


def difference_rows(v: Verdict) -> list[ForestRow]:
    """The differences that are drawn, larger minus smaller."""
    return [
        ForestRow(f"{d.larger} − {d.smaller}", d.estimate, d.lower, d.upper, _sure(d.lower, d.upper, v.delta))
        for d in shown_differences(v)
    ]


def slice_rows(v: Verdict) -> list[ForestRow]:
    """The candidate that is or may be better in a slice, minus the choice, for each slice that was judged."""
    return [
        ForestRow(
            f"{s.name}: {s.candidate}" if s.candidate else s.name,
            s.difference.estimate,
            s.difference.lower,
            s.difference.upper,
            _sure(s.difference.lower, s.difference.upper, v.delta),
        )
        for s in v.slices
        if s.difference is not None
    ]


def _sure(lower: float, upper: float, delta: float) -> str:
    """Class of the mark: surely better by more than delta, surely not, or neither."""
    return "better" if lower > delta else "enough" if upper <= delta else "open"


def swept(v: Verdict) -> list[CandidateReport]:
    """Candidates of the latency curve, at most MOST_LINES, the choice and the runner-up first."""
    all_swept = [c for c in v.candidates if c.latency is not None and c.latency.sweep]
    first = [c for c in all_swept if c.id in (v.choice, v.runner_up)]
    rest = [c for c in all_swept if c not in first]
    chosen = [*first, *rest][:MOST_LINES]
    return [c for c in all_swept if c in chosen]


def latency_curve(v: Verdict, width: float) -> Drawing:
    """p95 against the rate of arrivals, one line for each candidate, with the knees and the limits. The choice has a
    band from p50 to p99."""
    shown = swept(v)
    height = 400.0 if width > 500 else 340.0
    d = Drawing(width, height)
    points = {c.id: c.latency.sweep for c in shown if c.latency is not None}
    everything = [p for sweep in points.values() for p in sweep]
    rates = [p.rate for p in everything]
    values = [q.estimate for p in everything for q in (p.p50, p.p95)]
    values += [p.p99.estimate for c in shown if c.id == v.choice for p in points[c.id]]
    values += v.limits.values()
    y = scale(values, height - 48, 26, log=max(values) > 5 * min(values))
    x = scale(rates, margin(y, 56), width - 14, log=max(rates) > 8 * min(rates))
    axes(d, x, y, "arrivals a second", "p95, ms")
    for limit in v.limits.values():
        d.line(x.start, y(limit), x.stop, y(limit), "limit")
    frame: Box = (x.start, y.stop, x.stop, y.start)
    for c in sorted(shown, key=lambda c: c.id == v.choice):
        css = "chosen" if c.id == v.choice else "other"
        sweep = points[c.id]
        if css == "chosen":
            outer = [(x(p.rate), y(p.p50.estimate)) for p in sweep]
            outer += [(x(p.rate), y(p.p99.estimate)) for p in reversed(sweep)]
            d.path(outer, "spread", closed=True)
        d.path([(x(p.rate), y(p.p95.estimate)) for p in sweep], f"curve {css}")
        for p in sweep:
            _load_point(d, x, y, p, css, c.id)
    for c in shown:
        assert c.latency is not None
        if c.latency.knee is not None:
            at = min(points[c.id], key=lambda p, knee=c.latency.knee: abs(p.rate - knee))  # type: ignore[misc]
            css = "chosen" if c.id == v.choice else "other"
            d.line(x(c.latency.knee), y(at.p95.estimate) - 9, x(c.latency.knee), y(at.p95.estimate) + 9, f"knee {css}")
    for c in shown:
        last = points[c.id][-1]
        css = "label chosen" if c.id == v.choice else "label"
        d.label(x(last.rate), y(last.p95.estimate), c.id, css, frame)
    for quantile, limit in v.limits.items():
        d.label(x.start, y(limit), f"{quantile} allowed: {short(limit)} ms", within=frame)
    return d


def _load_point(d: Drawing, x: Scale, y: Scale, p: LoadPoint, css: str, name: str) -> None:
    px, upper = x(p.rate), p.p95.estimate if p.p95.upper is None else p.p95.upper
    d.line(px, y(p.p95.lower), px, y(upper), f"bar {css}")
    d.point(px, y(p.p95.estimate), f"mark {css if p.kept_up else 'infeasible'}", name, 4)
