"""What a measured latency says of a candidate: the limit it breaks, its price, how far it can be trusted. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from upsize.compute.contention import BUSY
from upsize.number_format import plain, short
from upsize.selection.load_generator import disturbed
from upsize.selection.verdict import Cost, Latency, LoadPoint


def broken_limit(latency: Latency | None, limits: Mapping[str, float]) -> str | None:
    """The first limit that is not kept, as a sentence's rest; None where all are. `limits`: quantile → milliseconds."""
    if latency is None:
        return None
    at = latency.at_rate
    why = _disturbance(at)
    beside = f" ({why})" if why else ""
    for name, limit in limits.items():
        measured = getattr(at, name).estimate
        if measured > limit:
            told = f"{name} is {plain(measured)} ms at {short(at.rate)} a second"
            return f"{told}, and the limit is {short(limit)} ms{beside}"
    if not at.kept_up:
        return f"it does not keep up with {short(at.rate)} queries a second{beside}"
    return None


def query_cost(price: float | None, latency: Latency | None, backfill: float | None) -> Cost | None:
    """At the knee, the greatest rate that one machine is shown to keep up with. `price` is of an hour, `backfill` in
    seconds."""
    if price is None or latency is None or latency.knee is None or backfill is None:
        return None
    return Cost(price, price * 1e6 / latency.knee / 3600, price * backfill / 3600, latency.knee_at_least)


def disturbed_latency_notes(latencies: Sequence[tuple[str, Latency | None]]) -> list[str]:
    """A note for each candidate whose latency at the user's rate may be too high, or whose knee is a lower bound."""
    notes = []
    for name, latency in latencies:
        if latency is None:
            continue
        at, knee = latency.at_rate, latency.knee
        if why := _disturbance(at):
            notes.append(
                f"{name}: {why} while its latency was measured: it may be lower. The same command measures it again."
            )
        elif latency.knee_at_least and knee is not None:
            above = [p for p in latency.sweep if p.rate > knee]
            why = _disturbance(above[0]) if above else "no higher rate was tried"
            notes.append(f"{name}: {why}, so {plain(knee)} queries a second are what it keeps up with at least.")
    return notes


def disturbed_embedding_notes(busy: Sequence[tuple[str, float]]) -> list[str]:
    """A note for each model, with the share that other processes took of the processor while it embedded."""
    return [
        f"{name}: other processes took {share:.0%} of the processor while it embedded the documents: its tokens a "
        "second may be more, and its backfill shorter."
        for name, share in busy
        if share >= BUSY
    ]


def _disturbance(at: LoadPoint) -> str:
    """What may have made a run slow that is not the service's doing; empty where nothing did."""
    if not disturbed(at):
        return ""
    if at.busy >= BUSY:
        return f"other processes took {at.busy:.0%} of the processor"
    return f"the sender was {plain(at.late_ms)} ms late"
