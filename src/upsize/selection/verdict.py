"""The verdict: the answer with all that it rests on. Its fields are those of `verdict.json` (docs/verdict.md)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

SCHEMA = 1
"""Schema of verdict.json. A new field keeps it; a field whose meaning changes raises it."""

T = TypeVar("T")
Decision = Literal["stay", "go_up", "cannot_tell"]
SliceDecision = Literal["as_all", "go_up", "cannot_tell", "too_few"]


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95 % interval."""

    estimate: float
    lower: float
    upper: float


@dataclass(frozen=True)
class Difference:
    """Quality of `larger` minus quality of `smaller`, with bounds that hold for all comparisons at once."""

    smaller: str
    larger: str
    estimate: float
    lower: float
    upper: float
    p: float
    """Two-sided p-value of the randomisation test that the two are equal, (b + 1) / (B + 1)."""
    p_adjusted: float
    """The p-value adjusted for all comparisons of the family."""
    sd: float
    """Standard deviation of the units' paired differences: what a sample size is planned with."""


@dataclass(frozen=True)
class Quantile:
    """A quantile of latencies in milliseconds, with its 95 % interval from order statistics."""

    estimate: float
    lower: float
    upper: float | None
    """None: too few answers for an upper bound."""


@dataclass(frozen=True)
class LoadPoint:
    """Load at one rate of arrivals. Latency counts from the scheduled instant of each arrival."""

    rate: float
    """Arrivals a second that were scheduled."""
    answered: float
    """Answers a second that came."""
    arrivals: int
    errors: int
    p50: Quantile
    p95: Quantile
    p99: Quantile
    kept_up: bool
    """Whether few arrivals were due and unanswered at the end, and answers came at the rate of the schedule."""
    offered: float | None = None
    """Arrivals a second that were really sent; None in files of earlier versions, as are the following at their
    defaults."""
    late_ms: float = 0.0
    """95 % of the arrivals were sent at most so long after they were due."""
    sender_late: bool = False
    """Whether the sender was behind its schedule: then the run does not tell what the service can do at this rate."""
    busy: float = 0.0
    """Share of the wanted CPU time that other processes took, 0 to 1; from 0.1 on the latencies are disturbed."""


@dataclass(frozen=True)
class Latency:
    """Latency at the user's rate, and at rates up to the knee."""

    at_rate: LoadPoint
    sweep: tuple[LoadPoint, ...] = ()
    """In order of rate, that of `at_rate` included."""
    knee: float | None = None
    """Greatest rate of the sweep at which it kept up; None where no sweep was asked for, or it kept up at none."""
    knee_at_least: bool = False
    """Whether the service may keep up with more: no higher rate was tried, or at it the sender was late."""


@dataclass(frozen=True)
class Memory:
    """Memory of a candidate in bytes."""

    weights: int
    estimated: int
    """Weights and work, from the shapes, before anything was loaded."""
    peak: int | None
    """Measured in a process of its own that loads the model and embeds the longest texts; None: not measured."""


@dataclass(frozen=True)
class Cost:
    """Cost in the currency of the given price."""

    per_hour: float
    per_million_queries: float
    backfill: float
    """Cost of embedding the documents once."""
    at_most: bool = False
    """Whether a million queries may cost less, since the knee is a lower bound."""


@dataclass(frozen=True)
class CandidateReport:
    """One candidate with its quality, cost and latency. Candidates are ordered smallest first."""

    id: str
    """E.g. `demo-s`, `demo-s@64`, `demo-s@64:float32`, `demo-s+demo-rerank/20`."""
    model: str
    dimension: int
    precision: str
    reranker: str | None
    depth: int | None
    """Documents of the first stage that the reranker sees."""
    fingerprint: str
    feasible: bool
    why_not: str | None
    """Why it is not feasible although it was measured, as a clause; None where it is feasible."""
    quality: Interval
    flops_a_query: float
    """Floating-point operations of a query of mean length, reranking included. Candidates are ordered by it, then by
    memory, then by vector size."""
    bytes_a_vector: int
    memory: Memory | None
    tokens_per_second: float | None
    """Throughput of the backfill: documents in packed batches."""
    backfill_seconds: float | None
    latency: Latency | None
    money: Cost | None
    run: str
    """Folder of its run, relative to verdict.json."""


