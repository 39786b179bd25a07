"""All pictures of a verdict, each at two widths, with titles and descriptions."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from upsize.selection.report import pictures
from upsize.selection.verdict import Verdict

FRONTIER = "a dashed line joins those that no other beats in both."


@dataclass(frozen=True)
class Pictures:
    """SVG of each picture; empty where the verdict has nothing to draw."""

    latency_tradeoff: Markup
    cost_tradeoff: Markup
    differences: Markup
    differences_drawn: int
    """Of the verdict's differences."""
    latency_curve: Markup
    slices: Markup


def pictures_of(v: Verdict) -> Pictures:
    """Draw all that the verdict has figures for."""
    return Pictures(
        latency_tradeoff=_latency_tradeoff(v),
        cost_tradeoff=_cost_tradeoff(v),
        differences=_differences(v),
        differences_drawn=len(pictures.shown_differences(v)),
        latency_curve=_latency_curve(v),
        slices=_slices(v),
    )


def _latency_tradeoff(v: Verdict) -> Markup:
    if all(c.latency is None for c in v.candidates):
        return Markup()
    return pictures.both(
        "latency-tradeoff",
        lambda width: pictures.tradeoff(v, width, pictures.latency_of, "p95 at your rate, ms"),
        f"{v.task.metric} against p95 latency",
        f"Each candidate is a point with intervals in both directions; {FRONTIER}",
    )


def _cost_tradeoff(v: Verdict) -> Markup:
    cost, title = pictures.cost_axis(v)
    if all(cost(c) is None for c in v.candidates):
        return Markup()
    return pictures.both(
        "cost-tradeoff",
        lambda width: pictures.tradeoff(v, width, cost, title),
        f"{v.task.metric} against {title}",
        f"Each candidate is a point with the interval of its quality; {FRONTIER}",
    )


def _differences(v: Verdict) -> Markup:
    if not v.differences:
        return Markup()
    return pictures.both(
        "differences",
        lambda width: pictures.forest(pictures.difference_rows(v), v.delta, width, f"difference of {v.task.metric}"),
        "Differences between candidates with simultaneous intervals",
        "Each line is the larger candidate minus the smaller; a band marks the margin within which they are equal.",
    )


def _latency_curve(v: Verdict) -> Markup:
    if not pictures.swept(v):
        return Markup()
    return pictures.both(
        "latency-curve",
        lambda width: pictures.latency_curve(v, width),
        "p95 latency against the rate of arrivals",
        "A line for each candidate, with intervals; a short thick stroke marks the greatest rate at which it kept up.",
    )


def _slices(v: Verdict) -> Markup:
    rows = pictures.slice_rows(v)
    if not rows:
        return Markup()
    return pictures.both(
        "slices",
        lambda width: pictures.forest(rows, v.delta, width, f"{v.task.metric} more than the choice"),
        "Differences within slices",
        "Each line is the candidate that is or may be better in that slice, minus the choice.",
    )
