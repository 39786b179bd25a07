"""Bodies of requests: read within a budget of bytes for all of them together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from starlette.requests import Request

from upsize.errors import Unavailable
from upsize.server.error_replies import TooLarge, TooSlow

MAX_BODY = 64 << 20
"""Bytes. 2,048 texts of 32 KB."""
BUDGET = 256 << 20
"""Bytes of all bodies that are being read or parsed."""
FREE = 64 << 10
"""Bytes of each body that do not count, so that large bodies keep no small one out."""
PIECE = 256 << 10
"""Bytes of which a body is put together."""
STALLED = 1.0
"""Seconds after which a body that does not go on may lose its place to one that does."""


@dataclass(eq=False)
class _BodyRead:
    task: asyncio.Task[object]
    heard: float
    counted: int = 0
    failure: Exception | None = None

    def stop(self, failure: Exception) -> None:
        """End its wait for the client."""
        if self.failure is None:
            self.failure = failure
            self.task.cancel()

    def take_failure(self) -> Exception:
        """The failure, which is not kept: its traceback holds what was read, and a cycle would hold that for long."""
        failure, self.failure = self.failure, None
        assert failure is not None  # asked for where there is one
        return failure


class Bodies:
    """The bodies that are being read. For one event loop."""

    def __init__(self, budget: int = BUDGET, largest: int = MAX_BODY, stalled: float = STALLED) -> None:
        self._budget, self._largest, self._stalled = budget, largest, stalled
        self._closed: str | None = None
        self._waiting: set[_BodyRead] = set()
        """Those whose end has not come."""
        self.held = 0
        """Bytes that count."""

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytes]:
        """A request's body; its bytes count until the block ends.

        TooLarge, TooSlow, Unavailable where the budget is used up or the service drains, or Starlette's
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
        """Wait for no client any more: every body that is not there as a whole fails, now and from now on."""
        self._closed = message
        for reading in list(self._waiting):
            reading.stop(Unavailable(message))

    async def _read(self, request: Request, reading: _BodyRead) -> bytes:
        # Pieces, not one growing array: to grow several large ones beside each other leaves holes of their size.
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
        reading.heard = asyncio.get_running_loop().time()
        counted = max(0, size - FREE)
        self.held += counted - reading.counted
        reading.counted = counted
        while self.held > self._budget:
            since = reading.heard - self._stalled
            others = self._waiting - {reading}
            stalled = min(
                (r for r in others if r.counted and r.failure is None and r.heard <= since),
                key=lambda r: r.heard,
                default=None,
            )
            if stalled is None:
                raise Unavailable(
                    f"Bodies of {self._budget >> 20} MiB are being read, and there is no room for this one. Try again."
                )
            stalled.stop(TooSlow("The body stopped, and others needed its place. Send it without a pause."))
            self.held -= stalled.counted
            stalled.counted = 0

    def _too_large(self) -> TooLarge:
        return TooLarge(f"The body is larger than {self._largest >> 20} MiB. Send fewer texts a call.")
