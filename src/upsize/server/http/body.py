"""Reads request bodies within a budget of bytes for all of them together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from starlette.requests import Request

from upsize.errors import Unavailable
from upsize.server.error_replies import TooLarge, TooSlow

MAX_BODY = 64 << 20
"""Bytes of one body: 2,048 texts of 32 KB."""
BUDGET = 256 << 20
"""Bytes of all bodies that are being read or decoded."""
UNCOUNTED = 64 << 10
"""Bytes of each body that do not count towards the budget, so that large bodies never keep small ones out."""
PIECE = 256 << 10
"""Bytes of one piece of a body in memory."""
STALLED = 1.0
"""Seconds without data after which a body may lose its place to another one."""


@dataclass(eq=False)
class _BodyRead:
    task: asyncio.Task[object]
    last_data: float
    counted: int = 0
    failure: Exception | None = None

    def stop(self, failure: Exception) -> None:
        """Make its reader raise `failure` instead of waiting for the client."""
        if self.failure is None:
            self.failure = failure
            self.task.cancel()

    def take_failure(self) -> Exception:
        """Return the failure and forget it. Its traceback refers to the bytes read, and a cycle would keep them."""
        failure, self.failure = self.failure, None
        assert failure is not None  # callers check first
        return failure


class Bodies:
    """The bodies that are being read, for one event loop."""

    def __init__(self, budget: int = BUDGET, largest: int = MAX_BODY, stalled: float = STALLED) -> None:
        self._budget, self._largest, self._stalled = budget, largest, stalled
        self._closed: str | None = None
        self._waiting: set[_BodyRead] = set()
        """Bodies that are not complete."""
        self.held = 0
        """Bytes that count towards the budget."""

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytes]:
        """Read the body of a request. Its bytes count until the context ends.

        Raises TooLarge, TooSlow, Unavailable if the budget is used up or the service drains, and Starlette's
        ClientDisconnect.
        """
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared[:20]) > self._largest:
            raise self._too_large()
        task = asyncio.current_task()
        assert task is not None  # a coroutine runs in one
        reading = _BodyRead(task, asyncio.get_running_loop().time())
        try:
            yield await self._read(request, reading)
        finally:
            self.held -= reading.counted

    def close(self, message: str) -> None:
        """Fail every body that is not complete, now and from now on."""
        self._closed = message
        for reading in list(self._waiting):
            reading.stop(Unavailable(message))

    async def _read(self, request: Request, reading: _BodyRead) -> bytes:
        # Pieces instead of one growing array: several large arrays that grow together fragment the memory.
        pieces, last, size = [], bytearray(), 0
        self._waiting.add(reading)
        try:
            async for chunk in request.stream():
                last += chunk
                size += len(chunk)
                if len(last) >= PIECE:
                    pieces.append(bytes(last))
                    last.clear()
                self._count(reading, size)
                if self._closed is not None:
                    raise Unavailable(self._closed)
        except asyncio.CancelledError:
            if reading.failure is None:
                raise
            reading.task.uncancel()
            raise reading.take_failure() from None
        finally:
            self._waiting.discard(reading)
        return b"".join([*pieces, last])

    def _count(self, reading: _BodyRead, size: int) -> None:
        if size > self._largest:
            raise self._too_large()
        reading.last_data = asyncio.get_running_loop().time()
        counted = max(0, size - UNCOUNTED)
        self.held += counted - reading.counted
        reading.counted = counted
        while self.held > self._budget:
            since = reading.last_data - self._stalled
            others = self._waiting - {reading}
            stalled = min(
                (r for r in others if r.counted and r.failure is None and r.last_data <= since),
                key=lambda r: r.last_data,
                default=None,
            )
            if stalled is None:
                raise Unavailable(
                    f"The server is reading {self._budget >> 20} MiB of bodies and has no room for this one. Try again."
                )
            stalled.stop(TooSlow("The body paused while other requests needed its place. Send it without a pause."))
            self.held -= stalled.counted
            stalled.counted = 0

    def _too_large(self) -> TooLarge:
        return TooLarge(f"The body is larger than {self._largest >> 20} MiB. Send fewer texts per call.")
