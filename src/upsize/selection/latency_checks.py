"""From a measured latency: the limit that it breaks, the cost of queries, and notes of disturbances. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from upsize.compute.contention import BUSY
from upsize.number_format import plain, short
from upsize.selection.load_generator import disturbed
from upsize.selection.verdict import Cost, Latency, LoadPoint


def broken_limit(latency: Latency | None, limits: Mapping[str, float]) -> str | None:
    """The first limit that the latency breaks, as a clause; None where it keeps all.

    `limits` maps a quantile to milliseconds.
    """
    if latency is None:
        return None
    at = latency.at_rate
    disturbance = _disturbance(at)
    suffix = f" ({disturbance})" if disturbance else ""
    for name, limit in limits.items():
        measured = getattr(at, name).estimate
        if measured > limit:
            clause = f"{name} is {plain(measured)} ms at {short(at.rate)} a second"
            return f"{clause}, and the limit is {short(limit)} ms{suffix}"
    if not at.kept_up:
        return f"it does not keep up with {short(at.rate)} queries a second{suffix}"
    return None


def query_cost(price: float | None, latency: Latency | None, backfill: float | None) -> Cost | None:
    """Cost at the knee, the greatest rate that one machine is shown to keep up with. `price` is that of an hour of the
    machine, `backfill` the seconds of embedding all documents. None where one of them is unknown."""
    if price is None or latency is None or latency.knee is None or backfill is None:
        return None
    return Cost(price, price * 1e6 / latency.knee / 3600, price * backfill / 3600, latency.knee_at_least)


def disturbed_latency_notes(latencies: Sequence[tuple[str, Latency | None]]) -> list[str]:
    """A note for each (candidate id, latency) that was disturbed at the user's rate, or whose knee is a lower bound."""
    notes = []
    for name, latency in latencies:
        if latency is None:
            continue
        at, knee = latency.at_rate, latency.knee
        if disturbance := _disturbance(at):
            notes.append(
                f"{name}: {disturbance} while its latency was measured: it may be lower. The same command measures it "
                "again."
            )
        elif latency.knee_at_least and knee is not None:
            above = [p for p in latency.sweep if p.rate > knee]
            reason = _disturbance(above[0]) if above else "no higher rate was tried"
            notes.append(f"{name}: {reason}, so {plain(knee)} queries a second are a lower bound of its knee.")
    return notes


def disturbed_embedding_notes(shares: Sequence[tuple[str, float]]) -> list[str]:
    """A note for each (model, share) where other processes took much of the processor while it embedded."""
    return [
        f"{name}: other processes took {share:.0%} of the processor while it embedded the documents: its tokens a "
        "second may be more, and its backfill shorter."
        for name, share in shares
        if share >= BUSY
    ]


def _disturbance(at: LoadPoint) -> str:
    """What may have slowed the run besides the service, as a clause; empty where nothing did."""
    if not disturbed(at):
        return ""
    if at.busy >= BUSY:
        return f"other processes took {at.busy:.0%} of the processor"
    return f"the sender was {plain(at.late_ms)} ms late"
