"""A bounded pipeline: requests are submitted a little ahead, and their results are read in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future

from upsize.engine.types import EmbedRequest, Request, Result

AHEAD = 256
"""Sequences in the engine at once. Chosen: the engine never waits for the caller, and memory stays small."""


def submit_ahead(
    submit: Callable[[Request], Future[Result]], requests: Iterable[Request]
) -> Generator[Future[Result], None, None]:
    """Yield the future of each request, in order. The caller waits for it before it asks for the next.

    `requests` is read until AHEAD sequences are in flight. Close the generator (`contextlib.closing`): it cancels what
    is still in flight.
    """
    in_flight: deque[tuple[Future[Result], int]] = deque()
    try:
        for request in requests:
            size = len(request.inputs if isinstance(request, EmbedRequest) else request.documents)
            in_flight.append((submit(request), size))
            while sum(size for _, size in in_flight) > AHEAD:
                yield in_flight[0][0]
                in_flight.popleft()
        while in_flight:
            yield in_flight[0][0]
            in_flight.popleft()
    finally:
        for future, _ in in_flight:
            future.cancel()
