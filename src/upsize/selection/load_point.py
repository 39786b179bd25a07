"""The result of one open-loop run: quantiles of latency, and whether the service kept up. Pure.

Every time counts from the schedule, not from the instant of sending. A service keeps up if few arrivals are due and
unanswered, and if answers come at the rate of the schedule. Where the sender was behind its schedule, `sender_late`
says so: the run then shows nothing about the service beyond the rate that was really offered.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from upsize.selection.verdict import LoadPoint, Quantile

UNANSWERED_SHARE = 0.1
"""A service keeps up if at most this share of the arrivals is unanswered when the last one is due, and if its answers
lag behind the schedule by at most this share of the run's length; chosen."""
FEW_UNANSWERED = 3
"""Arrivals that may always be unanswered then; chosen."""
QUANTILES = (0.5, 0.95, 0.99)

Seconds = NDArray[np.float64]


@dataclass(frozen=True)
class LoadObservation:
    """One run at one rate. Times are seconds from its beginning, one an arrival, in order of the schedule."""

    rate: float
    instants: Seconds
    """When each was due."""
    sent: Seconds
    """When each was handed to the service; NaN where the run ended before."""
    ends: Seconds
    """When each was answered; NaN where the run ended before."""
    failed: NDArray[np.bool_]
    """Refused, failed, or unanswered at the end of the run."""
    seconds: float
    """From the beginning to the last answer, or to the end of the run."""
    busy: float = 0.0
    """Share of the wanted CPU time that other processes took (`compute.contention`), 0 to 1."""

    @property
    def latencies(self) -> Seconds:
        """(arrivals,) seconds from the scheduled instant to the answer, or to the end of the run."""
        return np.where(np.isnan(self.ends), self.seconds, self.ends) - self.instants

    @property
    def lateness(self) -> Seconds:
        """(arrivals,) seconds from the scheduled instant to the sending, or to the end of the run."""
        late: Seconds = np.where(np.isnan(self.sent), self.seconds, self.sent) - self.instants
        return late

    @property
    def errors(self) -> int:
        """Arrivals that failed or were not answered."""
        return int(self.failed.sum())

    @property
    def waiting(self) -> int:
        """Arrivals that were due and not answered at the instant of the last one."""
        return int(len(self.ends) - (self.ends <= self.instants[-1]).sum())

    @property
    def unsent(self) -> int:
        """Arrivals that were due and not sent a moment after the last one was due."""
        moment = self.instants[-1] + max(UNANSWERED_SHARE * self.instants[-1], 1e-3)
        return int(len(self.sent) - (self.sent <= moment).sum())


def quantile(latencies: Seconds, p: float, confidence: float = 0.95) -> Quantile:
    """The p-quantile in milliseconds, bounded by order statistics: the number of values below it is binomial
    (David and Nagaraja 2003, section 7.1). Answers that queued behind one another vary together; where many did, the
    bounds are narrower than they should be."""
    values, n = np.sort(latencies) * 1e3, len(latencies)
    low = int(stats.binom.ppf((1 - confidence) / 2, n, p))
    high = int(stats.binom.ppf((1 + confidence) / 2, n, p)) + 1
    estimate = float(np.quantile(values, p, method="inverted_cdf"))
    return Quantile(estimate, float(values[max(low - 1, 0)]), float(values[high - 1]) if high <= n else None)


def sender_late(observed: LoadObservation) -> bool:
    """Whether the sender, rather than the service, was behind: many arrivals were not sent when the last was due, or
    most of the p95 latency passed before the arrival was sent."""
    late, p95 = (float(np.quantile(values, 0.95)) for values in (observed.lateness, observed.latencies))
    return observed.unsent > max(FEW_UNANSWERED, UNANSWERED_SHARE * len(observed.sent)) or (
        late > 0.01 and late > p95 / 2
    )


def lagging(observed: LoadObservation) -> bool:
    """Whether answers came at a lower rate than arrivals were scheduled at: between the first and the last answer lies
    more than between their instants, by more than BACKLOG of it and than two answers take that need not wait."""
    first, last = float(observed.instants[0]), float(observed.instants[-1])
    ends = observed.ends[~np.isnan(observed.ends)]
    if len(ends) < len(observed.ends):
        return True
    lag = float(ends.max() - ends.min()) - (last - first)
    return lag > max(UNANSWERED_SHARE * last, 2 * float(observed.latencies.min()))


def load_point_of(observed: LoadObservation) -> LoadPoint:
    """Summarise a run."""
    n = len(observed.instants)
    p50, p95, p99 = (quantile(observed.latencies, p) for p in QUANTILES)
    few = observed.waiting <= max(FEW_UNANSWERED, UNANSWERED_SHARE * n)
    answered = (n - observed.errors) / observed.seconds
    fast = answered >= (1 - UNANSWERED_SHARE) * observed.rate and not lagging(observed)
    sent = observed.sent[~np.isnan(observed.sent)]
    return LoadPoint(
        rate=observed.rate,
        answered=answered,
        arrivals=n,
        errors=observed.errors,
        p50=p50,
        p95=p95,
        p99=p99,
        kept_up=few and fast and not observed.errors,
        offered=len(sent) / max(float(sent.max()), float(observed.instants[-1])) if len(sent) else 0.0,
        late_ms=float(np.quantile(observed.lateness, 0.95)) * 1e3,
        sender_late=sender_late(observed),
        busy=observed.busy,
    )
