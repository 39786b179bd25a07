"""One HTTP/1.1 connection: uvicorn's httptools protocol with limits on a client's time and memory.

uvicorn limits neither the time for a head or a body, nor the size of a head, nor the unread part of a reply.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from enum import IntEnum
from socket import SO_LINGER, SOL_SOCKET
from typing import Any, NoReturn, TypeVar

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from upsize.errors import Unavailable
from upsize.server.auth import OPEN
from upsize.server.codec import dumps
from upsize.server.error_replies import reply_to
from upsize.server.http.head import HeadRefused, check_framing, host_of
from upsize.server.http.pool import IDLE, MADE_ROOM, TOO_MANY, UNREAD, Pool

MAX_CHUNK_OVERHEAD, CHUNK_SLACK_BYTES = 4, 1 << 20
"""A chunked body may take MAX_CHUNK_OVERHEAD times its own bytes plus CHUNK_SLACK_BYTES on the wire. Small chunks with
extensions take more."""
BUSY = "The server has reached its limit of connections. Try again in a second."
UPGRADE_HEADERS = frozenset({b"upgrade", b"connection", b"http2-settings"})
"""Headers that request another protocol."""

T = TypeVar("T")


class Waits(IntEnum):
    """The data that a connection waits for from its client. Lower values are closed first to make room."""

    NOTHING = 0
    REQUEST = 1
    HEAD = 2
    BODY = 3


class HttpConnection(HttpToolsProtocol):
    """A connection within ConnectionLimits. A request to upgrade the protocol (h2c, websocket) is served without it."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        pool: Pool,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._pool, self._limits = pool, pool.limits
        self._phase = Waits.REQUEST
        """The phase of the arriving request. Earlier requests may still be processed."""
        self._since = self._checked_at = self.last_data = self.loop.time()
        self._running: RequestResponseCycle | None = None
        """The request that is being processed, or was last."""
        self._served = self._begun = False
        self._broken = False
        """Further data is ignored, because its meaning is ambiguous."""
        self._refusal: tuple[int, str] | None = None
        self._upgrading = False
        self._head = self._header_count = self._wire = self._payload = 0
        self._unread, self._unread_since = 0, 0.0
        self._payload_before = 0
        """Bytes of the body that had arrived at `_since`."""

    # Called by the pool

    @property
    def waits_for(self) -> Waits:
        """The data it waits for. NOTHING while the server processes a request."""
        return Waits.NOTHING if self._earlier or self.transport.is_closing() else self._phase

    @property
    def fresh(self) -> bool:
        """Whether its client has sent nothing yet."""
        return self._phase is Waits.REQUEST and not self._served

    @property
    def waiting_since(self) -> float:
        """The loop's time since when it waits for its client's next request, head, or part of a body."""
        return self.last_data if self._phase is Waits.BODY else self._since

    def close_for_room(self) -> None:
        """Close to make room for another connection."""
        self._end(MADE_ROOM, None if self._phase is Waits.REQUEST else 408)

    def check_timeouts(self, now: float) -> None:
        """Close if a time limit has passed."""
        elapsed, self._checked_at = now - self._checked_at, now
        self._check_reply(now)
        limits, phase = self._limits, self.waits_for
        if phase is Waits.NOTHING:
            return
        if self.flow.read_paused:  # the server stopped reading
            self._since += elapsed
        elif phase is Waits.REQUEST:
            if now - self._since > (limits.idle_seconds if self._served else limits.head_seconds):
                self._end(IDLE, None)
        elif phase is Waits.HEAD:
            if now - self._since > limits.head_seconds:
                self._end(f"the headers did not arrive within {limits.head_seconds:g} s", 408)
        elif now - self.last_data > limits.body_seconds:
            self._end(f"the body stopped for {limits.body_seconds:g} s", 408)
        elif now - self._since > limits.body_seconds:
            if self._payload - self._payload_before < limits.body_rate * limits.body_seconds:
                self._end(f"the body came more slowly than {limits.body_rate >> 10} KiB/s", 408)
            self._since, self._payload_before = now, self._payload

    # Called by the transport and the parser

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected."""
        super().connection_made(transport)
        if not self._pool.admit(self):
            self._refuse(503, BUSY)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed, by the client or the server."""
        self._pool.remove(self)
        self._unset_keepalive_if_required()
        self.pipeline.clear()
        if (
            self._running is not None and not self._running.response_complete
        ):  # uvicorn only notifies the newest request
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse received data."""
        self._unset_keepalive_if_required()
        if self._broken or self.transport.is_closing():
            return
        self.last_data = self.loop.time()
        if self._phase is Waits.REQUEST:
            self._enter(Waits.HEAD)
        parts = [memoryview(data)]
        try:
            while parts:
                part = parts.pop(0)
                try:
                    self.parser.feed_data(part)
                except httptools.HttpParserUpgrade as stopped:
                    parts = [memoryview(self._without_upgrade()), part[stopped.args[0] :]]
        except httptools.HttpParserError:
            self._refuse(*(self._refusal or (400, "This is not a valid HTTP/1.1 request.")))
            return
        self._wire = 0 if self._begun else self._wire + len(data)  # the offset at which the head began is unknown
        self._begun = False
        if self._phase is Waits.HEAD and self._wire > self._limits.head_bytes:
            self._refuse(431, f"The headers take more than {self._limits.head_bytes >> 10} KiB.")
        elif self._phase is Waits.BODY and self._wire > MAX_CHUNK_OVERHEAD * self._payload + CHUNK_SLACK_BYTES:
            self._refuse(400, "The body comes in chunks that are too small.")

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._enter(Waits.HEAD)
        self._head = self._header_count = self._payload = 0
        self._begun = True

    def on_url(self, url: bytes) -> None:
        """A part of the request's target."""
        self._head += len(url)
        if self._head > self._limits.head_bytes:
            self._reject(414, f"The path and query take more than {self._limits.head_bytes >> 10} KiB.")
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or after the body a trailer, which is ignored."""
        self._head += len(name) + len(value) + 4
        self._header_count += 1
        if self._head > self._limits.head_bytes or self._header_count > self._limits.headers:
            self._reject(
                431,
                f"There are more than {self._limits.headers} headers, or they take more than "
                f"{self._limits.head_bytes >> 10} KiB.",
            )
        if self._phase is Waits.HEAD:
            super().on_header(name, value)
            if name.lower() == b"transfer-encoding":  # before the parser refuses it with a vaguer message
                self._checked(check_framing, self.headers, "1.1")

    def on_headers_complete(self) -> None:
        """The head is complete: start to process the request."""
        if self.parser.get_method() == b"CONNECT":
            self._reject(400, "CONNECT is only for proxies.")
        self._upgrading = self.parser.should_upgrade()
        if self._upgrading:
            return
        target = httptools.parse_url(self.url) if self.url[:1] != b"*" else None
        if target is None or target.path is None:
            self._reject(400, "The request's target has no path.")
        self._set_host()
        if len(self.pipeline) >= self._limits.pipelined:
            self._reject(400, "Too many requests on this connection wait for the reply to the first one.")
        self._enter(Waits.BODY)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._payload += len(body)
        if self.cycle.response_complete and self._payload > self._limits.discard_bytes:
            self._reject(413, "The body continues after the reply.")
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is complete."""
        if not self._upgrading:
            self._enter(Waits.REQUEST)
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """The reply is written."""
        self._served = True
        if self._phase is not Waits.BODY:
            self._since = self.loop.time()
        elif self._phase is Waits.BODY and self.expect_100_continue and not self._payload:
            self.transport.close()  # the client may send the body or not, so the next bytes are ambiguous
        super().on_response_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        if cycle.scope["path"].rstrip("/") not in OPEN and not self._pool.serves(self):
            self._pool.count(TOO_MANY)
            app = _busy
        super()._start_asgi_task(cycle, app)

    # Helpers

    @property
    def _earlier(self) -> bool:
        """Whether an earlier request than the arriving one has no complete reply yet."""
        running = self._running
        arriving = self._phase is Waits.BODY and running is self.cycle
        return running is not None and not running.response_complete and not arriving

    def _enter(self, phase: Waits) -> None:
        self._phase, self._since, self._payload_before = phase, self.loop.time(), 0

    def _set_host(self) -> None:
        """Leave one Host header for the application. The host of an absolute target replaces the header."""
        version = self.parser.get_http_version()
        self._checked(check_framing, self.headers, version)
        host = self._checked(host_of, self.headers, self.url, version)
        self.headers[:] = [header for header in self.headers if header[0] != b"host"]  # the list is the scope's
        if host is not None:
            self.headers.append((b"host", host))

    def _checked(self, check: Callable[..., T], *given: object) -> T:
        try:
            return check(*given)
        except HeadRefused as refused:
            self._reject(refused.status, refused.message)

    def _reject(self, status: int, message: str) -> NoReturn:
        """Stop the parser from within one of its callbacks, and reply."""
        self._refusal = (status, message)
        raise ValueError(message)

    def _without_upgrade(self) -> bytes:
        """The request's head without the upgrade, for a new parser.

        llhttp ends a message that requests an upgrade after its head, and treats what follows as the other protocol.
        """
        kept = [(n, v) for n, v in self.headers if n not in UPGRADE_HEADERS]
        connection = b",".join(v for n, v in self.headers if n == b"connection").lower()
        if b"close" in (token.strip() for token in connection.split(b",")):
            kept.append((b"connection", b"close"))
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        lines = [b"%s %s HTTP/%s" % (method, self.url, version), *(b"%s: %s" % header for header in kept), b"", b""]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn
        return b"\r\n".join(lines)

    def _check_reply(self, now: float) -> None:
        """Abort a connection whose client does not read its reply."""
        unread = self.transport.get_write_buffer_size()
        expected = self._limits.write_rate * self._limits.write_seconds
        if not unread or unread > self._unread or self._unread - unread >= expected:
            self._unread, self._unread_since = unread, now
        elif now - self._unread_since > self._limits.write_seconds:
            self._pool.count(UNREAD)
            # Reset the socket, otherwise the kernel keeps the unread data.
            self.transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()

    def _end(self, reason: str, status: int | None) -> None:
        """Close for a reason, with a reply if `status` is given."""
        self._pool.count(reason)
        if status is None:
            self._broken = True
            self.transport.close()
        else:
            self._refuse(status, f"The connection is closed: {reason}.")

    def _refuse(self, status: int, message: str) -> None:
        """Ignore further data and close with an error reply. An earlier request still gets its own reply instead."""
        self._broken = True
        if self._earlier and self._running is not None:
            if self.pipeline and self.pipeline[0][0].more_body:  # the newest request is on the left
                self.pipeline.popleft()
            last = self.pipeline[0][0] if self.pipeline else self._running
            last.keep_alive = False
            return
        kind = "invalid_request_error" if status < 500 else "server_error"
        body = dumps({"error": {"message": message, "type": kind, "param": None, "code": _CODES[status]}})
        lines = [b"content-type: application/json", b"content-length: %d" % len(body), b"connection: close"]
        if status == 503:
            lines.append(b"retry-after: 1")
        if not (self._phase is Waits.BODY and self.cycle.response_started):
            self.transport.write(STATUS_LINE[status] + b"\r\n".join(lines) + b"\r\n\r\n" + body)
        self.transport.close()


_CODES = {400: "invalid_request", 408: "timeout", 413: "request_too_large", 414: "uri_too_long"} | {
    431: "headers_too_large",
    501: "not_implemented",
    503: "unavailable",
}


async def _busy(scope: Any, receive: Any, send: Any) -> None:
    """The application of a connection beyond the limit."""
    await reply_to(Unavailable(BUSY), scope["path"])(scope, receive, send)