@dataclass(frozen=True)
class InfeasibleCandidate:
    """A candidate that was not loaded, with the arithmetic that excludes it."""

    id: str
    model: str
    dimension: int
    precision: str
    reranker: str | None
    depth: int | None
    reason: str
    arithmetic: tuple[str, ...]
    """The arithmetic, line by line."""


@dataclass(frozen=True)
class SliceVerdict:
    """The answer for one slice of the units. Bounds hold for all slices and comparisons at once."""

    name: str
    units: int
    decision: SliceDecision
    """`as_all`: nothing is surely better than the choice here by more than delta, and nothing can be; `too_few`: not
    judged."""
    quality: float | None
    """Quality of the choice on the slice."""
    candidate: str | None
    """With `go_up` the smallest that is surely better here and not surely worse than another by more than delta; with
    `cannot_tell` the smallest that may be better."""
    difference: Interval | None
    """`candidate` minus the choice."""


@dataclass(frozen=True)
class SampleSize:
    """The number of units that settles the decision with probability `power`."""

    total: int
    more: int
    if_as_observed: int | None
    """Units in all, if the true differences are those observed; None where an observed one is delta itself."""
    power: float
    sd: float
    """Upper confidence limit of the paired standard deviation that it was planned with."""


@dataclass(frozen=True)
class TaskFacts:
    """The task, its metric and its units."""

    name: str
    metric: str
    unit: str
    """`query`, `pair` or `text`."""
    units: int
    independent: int
    """Units without repeats, or the clusters that they come in."""
    seeds: int
    """Of the algorithm (k-means, logistic regression); 1 where there is none."""


@dataclass(frozen=True)
class Verdict:
    """The answer to "which size?" on the user's data."""

    decision: Decision
    choice: str | None
    """Id of the candidate to use (for `cannot_tell`: to use meanwhile); None where none is feasible."""
    settled: bool
    """Whether the choice is shown to be at most delta below the best. A `go_up` may be sure and yet leave open whether
    a still larger candidate pays."""
    reason: str
    """One sentence."""
    runner_up: str | None
    what_would_change_it: tuple[str, ...]
    queries_needed: int | None
    """Units to label in addition; None where it is settled, or where no number would do (`reason` says why)."""
    sample_size: SampleSize | None
    delta: float
    confidence: float
    candidates: tuple[CandidateReport, ...]
    refused: tuple[InfeasibleCandidate, ...]
    differences: tuple[Difference, ...]
    slices: tuple[SliceVerdict, ...]
    task: TaskFacts
    dataset: Mapping[str, Any]
    """Path, name, kind, digest and counts of the data."""
    seed: int
    resamples: int
    too_few: bool = False
    """Whether there are too few independent units to judge by: the decision is then `cannot_tell`."""
    limits: Mapping[str, float] = field(default_factory=dict)
    """Quantile (`p50`, `p95`, `p99`) → milliseconds that the user allows it."""
    notes: tuple[str, ...] = ()
    """What a reader must know: truncated texts, skipped rows, a busy machine."""
    machine: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    date: str = ""
    command: str = ""
    schema: int = SCHEMA

    def to_json(self) -> dict[str, Any]:
        """A dictionary for JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Verdict:
        """A verdict from the values of a verdict.json. ValueError for another schema."""
        if value.get("schema") != SCHEMA:
            raise ValueError(f"verdict.json has schema {value.get('schema')!r}; this upsize reads {SCHEMA}.")
        return from_plain(cls, value)

    @classmethod
    def read(cls, path: Path) -> Verdict:
        """Read a verdict.json. ValueError for another schema."""
        return cls.from_json(json.loads(path.read_text(encoding="utf-8")))


def from_plain(kind: type[T], value: Any) -> T:
    """An object of `kind` from the plain values of a JSON file. Unknown fields are ignored, absent ones get their
    defaults. ValueError where a value has another type."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise ValueError(f"{kind.__name__}: {error}") from error
