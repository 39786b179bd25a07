"""Latency under open-loop load: arrivals come when they come, whether or not the one before was answered.

A closed loop waits for an answer before it sends the next, so a stall delays one request and hides all that would have
come meanwhile ("coordinated omission"). Here the instants are drawn beforehand, a Poisson process at the user's rate,
and every latency counts from its own instant, also where the sender itself was late (Schroeder, Wierman and
Harchol-Balter 2006; Tene 2015).
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
"""Rates of a sweep at most: each is twice the one before."""
MAX_HALVINGS = 3
"""Rates that are tried where even the first was too much, each half of the one before."""
MIN_ARRIVALS, MAX_ARRIVALS = 10, 2000
"""Arrivals of a run."""
MIN_RUN_SECONDS = 0.5
"""Seconds of a run at least, also where that takes more than MOST arrivals: in less a pause of some milliseconds, which
the machine is free to make, would look as a service that does not keep up."""
MAX_OVERLOAD = 4.0
"""Times the greatest rate that was answered up to which a rate is tried."""
DRAIN_FACTOR = 2.0
"""Times a run's length that is waited for the last answers."""

Answer = Future[None]
Send = Callable[[int], Answer]
"""Begins to answer arrival number i, and says when it is done."""


def schedule(rate: float, arrivals: int, seed: int) -> NDArray[np.float64]:
    """(arrivals,) instants in seconds from the start: a Poisson process, given that so many arrive in arrivals / rate
    seconds. So a run offers its rate and not by chance a tenth less."""
    gaps = np.random.default_rng(seed).exponential(1.0, arrivals + 1)
    instants: NDArray[np.float64] = np.cumsum(gaps[:-1]) / gaps.sum() * (arrivals / rate)
    return instants


def run_open_loop(send: Send, instants: NDArray[np.float64], rate: float) -> LoadObservation:
    """Send each arrival at its instant, and wait for the answers. A run that lasts longer than its schedule by PATIENCE
    is given up: what is not sent or answered by then counts as failed."""
    count, contention = len(instants), Contention()
    sent, ends = np.full(count, np.nan), np.full(count, np.nan)
    failed = np.zeros(count, bool)
    left = threading.Semaphore(0)
    begun = time.monotonic()
    patience = DRAIN_FACTOR * max(float(instants[-1]), 1.0)

    def note(place: int) -> Callable[[Answer], None]:
        def done(answer: Answer) -> None:
            failed[place] = answer.cancelled() or answer.exception() is not None
            ends[place] = time.monotonic() - begun
            left.release()

        return done

    answers: list[Answer] = []
    for place, instant in enumerate(instants):
        time.sleep(max(begun + instant - time.monotonic(), 0))
        sent[place] = time.monotonic() - begun
        if sent[place] > instants[-1] + patience:
            sent[place] = np.nan
            break
        answer = send(place)
        answer.add_done_callback(note(place))
        answers.append(answer)
    deadline = time.monotonic() + patience
    for _ in answers:
        if not left.acquire(timeout=max(deadline - time.monotonic(), 0)):
            break
    ended = ends.copy()  # an answer that comes now is too late
    now = time.monotonic() - begun
    for place in np.flatnonzero(np.isnan(ended[: len(answers)])).tolist():
        answers[place].cancel()
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
    """At `rate` for about `seconds` seconds; then at twice that and so on up to the knee, half as long each.

    The knee is the greatest rate at which it kept up, found to a factor of 1.4. A run that says no, for the service did
    not keep up or a quantile is beyond its limit in `limits` (milliseconds), is made once more if the sender was late
    or other processes took much of the machine meanwhile: the better of the two counts.
    """
    with ProgressBar(f"{label}: load", unit="runs", show=progress) as bar:

        def once(at: float, lasting: float) -> LoadPoint:
            bar.describe(f"{label}: load of {plain(at)} queries a second")
            arrivals = int(np.clip(at * lasting, MIN_ARRIVALS, max(MAX_ARRIVALS, at * MIN_RUN_SECONDS)))
            found = load_point_of(run_open_loop(send, schedule(at, arrivals, seed), at))
            bar.update()
            return found

        def run(at: float, lasting: float) -> LoadPoint:
            found = once(at, lasting)
            if disturbed(found) and not _good(found, limits or {}):
                again = once(at, lasting)
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
    """Whether a run may have found less than the service can do."""
    return found.sender_late or found.busy >= BUSY


def _good(found: LoadPoint, limits: Mapping[str, float]) -> bool:
    return found.kept_up and all(getattr(found, name).estimate <= limit for name, limit in limits.items())


def _sweep(run: Callable[[float], LoadPoint], first: LoadPoint) -> Iterator[LoadPoint]:
    """Double the rate until it is not kept up, then once between the two. Where the first is not: somewhat below what
    was answered, for that is nearly all there is."""
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


def chain_futures(begin: Callable[[], Future[Any]], then: Sequence[Callable[[], Future[Any]]]) -> Answer:
    """An answer that is done when `begin` and after it each of `then` is: an embedding, then its reranking. Cancelled,
    it cancels the step that is under way, so that the work is not left to whoever comes next."""
    whole: Answer = Future()
    steps = iter([begin, *then])

    def advance() -> None:
        step = next(steps, None)
        if step is None:
            _settle(whole, None)
            return
        try:
            current = step()
        except Exception as refused:  # a step that is refused is an answer too
            _settle(whole, refused)
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
    """Done, unless it was cancelled in the very moment."""
    if not whole.set_running_or_notify_cancel():
        return
    if error is None:
        whole.set_result(None)
    else:
        whole.set_exception(error)
