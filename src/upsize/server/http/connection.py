"""One HTTP/1.1 connection: uvicorn's protocol on httptools, with limits on what a client may take.

uvicorn bounds neither the time of a head or a body, nor the size of a head, nor what a client leaves unread.
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
from upsize.server.http.pool import GAVE_WAY, IDLE, TOO_MANY, UNREAD, Pool

OVERHEAD, SLACK = 4, 1 << 20
"""Bytes on the wire that a body may take for each of its own, and besides: small chunks, and their extensions."""
BUSY = "The server has as many connections as it takes. Try again in a second."
DROPPED = frozenset({b"upgrade", b"connection", b"http2-settings"})
"""Headers by which a client asks for another protocol."""

T = TypeVar("T")


class Waits(IntEnum):
    """What a connection waits for from its client, in the order in which it makes room."""

    NOTHING = 0
    REQUEST = 1
    HEAD = 2
    BODY = 3


class HttpConnection(HttpToolsProtocol):
    """See ConnectionLimits. A request to change the protocol (h2c, websocket) is served as if it had not been made."""

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
        """Of the request that arrives; there may be earlier ones that are being answered."""
        self._since = self._looked = self.heard = self.loop.time()
        self._running: RequestResponseCycle | None = None
        """The request that is being answered, or was last."""
        self._served = self._begun = False
        self._broken = False
        """Nothing that arrives is a request any more."""
        self._refusal: tuple[int, str] | None = None
        self._upgrading = False
        self._head = self._fields = self._wire = self._payload = 0
        self._unread, self._unread_since = 0, 0.0
        self._before = 0
        """Of the payload, what was there at `_since`."""

    # What the pool asks

    @property
    def waits(self) -> Waits:
        """What it waits for; NOTHING while it is the server's turn."""
        return Waits.NOTHING if self._earlier or self.transport.is_closing() else self._phase

    @property
    def fresh(self) -> bool:
        """Whether its client has sent nothing yet."""
        return self._phase is Waits.REQUEST and not self._served

    @property
    def quiet_since(self) -> float:
        """Since when it waits for its client: for the end of a head or the next request, or for more of a body."""
        return self.heard if self._phase is Waits.BODY else self._since

    def give_way(self) -> None:
        """Close, to make room for another."""
        self._end(GAVE_WAY, None if self._phase is Waits.REQUEST else 408)

    def look(self, now: float) -> None:
        """Close, if the client was waited for too long."""
        elapsed, self._looked = now - self._looked, now
        self._look_at_reply(now)
        limits, phase = self._limits, self.waits
        if phase is Waits.NOTHING:
            return
        if self.flow.read_paused:  # not the client's fault
            self._since += elapsed
        elif phase is Waits.REQUEST:
            if now - self._since > (limits.idle_seconds if self._served else limits.head_seconds):
                self._end(IDLE, None)
        elif phase is Waits.HEAD:
            if now - self._since > limits.head_seconds:
                self._end(f"the headers did not arrive within {limits.head_seconds:g} s", 408)
        elif now - self.heard > limits.body_seconds:
            self._end(f"the body stopped for {limits.body_seconds:g} s", 408)
        elif now - self._since > limits.body_seconds:
            if self._payload - self._before < limits.body_rate * limits.body_seconds:
                self._end(f"the body came more slowly than {limits.body_rate >> 10} KiB/s", 408)
            self._since, self._before = now, self._payload

    # What the transport and the parser call

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has come."""
        super().connection_made(transport)
        if not self._pool.admit(self):
            self._refuse(503, BUSY)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone, or was told to."""
        self._pool.forget(self)
        self._unset_keepalive_if_required()
        self.pipeline.clear()
        if self._running is not None and not self._running.response_complete:  # uvicorn tells only the newest request
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what has come."""
        self._unset_keepalive_if_required()
        if self._broken or self.transport.is_closing():
            return
        self.heard = self.loop.time()
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
        self._wire = 0 if self._begun else self._wire + len(data)  # where in the data it began is not known
        self._begun = False
        if self._phase is Waits.HEAD and self._wire > self._limits.head_bytes:
            self._refuse(431, f"The headers take more than {self._limits.head_bytes >> 10} KiB.")
        elif self._phase is Waits.BODY and self._wire > OVERHEAD * self._payload + SLACK:
            self._refuse(400, "The body comes in chunks that are too small.")

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._enter(Waits.HEAD)
        self._head = self._fields = self._payload = 0
        self._begun = True

    def on_url(self, url: bytes) -> None:
        """A piece of the request's target."""
        self._head += len(url)
        if self._head > self._limits.head_bytes:
            self._reject(414, f"The path and query take more than {self._limits.head_bytes >> 10} KiB.")
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or after the body a trailer, which nobody here asks for."""
        self._head += len(name) + len(value) + 4
        self._fields += 1
        if self._head > self._limits.head_bytes or self._fields > self._limits.headers:
            self._reject(
                431,
                f"There are more than {self._limits.headers} headers, or they take more than "
                f"{self._limits.head_bytes >> 10} KiB.",
            )
        if self._phase is Waits.HEAD:
            super().on_header(name, value)
            if name.lower() == b"transfer-encoding":  # the parser's own refusal would come first, and say less
                self._checked(check_framing, self.headers, "1.1")

    def on_headers_complete(self) -> None:
        """The head is there: start to answer."""
        if self.parser.get_method() == b"CONNECT":
            self._reject(400, "CONNECT is for proxies.")
        self._upgrading = self.parser.should_upgrade()
        if self._upgrading:
            return
        target = httptools.parse_url(self.url) if self.url[:1] != b"*" else None
        if target is None or target.path is None:
            self._reject(400, "The request's target has no path.")
        self._set_host()
        if len(self.pipeline) >= self._limits.pipelined:
            self._reject(400, "Too many requests were sent on one connection before the first had its reply.")
        self._enter(Waits.BODY)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._payload += len(body)
        if self.cycle.response_complete and self._payload > self._limits.discard_bytes:
            self._reject(413, "The body goes on after the reply.")
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is there as a whole."""
        if not self._upgrading:
            self._enter(Waits.REQUEST)
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """The reply is on its way."""
        self._served = True
        if self._phase is not Waits.BODY:
            self._since = self.loop.time()
        elif self._phase is Waits.BODY and self.expect_100_continue and not self._payload:
            self.transport.close()  # whether the body still comes is the client's choice, so what comes is ambiguous
        super().on_response_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        if cycle.scope["path"].rstrip("/") not in OPEN and not self._pool.serves(self):
            self._pool.count(TOO_MANY)
            app = _busy
        super()._start_asgi_task(cycle, app)

    # What they need

    @property
    def _earlier(self) -> bool:
        """Whether a request before the one that arrives has no whole reply yet."""
        running = self._running
        arriving = self._phase is Waits.BODY and running is self.cycle
        return running is not None and not running.response_complete and not arriving

    def _enter(self, phase: Waits) -> None:
        self._phase, self._since, self._before = phase, self.loop.time(), 0

    def _set_host(self) -> None:
        """Let the application see one host: that of an absolute target counts in place of the header."""
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
        """Stop the parser from within one of its callbacks."""
        self._refusal = (status, message)
        raise ValueError(message)

    def _without_upgrade(self) -> bytes:
        """The request's head without its wish for another protocol, for a new parser.

        llhttp ends a message that asks for an upgrade with its head, and what follows would be of the other protocol.
        """
        kept = [(n, v) for n, v in self.headers if n not in DROPPED]
        asked = b",".join(v for n, v in self.headers if n == b"connection").lower()
        if b"close" in (token.strip() for token in asked.split(b",")):
            kept.append((b"connection", b"close"))
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        lines = [b"%s %s HTTP/%s" % (method, self.url, version), *(b"%s: %s" % header for header in kept), b"", b""]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn
        return b"\r\n".join(lines)

    def _look_at_reply(self, now: float) -> None:
        """Drop a client that does not take its reply."""
        unread = self.transport.get_write_buffer_size()
        wanted = self._limits.write_rate * self._limits.write_seconds
        if not unread or unread > self._unread or self._unread - unread >= wanted:
            self._unread, self._unread_since = unread, now
        elif now - self._unread_since > self._limits.write_seconds:
            self._pool.count(UNREAD)
            # Reset it, or the system would go on to offer what is unread.
            self.transport.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()

    def _end(self, reason: str, status: int | None) -> None:
        """Close for a reason; where a request has begun and no reply, with one."""
        self._pool.count(reason)
        if status is None:
            self._broken = True
            self.transport.close()
        else:
            self._refuse(status, f"The connection is closed: {reason}.")

    def _refuse(self, status: int, message: str) -> None:
        """Take nothing more from this connection, and say why, unless a reply to an earlier request is under way."""
        self._broken = True
        if self._earlier and self._running is not None:
            if self.pipeline and self.pipeline[0][0].more_body:  # the newest is on the left
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
