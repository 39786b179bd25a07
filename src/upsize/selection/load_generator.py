"""Latency under open-loop load: each arrival has a scheduled instant, whether or not earlier ones are answered.

A closed loop waits for an answer before it sends the next request. A stall then delays one request and hides all that
would have arrived meanwhile ("coordinated omission"). Here the instants are drawn beforehand, a Poisson process at the
user's rate, and every latency counts from its own instant, also where the sender itself is late (Schroeder, Wierman
and Harchol-Balter 2006; Tene 2015).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upsize.compute.contention import BUSY, Contention
from upsize.number_format import plain
from upsize.progress import ProgressBar
from upsize.selection.load_point import LoadObservation, load_point_of
from upsize.selection.verdict import Latency, LoadPoint

MAX_DOUBLINGS = 12
"""Greatest number of rates in a sweep upwards, each twice the one before; chosen: a factor of 4,096."""
MAX_HALVINGS = 3
"""Rates that are tried where the first is not kept up with, each half of the one before; chosen."""
MIN_ARRIVALS, MAX_ARRIVALS = 10, 2000
"""Fewest and most arrivals of a run; chosen: 10 give a p50, and 2,000 a p99 with an upper bound."""
MIN_RUN_SECONDS = 0.5
"""Least seconds of a run, even where that takes more than MAX_ARRIVALS arrivals; chosen: in a shorter run a pause of
some milliseconds by the operating system looks like a service that does not keep up."""
MAX_OVERLOAD = 4.0
"""A rate is tried only up to this multiple of the greatest rate that was answered; chosen."""
DRAIN_FACTOR = 2.0
"""The last answers are awaited for this multiple of the run's length; chosen."""

Answer = Future[None]
Send = Callable[[int], Answer]
"""Begins to answer an arrival, given its number."""


def schedule(rate: float, arrivals: int, seed: int) -> NDArray[np.float64]:
    """(arrivals,) instants in seconds from the start: a Poisson process, given that `arrivals` come in arrivals / rate
    seconds. So the offered rate is exact, and not by chance a tenth less."""
    gaps = np.random.default_rng(seed).exponential(1.0, arrivals + 1)
    instants: NDArray[np.float64] = np.cumsum(gaps[:-1]) / gaps.sum() * (arrivals / rate)
    return instants


def run_open_loop(send: Send, instants: NDArray[np.float64], rate: float) -> LoadObservation:
    """Send each arrival at its instant, and wait for the answers. A run that lasts longer than its schedule by PATIENCE
    ends: an arrival that is not sent or answered by then counts as failed."""
    count, contention = len(instants), Contention()
    sent, ends = np.full(count, np.nan), np.full(count, np.nan)
    failed = np.zeros(count, bool)
    answered = threading.Semaphore(0)
    begun = time.monotonic()
    drain = DRAIN_FACTOR * max(float(instants[-1]), 1.0)

    def on_done(arrival: int) -> Callable[[Answer], None]:
        def done(answer: Answer) -> None:
            failed[arrival] = answer.cancelled() or answer.exception() is not None
            ends[arrival] = time.monotonic() - begun
            answered.release()

        return done

    answers: list[Answer] = []
    for arrival, instant in enumerate(instants):
        time.sleep(max(begun + instant - time.monotonic(), 0))
        sent[arrival] = time.monotonic() - begun
        if sent[arrival] > instants[-1] + drain:
            sent[arrival] = np.nan
            break
        answer = send(arrival)
        answer.add_done_callback(on_done(arrival))
        answers.append(answer)
    deadline = time.monotonic() + drain
    for _ in answers:
        if not answered.acquire(timeout=max(deadline - time.monotonic(), 0)):
            break
    ended = ends.copy()  # an answer that comes from here on is too late
    now = time.monotonic() - begun
    for arrival in np.flatnonzero(np.isnan(ended[: len(answers)])).tolist():
        answers[arrival].cancel()
    return LoadObservation(rate, instants, sent, ended, failed | np.isnan(ended), max(now, 1e-9), contention.share())


