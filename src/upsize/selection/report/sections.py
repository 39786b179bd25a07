"""The sections of a report, each a string of HTML made from the verdict alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from upsize.compute.contention import BUSY
from upsize.number_format import short
from upsize.selection.report import pictures
from upsize.selection.report.html import duration, folded, gigabytes, interval, key, number, table
from upsize.selection.verdict import CandidateReport, LoadPoint, SliceVerdict, Verdict

_LOAD_KEY = (
    ("a", "p95 of the choice"),
    ("s", "its p50 to p99"),
    ("", "p95 of others"),
    ("k", "the knee"),
    ("h", "did not keep up"),
)
LINE = "a dashed line joins those that no other beats in both."


def headline(v: Verdict) -> str:
    """The decision, the sentence, and the figures of the choice."""
    name = escape(v.choice or "")
    title = {
        "stay": f"Stay with {name}",
        "go_up": f"Go up to {name}",
        "cannot_tell": f"Cannot tell yet; meanwhile {name}" if v.choice else "Cannot tell yet",
    }[v.decision]
    if v.too_few:
        title = f"Too few to judge; meanwhile {name}"
    if v.choice is None:
        title = "Nothing here is feasible"
    return (
        f'<p class="kicker">{escape(v.task.name)}, {escape(v.task.metric)}, '
        f"{number(v.task.units, ',')} {escape(_units(v, v.task.units))}</p>"
        f'<h1>{title}</h1><p class="reason">{escape(v.reason)}</p>{_facts(v)}{_next(v)}'
    )


def _units(v: Verdict, count: int) -> str:
    forms = {"query": "queries"}
    return v.task.unit if count == 1 else forms.get(v.task.unit, f"{v.task.unit}s")


def _facts(v: Verdict) -> str:
    facts = [fact for c in v.candidates if c.id == v.choice for fact in _facts_of(v, c)]
    if v.queries_needed:
        facts.append(("to label", number(v.queries_needed, ","), f"more {escape(_units(v, 2))}"))
    cells = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{value}<small>{small}</small></dd></div>" for name, value, small in facts
    )
    return f'<dl class="facts">{cells}</dl>' if facts else ""


def _facts_of(v: Verdict, c: CandidateReport) -> Iterator[tuple[str, str, str]]:
    """Name, figure and what stands below it in small."""
    q = c.quality
    yield v.task.metric, number(q.estimate, ".3f"), f"{number(q.lower, '.3f')} to {number(q.upper, '.3f')}"
    if c.latency is not None:
        at = c.latency.at_rate
        yield "p95", number(at.p95.estimate, "", " ms"), f"at {number(at.rate)} a second"
        if c.latency.knee is not None:
            more = "arrivals a second" + (", or more" if c.latency.knee_at_least else "")
            yield "keeps up to", number(c.latency.knee), more
    if c.memory is not None:
        peak = c.memory.estimated if c.memory.peak is None else c.memory.peak
        yield "memory", gigabytes(peak), f"weights {gigabytes(c.memory.weights)}"
    if c.money is not None:
        price = f"at {number(c.money.per_hour, 'short')} an hour" + (", at most" if c.money.at_most else "")
        yield "a million queries", number(c.money.per_million_queries), price


def _next(v: Verdict) -> str:
    lines = [escape(s) for s in v.what_would_change_it]
    if v.runner_up:
        lines.insert(0, f"Runner-up: {escape(v.runner_up)}.")
    if not lines:
        return ""
    return f"<h2>What would change it</h2><ul>{''.join(f'<li>{line}</li>' for line in lines)}</ul>"


def quality(v: Verdict) -> str:
    """Quality against latency and against cost, and the table of candidates."""
    parts = []
    marks = (("a", "the choice"), ("", "others"), ("h", "not feasible"), ("p", "no candidate is better and cheaper"))
    if any(c.latency is not None for c in v.candidates):
        picture = pictures.both(
            "latency-tradeoff",
            lambda w: pictures.tradeoff(v, w, pictures.latency_of, "p95 at your rate, ms"),
            f"{v.task.metric} against p95 latency",
            f"Each candidate is a point with intervals in both directions; {LINE}",
        )
        parts.append(f"<h2>Quality against latency</h2><figure>{picture}</figure>{key(*marks)}")
    cost, title = pictures.cost_of(v)
    if any(cost(c) is not None for c in v.candidates):
        picture = pictures.both(
            "cost-tradeoff",
            lambda w: pictures.tradeoff(v, w, cost, title),
            f"{v.task.metric} against {title}",
            f"Each candidate is a point with the interval of its quality; {LINE}",
        )
        parts.append(f"<h2>Quality against cost</h2><figure>{picture}</figure>{key(*marks)}")
    return "".join(parts) + _candidates(v)


def _candidates(v: Verdict) -> str:
    heads = [
        "candidate",
        v.task.metric,
        "GFLOP a query",
        "bytes a vector",
        "memory",
        "tokens/s",
        "backfill",
        "p50",
        "p95",
        "p99",
    ]
    priced = any(c.money is not None for c in v.candidates)
    heads += ["a million queries", "backfill price"] if priced else []
    rows = []
    for c in v.candidates:
        name = escape(c.id) + (f"<small>not feasible: {escape(c.why_not)}</small>" if c.why_not else "")
        memory = None if c.memory is None else c.memory.estimated if c.memory.peak is None else c.memory.peak
        cells = [
            name,
            interval(c.quality.estimate, c.quality.lower, c.quality.upper),
            number(c.flops_a_query, "", "", 1e9),
            number(c.bytes_a_vector, ","),
            gigabytes(memory) + ("<small>estimated</small>" if c.memory and c.memory.peak is None else ""),
            number(c.tokens_per_second),
            duration(c.backfill_seconds),
        ]
        at = c.latency.at_rate if c.latency else None
        for q in (at.p50, at.p95, at.p99) if at else ():
            cells.append(interval(q.estimate, q.lower, q.upper, "", " ms"))
        cells += [number(None)] * 3 if at is None else []
        if priced:
            prices = (None, None) if c.money is None else (c.money.per_million_queries, c.money.backfill)
            cells += map(number, prices)
        rows.append(("chosen" if c.id == v.choice else "", cells))
    return table(heads, rows, f"Candidates, smallest first; {_confidence(v)} intervals in small")


def _confidence(v: Verdict) -> str:
    return f"{short(100 * v.confidence)} %"


def differences(v: Verdict) -> str:
    """The forest of differences, and all of them as a table."""
    if not v.differences:
        return ""
    shown, count = pictures.shown_differences(v), len(v.differences)
    picture = pictures.both(
        "differences",
        lambda w: pictures.forest(pictures.difference_rows(v), v.delta, w, f"difference of {v.task.metric}"),
        "Differences between candidates with simultaneous intervals",
        "Each line is the larger candidate minus the smaller; a band marks the margin within which they are equal.",
    )
    part = "" if len(shown) == count else f" Drawn are those of the choice; the table has all {number(count)}."
    rows = [
        ("", [f"{escape(d.larger)} − {escape(d.smaller)}", interval(d.estimate, d.lower, d.upper, "+.4f"),
              number(d.p), number(d.p_adjusted), number(d.sd, ".3f")])
        for d in v.differences
    ]  # fmt: skip
    return (
        f'<h2>Differences</h2><p class="lead">Paired, larger minus smaller, with {_data_confidence(v)} intervals that '
        f"hold for all comparisons at once. Differences within ±{number(v.delta, 'short')} do not count.{part}</p>"
        f"<figure>{picture}</figure>"
        + key(
            ("w", "surely better by more"), ("a", "surely not better by more"), ("", "not known"), ("m", "the margin")
        )
        + folded(
            "As a table",
            table(["difference", "estimate", "p", "p, adjusted", "sd of pairs"], rows),
        )
    )


def _data_confidence(v: Verdict) -> str:
    return number(v.confidence, "short", " %", 0.01)


def latency(v: Verdict) -> str:
    """Latency against rate, where it was swept."""
    if not pictures.swept(v):
        return ""
    picture = pictures.both(
        "latency-curve",
        lambda w: pictures.latency_curve(v, w),
        "p95 latency against the rate of arrivals",
        "A line for each candidate, with intervals; a short thick stroke marks the greatest rate at which it kept up.",
    )
    rows = [
        ("chosen" if c.id == v.choice else "", [
            escape(c.id), number(p.rate), number(p.answered), number(p.arrivals, ","), number(p.errors, ","),
            *(interval(q.estimate, q.lower, q.upper, "", " ms") for q in (p.p50, p.p95, p.p99)),
            _kept_up(p),
        ])
        for c in v.candidates if c.latency
        for p in c.latency.sweep
    ]  # fmt: skip
    heads = ["candidate", "rate", "answered", "arrivals", "errors", "p50", "p95", "p99", "kept up"]
    return (
        '<h2>Latency under load</h2><p class="lead">Open loop: requests arrive at their scheduled instants whether or '
        "not the earlier ones are answered, and time counts from those instants.</p>"
        f"<figure>{picture}</figure>" + key(*_LOAD_KEY) + folded("As a table", table(heads, rows))
    )


def _kept_up(p: LoadPoint) -> str:
    """Yes or no, and what disturbed the run."""
    if p.sender_late:
        why = f"the sender was {number(p.late_ms, '', ' ms')} late"
    elif p.busy >= BUSY:
        why = f"other processes took {number(p.busy, '.0f', ' %', 0.01)} of the processor"
    else:
        why = ""
    return ("yes" if p.kept_up else "no") + (f"<small>{why}</small>" if why else "")


def slices(v: Verdict) -> str:
    """What holds for parts of the units."""
    if not v.slices:
        return ""
    rows_of = pictures.slice_rows(v)
    picture = ""
    if rows_of:
        drawn = pictures.both(
            "slices",
            lambda w: pictures.forest(rows_of, v.delta, w, f"{v.task.metric} more than the choice"),
            "Differences within slices",
            "Each line is the candidate that is or may be better in that slice, minus the choice.",
        )
        picture = f"<figure>{drawn}</figure>"
    said = {"as_all": "as for all", "go_up": "go up", "cannot_tell": "cannot tell", "too_few": "too few to judge"}
    rows = [
        ("", [
            escape(s.name), number(s.units, ","), number(s.quality, ".3f"), said[s.decision],
            escape(s.candidate or "–"), _difference(s),
        ])
        for s in v.slices
    ]  # fmt: skip
    heads = ["slice", _units(v, 2), f"{v.task.metric} of the choice", "answer", "candidate", "its difference"]
    return (
        '<h2>Slices</h2><p class="lead">Intervals hold for all slices and comparisons at once.</p>'
        f"{picture}{table(heads, rows)}"
    )


def _difference(s: SliceVerdict) -> str:
    d = s.difference
    return number(None) if d is None else interval(d.estimate, d.lower, d.upper, "+.4f")


def how(v: Verdict) -> str:
    """How it was measured, what was refused and why, and how to do it again."""
    facts: list[tuple[str, str]] = [
        ("date", escape(v.date)),
        ("machine", _mapping(v.machine)),
        ("versions", _mapping(v.versions)),
        ("data", _mapping(v.dataset)),
        ("task", f"{escape(v.task.name)}, {escape(v.task.metric)}; {number(v.task.independent, ',')} independent "
                 f"units; {number(v.task.seeds)} seeds of the algorithm"),
        ("statistics", f"paired bootstrap, {number(v.resamples, ',')} draws, seed {number(v.seed)}, simultaneous "
                       f"(max-t) intervals at {_data_confidence(v)}, margin {number(v.delta, 'short')}"),
    ]  # fmt: skip
    if (s := v.sample_size) is not None:
        planned = f"planned with a paired standard deviation of {number(s.sd, '.3f')}"
        facts.append(
            ("sample size", f"{number(s.total, ',')} in all for a power of {number(s.power, 'short')}, {planned}")
        )
    listed = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts if value)
    notes = "".join(f"<li>{escape(n)}</li>" for n in v.notes)
    runs = "".join(f'<li><a href="{escape(c.run)}/run.json">{escape(c.id)}</a></li>' for c in v.candidates if c.run)
    refused = "".join(
        f"<p><strong>{escape(r.id)}</strong>: {escape(r.reason)}</p><pre>{escape(chr(10).join(r.arithmetic))}</pre>"
        for r in v.refused
    )
    return (
        "<h2>How it was measured</h2>"
        + (f"<ul>{notes}</ul>" if notes else "")
        + f'<dl class="how">{listed}</dl>'
        + (f"<h2>Refused before loading</h2>{refused}" if refused else "")
        + (f"<h2>To reproduce</h2><pre>{escape(v.command)}</pre>" if v.command else "")
        + '<p class="note">All figures: <a href="verdict.json">verdict.json</a>. '
        + ("Values unit by unit:</p>" + folded("Runs", f"<ul>{runs}</ul>") if runs else "</p>")
    )


def _mapping(values: Any) -> str:
    """`name: value` pairs; numbers exact."""
    if isinstance(values, Mapping):
        told = {k: x for k, x in values.items() if x not in (None, "", [], {})}
        return "; ".join(f"{escape(str(k)).replace('_', ' ')} {_mapping(x)}" for k, x in told.items())
    if isinstance(values, list | tuple):
        return ", ".join(_mapping(x) for x in values)
    if isinstance(values, bool):
        return "yes" if values else "no"
    return number(values) if isinstance(values, int | float) else escape(str(values))
