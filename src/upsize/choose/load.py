"""Latency under open-loop load: arrivals come when they come, whether or not the one before was answered.

A closed loop waits for an answer before it sends the next, so a stall delays one request and hides all that would have
come meanwhile ("coordinated omission"). Here the instants are drawn beforehand, a Poisson process at the user's rate,
and every latency counts from its own instant, also where the sender itself was late (Schroeder, Wierman and
Harchol-Balter 2006; Tene 2015).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from tqdm.auto import tqdm

from upsize.choose.verdict import Latency, LoadPoint, Quantile

LONGEST_SWEEP = 12
"""Rates of a sweep at most: each is twice the one before."""
FEWEST_BELOW = 3
"""Rates that are tried where even the first was too much, each half of the one before."""
FEWEST, MOST = 10, 2000
"""Arrivals of a run."""
BACKLOG = 0.1
"""Share of a run's arrivals that may be unanswered when the last one comes, if the service keeps up; 3 always may."""
PATIENCE = 2.0
"""Times a run's length that is waited for the last answers."""
QUANTILES = (0.5, 0.95, 0.99)

Answer = Future[None]
Send = Callable[[int], Answer]
"""Begins to answer arrival number i, and says when it is done."""


@dataclass(frozen=True)
class Observed:
    """One run at one rate."""

    rate: float
    latencies: NDArray[np.float64]
    """Seconds from each scheduled instant, in order of arrival. Of what was given up: until it was."""
    errors: int
    """Arrivals that were refused or failed, or given up."""
    waiting: int
    """Arrivals without an answer at the instant of the last one."""
    seconds: float
    """From the first instant to the last answer."""


def schedule(rate: float, arrivals: int, seed: int) -> NDArray[np.float64]:
    """(arrivals,) instants in seconds from the start, a Poisson process."""
    gaps = np.random.default_rng(seed).exponential(1 / rate, arrivals)
    instants: NDArray[np.float64] = np.cumsum(gaps)
    return instants


def offer(send: Send, instants: NDArray[np.float64], rate: float) -> Observed:
    """Send each arrival at its instant, and wait for the answers."""
    count = len(instants)
    ends = np.full(count, np.nan)
    failed = np.zeros(count, bool)
    left = threading.Semaphore(0)
    begun = time.monotonic()

    def note(place: int) -> Callable[[Answer], None]:
        def done(answer: Answer) -> None:
            failed[place] = answer.cancelled() or answer.exception() is not None
            ends[place] = time.monotonic() - begun
            left.release()

        return done

    answers = []
    for place, instant in enumerate(instants):
        time.sleep(max(begun + instant - time.monotonic(), 0))
        answer = send(place)
        answer.add_done_callback(note(place))
        answers.append(answer)
    waiting = int(np.isnan(ends).sum())
    deadline = time.monotonic() + PATIENCE * max(float(instants[-1]), 1.0)
    for _ in range(count):
        if not left.acquire(timeout=max(deadline - time.monotonic(), 0)):
            break
    given_up = np.isnan(ends)
    now = time.monotonic() - begun
    for place in np.flatnonzero(given_up).tolist():
        answers[place].cancel()
    latencies = np.where(given_up, now, ends) - instants
    return Observed(rate, latencies, int((failed | given_up).sum()), waiting, max(now, 1e-9))


def quantile(latencies: NDArray[np.float64], p: float, confidence: float = 0.95) -> Quantile:
    """The p-quantile in milliseconds, bounded by order statistics: the number of values below it is binomial
    (David and Nagaraja 2003, section 7.1). Answers that queued behind one another vary together; where many did, the
    bounds are narrower than they should be."""
    values, n = np.sort(latencies) * 1e3, len(latencies)
    low = int(stats.binom.ppf((1 - confidence) / 2, n, p))
    high = int(stats.binom.ppf((1 + confidence) / 2, n, p)) + 1
    estimate = float(np.quantile(values, p, method="inverted_cdf"))
    return Quantile(estimate, float(values[max(low - 1, 0)]), float(values[high - 1]) if high <= n else None)


def point(observed: Observed) -> LoadPoint:
    """What a run says."""
    n = len(observed.latencies)
    p50, p95, p99 = (quantile(observed.latencies, p) for p in QUANTILES)
    kept_up = observed.waiting <= max(3, BACKLOG * n) and not observed.errors
    return LoadPoint(
        observed.rate, (n - observed.errors) / observed.seconds, n, observed.errors, p50, p95, p99, kept_up
    )


def measure_latency(
    send: Send,
    rate: float,
    *,
    seconds: float,
    seed: int,
    sweep: bool = True,
    label: str = "",
    progress: bool = False,
) -> Latency:
    """At `rate` for about `seconds` seconds; then at twice that and so on up to the knee, half as long each.

    The knee is the greatest rate at which it kept up, found to a factor of 1.4.
    """
    with tqdm(desc=f"load {label}", unit="run", disable=not progress) as bar:

        def run(at: float, lasting: float) -> LoadPoint:
            arrivals = int(np.clip(at * lasting, FEWEST, MOST))
            found = point(offer(send, schedule(at, arrivals, seed), at))
            bar.update()
            bar.set_postfix_str(f"{at:.3g}/s: p50 {found.p50.estimate:.0f} ms, p95 {found.p95.estimate:.0f} ms")
            return found

        first = run(rate, seconds)
        points = [first]
        if sweep:
            points += list(_sweep(lambda at: run(at, seconds / 2), first))
    points.sort(key=lambda p: p.rate)
    if not sweep:
        return Latency(first)
    kept = [p.rate for p in points if p.kept_up]
    return Latency(first, tuple(points), max(kept) if kept else None)


def _sweep(run: Callable[[float], LoadPoint], first: LoadPoint) -> Iterator[LoadPoint]:
    """Double the rate until it is not kept up, then once between the two. Where the first is not: somewhat below what
    was answered, for that is nearly all there is."""
    if first.kept_up:
        at = first.rate
        for _ in range(LONGEST_SWEEP):
            at *= 2
            found = run(at)
            yield found
            if not found.kept_up:
                yield run(at / 2**0.5)
                return
        return
    at = 0.8 * first.answered or first.rate / 2
    for _ in range(FEWEST_BELOW):
        found = run(at)
        yield found
        if found.kept_up:
            return
        at /= 2


def chained(begin: Callable[[], Future[Any]], then: Sequence[Callable[[], Future[Any]]]) -> Answer:
    """An answer that is done when `begin` and after it each of `then` is: an embedding, then its reranking."""
    whole: Answer = Future()
    steps = iter(then)

    def advance(previous: Future[Any]) -> None:
        error = None if previous.cancelled() else previous.exception()
        if previous.cancelled() or whole.cancelled():
            whole.cancel()
        elif error is not None:
            whole.set_exception(error)
        elif (step := next(steps, None)) is None:
            whole.set_result(None)
        else:
            try:
                step().add_done_callback(advance)
            except Exception as refused:  # a step that is refused is an answer too
                whole.set_exception(refused)

    try:
        begin().add_done_callback(advance)
    except Exception as refused:
        whole.set_exception(refused)
    return whole