def measure_latency(
    send: Send,
    rate: float,
    *,
    seconds: float,
    seed: int,
    sweep: bool = True,
    limits: Mapping[str, float] | None = None,
    label: str = "",
    progress: bool = False,
) -> Latency:
    """Latency at `rate` queries a second for about `seconds` seconds, then at doubled rates up to the knee.

    The runs at doubled rates last half as long. The knee is the greatest rate at which the service keeps up, found to
    a factor of 1.4. `limits` maps a quantile to milliseconds. A run fails where the service does not keep up or a limit
    is broken. A failed run is repeated once if the sender was late or other processes took much of the machine; the
    better of the two counts.
    """
    with ProgressBar(f"{label}: load", unit="runs", show=progress) as bar:

        def run_once(at: float, lasting: float) -> LoadPoint:
            bar.describe(f"{label}: load of {plain(at)} queries a second")
            arrivals = int(np.clip(at * lasting, MIN_ARRIVALS, max(MAX_ARRIVALS, at * MIN_RUN_SECONDS)))
            found = load_point_of(run_open_loop(send, schedule(at, arrivals, seed), at))
            bar.update()
            return found

        def run(at: float, lasting: float) -> LoadPoint:
            found = run_once(at, lasting)
            if disturbed(found) and not _within_limits(found, limits or {}):
                again = run_once(at, lasting)
                if (not again.kept_up, again.p95.estimate) < (not found.kept_up, found.p95.estimate):
                    return again
            return found

        first = run(rate, seconds)
        points = [first]
        if sweep:
            points += list(_sweep(lambda at: run(at, seconds / 2), first))
    points.sort(key=lambda p: p.rate)
    if not sweep:
        return Latency(first)
    kept = [p.rate for p in points if p.kept_up]
    above = [p for p in points if not kept or p.rate > kept[-1]]
    return Latency(first, tuple(points), kept[-1] if kept else None, not above or disturbed(above[0]))


def disturbed(found: LoadPoint) -> bool:
    """Whether the sender or other processes may have made the service look slower than it is."""
    return found.sender_late or found.busy >= BUSY


def _within_limits(found: LoadPoint, limits: Mapping[str, float]) -> bool:
    return found.kept_up and all(getattr(found, name).estimate <= limit for name, limit in limits.items())


def _sweep(run: Callable[[float], LoadPoint], first: LoadPoint) -> Iterator[LoadPoint]:
    """Double the rate until the service does not keep up, then try once between the last two. Where it does not keep up
    with the first rate, try below the rate at which it answered, and halve."""
    at, answered = first.rate, first.answered
    if first.kept_up:
        for _ in range(MAX_DOUBLINGS):
            at *= 2
            if at > MAX_OVERLOAD * answered:
                return
            found = run(at)
            yield found
            answered = max(answered, found.answered)
            if not found.kept_up:
                yield run(at / 2**0.5)
                return
        return
    at = min(0.8 * answered, at / 2**0.5) or at / 2
    for _ in range(MAX_HALVINGS):
        found = run(at)
        yield found
        if found.kept_up:
            return
        at /= 2


def chain_futures(steps: Sequence[Callable[[], Future[Any]]]) -> Answer:
    """A future of all steps, each begun when the one before is done: an embedding, then its reranking. The first error
    ends it. Cancelling it cancels the step in flight, so that no work is left for the requests that follow."""
    whole: Answer = Future()
    remaining = iter(steps)

    def advance() -> None:
        step = next(remaining, None)
        if step is None:
            _settle(whole, None)
            return
        try:
            current = step()
        except Exception as error:  # the engine refused the request: the arrival failed
            _settle(whole, error)
        else:
            whole.add_done_callback(lambda done: done.cancelled() and current.cancel())
            current.add_done_callback(after)

    def after(previous: Future[Any]) -> None:
        if previous.cancelled():
            whole.cancel()
        elif (error := previous.exception()) is not None:
            _settle(whole, error)
        elif not whole.cancelled():
            advance()

    advance()
    return whole


def _settle(whole: Answer, error: BaseException | None) -> None:
    """Set the result, unless the future was cancelled meanwhile."""
    if not whole.set_running_or_notify_cancel():
        return
    if error is None:
        whole.set_result(None)
    else:
        whole.set_exception(error)
