"""What the page of a verdict shows in words and tables; `templates/verdict.html.jinja` lays it out."""

from __future__ import annotations

from collections.abc import Iterator

from markupsafe import Markup

from upsize.compute.contention import BUSY
from upsize.selection.report.figures import Row, TableData, duration, gigabytes, interval, number, small
from upsize.selection.verdict import CandidateReport, LoadPoint, Verdict

SLICE_DECISIONS = {
    "as_all": "as for all", "go_up": "go up", "cannot_tell": "cannot tell", "too_few": "too few to judge",
}  # fmt: skip


def headline(v: Verdict) -> str:
    """The decision in a few words."""
    if v.choice is None:
        return "Nothing here is feasible"
    if v.too_few:
        return f"Too few to judge; meanwhile {v.choice}"
    return {
        "stay": f"Stay with {v.choice}",
        "go_up": f"Go up to {v.choice}",
        "cannot_tell": f"Cannot tell yet; meanwhile {v.choice}",
    }[v.decision]


def unit_noun(v: Verdict, count: int) -> str:
    """`query`, `queries`, `pairs`, `texts`."""
    if count == 1:
        return v.task.unit
    return "queries" if v.task.unit == "query" else f"{v.task.unit}s"


def confidence(v: Verdict) -> Markup:
    """The confidence in per cent."""
    return number(v.confidence, "short", " %", 0.01)


def facts(v: Verdict) -> list[tuple[str, str, str]]:
    """The figures of the choice: name, value, and a line in small."""
    found = [fact for c in v.candidates if c.id == v.choice for fact in _facts_of(v, c)]
    if v.queries_needed:
        found.append(("to label", number(v.queries_needed, ","), f"more {unit_noun(v, 2)}"))
    return found


def _facts_of(v: Verdict, c: CandidateReport) -> Iterator[tuple[str, str, str]]:
    q = c.quality
    yield v.task.metric, number(q.estimate, ".3f"), number(q.lower, ".3f") + " to " + number(q.upper, ".3f")
    if c.latency is not None:
        at = c.latency.at_rate
        yield "p95", number(at.p95.estimate, "", " ms"), Markup("at {} a second").format(number(at.rate))
        if c.latency.knee is not None:
            more = "arrivals a second" + (", or more" if c.latency.knee_at_least else "")
            yield "keeps up to", number(c.latency.knee), more
    if c.memory is not None:
        peak = c.memory.estimated if c.memory.peak is None else c.memory.peak
        yield "memory", gigabytes(peak), Markup("weights {}").format(gigabytes(c.memory.weights))
    if c.money is not None:
        price = Markup("at {} an hour{}").format(
            number(c.money.per_hour, "short"), ", at most" if c.money.at_most else ""
        )
        yield "a million queries", number(c.money.per_million_queries), price


def candidate_table(v: Verdict) -> TableData:
    """Every candidate with its quality, cost, memory and latency; prices where one is given."""
    heads = ["candidate", v.task.metric, "GFLOP a query", "bytes a vector", "memory", "tokens/s", "backfill", "p50",
             "p95", "p99"]  # fmt: skip
    priced = any(c.money is not None for c in v.candidates)
    heads += ["a million queries", "backfill price"] if priced else []
    return TableData(tuple(heads), tuple(_candidate_row(v, c, priced) for c in v.candidates))


def _candidate_row(v: Verdict, c: CandidateReport, priced: bool) -> Row:
    memory = None if c.memory is None else c.memory.estimated if c.memory.peak is None else c.memory.peak
    is_estimate = c.memory is not None and c.memory.peak is None
    cells = [
        Markup.escape(c.id) + (small(f"not feasible: {c.why_not}") if c.why_not else ""),
        interval(c.quality.estimate, c.quality.lower, c.quality.upper),
        number(c.flops_a_query, "", "", 1e9),
        number(c.bytes_a_vector, ","),
        gigabytes(memory) + (small("estimated") if is_estimate else ""),
        number(c.tokens_per_second),
        duration(c.backfill_seconds),
    ]
    if c.latency is None:
        cells += [number(None)] * 3
    else:
        at = c.latency.at_rate
        cells += [interval(q.estimate, q.lower, q.upper, "", " ms") for q in (at.p50, at.p95, at.p99)]
    if priced:
        prices = (None, None) if c.money is None else (c.money.per_million_queries, c.money.backfill)
        cells += map(number, prices)
    return Row(tuple(cells), _css(v, c))


def difference_table(v: Verdict) -> TableData:
    """All differences, larger minus smaller."""
    rows = (
        Row((
            f"{d.larger} − {d.smaller}", interval(d.estimate, d.lower, d.upper, "+.4f"), number(d.p),
            number(d.p_adjusted), number(d.sd, ".3f"),
        ))
        for d in v.differences
    )  # fmt: skip
    return TableData(("difference", "estimate", "p", "p, adjusted", "sd of pairs"), tuple(rows))


def load_table(v: Verdict) -> TableData:
    """Every rate of every sweep."""
    heads = ("candidate", "rate", "answered", "arrivals", "errors", "p50", "p95", "p99", "kept up")
    rows = (
        Row(
            (
                c.id, number(p.rate), number(p.answered), number(p.arrivals, ","), number(p.errors, ","),
                *(interval(q.estimate, q.lower, q.upper, "", " ms") for q in (p.p50, p.p95, p.p99)),
                _kept_up(p),
            ),
            _css(v, c),
        )
        for c in v.candidates if c.latency
        for p in c.latency.sweep
    )  # fmt: skip
    return TableData(heads, tuple(rows))


def _kept_up(p: LoadPoint) -> str:
    """Yes or no, and what disturbed the run."""
    answer = "yes" if p.kept_up else "no"
    if p.sender_late:
        return Markup(answer) + small(Markup("the sender was {} late").format(number(p.late_ms, "", " ms")))
    if p.busy >= BUSY:
        return Markup(answer) + small(busy_text(p.busy))
    return answer


def busy_text(share: float) -> Markup:
    """The processor time that other processes took, as a clause."""
    return Markup("other processes took {} of the processor").format(number(share, ".0f", " %", 0.01))


def slice_table(v: Verdict) -> TableData:
    """Every slice with its answer."""
    heads = ("slice", unit_noun(v, 2), f"{v.task.metric} of the choice", "answer", "candidate", "its difference")
    rows = []
    for s in v.slices:
        d = s.difference
        gain = number(None) if d is None else interval(d.estimate, d.lower, d.upper, "+.4f")
        cells = (s.name, number(s.units, ","), number(s.quality, ".3f"), SLICE_DECISIONS[s.decision])
        rows.append(Row((*cells, s.candidate or "–", gain)))
    return TableData(heads, tuple(rows))


def _css(v: Verdict, c: CandidateReport) -> str:
    return "chosen" if c.id == v.choice else ""
