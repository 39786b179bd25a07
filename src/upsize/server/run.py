"""The life of a server process: bind, load, serve, drain, exit 0."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import ipaddress
import logging
import math
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from upsize.errors import UpsizeError
from upsize.server.app import create_app
from upsize.server.discovery import announced
from upsize.server.http.body import Bodies
from upsize.server.http.connection import HttpConnection
from upsize.server.http.limits import ConnectionLimits, within_files
from upsize.server.http.pool import Pool
from upsize.server.service import ServedModel, Service

log = logging.getLogger("upsize.server")


SWITCH = 0.0005
"""Seconds after which a thread that computes in Python lets another in; a request passes from thread to thread several
times, and at Python's own 5 ms waits as often for whoever prepares a backfill."""

DRAIN = 30.0
"""Seconds after the first signal in which what was accepted is answered."""

LINGER = 0.5
"""Seconds, twice, between the last answer and the end, in which requests on their way here are still told 503."""


REPEATED = 0.3
"""Seconds within which a second signal is the first once more: make and shells pass on what the group got already."""


@dataclass(frozen=True)
class Address:
    """Where to listen, and who may call."""

    host: str = "127.0.0.1"
    port: int = 30000
    keys: Sequence[str] = ()
    protect_metrics: bool = False
    origins: Sequence[str] = ()
    """Of web pages that may call it from a browser."""
    hosts: Sequence[str] = ()
    """Names that it is called by, besides this machine's."""
    drain: float = DRAIN
    """Seconds."""
    limits: ConnectionLimits = field(default_factory=ConnectionLimits)

    @property
    def loopback(self) -> bool:
        """Whether it listens for this machine alone."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


class PortInUse(UpsizeError):
    """Someone else listens there."""


class _Server(uvicorn.Server):
    """uvicorn, with the signals left to us: its own handling ends in the signal's exit code instead of 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def bind(address: Address) -> socket.socket:
    """Take the port before anything large is loaded; PortInUse, or OSError for a host that is not this machine's."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address.host, address.port))
    except OSError as error:
        listener.close()
        where = f"{address.host}:{address.port}"
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(f"{where} is in use. Stop what listens there, or choose another --port.") from None
        raise PortInUse(f"Cannot listen on {where}: {error.strerror or error}.") from None
    return listener


def url_of(listener: socket.socket) -> str:
    """Where a client on this machine finds it: the port that was really taken, IPv6 in brackets."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(service: Service, address: Address, load: Callable[[], tuple[ServedModel, ...]]) -> None:
    """Serve until SIGTERM or SIGINT, then answer everything accepted within `address.drain` seconds and return.

    `load` runs in a thread while `/health` already says "starting"; what it raises ends the server and is raised. A
    second signal, or the end of the drain with work left, ends the process at once.
    """
    sys.setswitchinterval(SWITCH)
    with bind(address) as listener, asyncio.Runner(loop_factory=_new_loop) as runner:
        runner.run(_serve(service, address, listener, load))


def config_of(app: ASGIApp, pool: Pool) -> uvicorn.Config:
    """uvicorn's settings for connections with limits."""
    return uvicorn.Config(
        app,
        http=partial(HttpConnection, pool=pool),  # type: ignore[arg-type]  # it is called as the class is
        ws="none",
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_keep_alive=math.ceil(pool.limits.idle_seconds),
    )


def _new_loop() -> asyncio.AbstractEventLoop:
    """uvloop's, which takes half the time for a request, where there is one for the system."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


async def _serve(
    service: Service, address: Address, listener: socket.socket, load: Callable[[], tuple[ServedModel, ...]]
) -> None:
    bodies = Bodies()
    app = create_app(
        service,
        address.keys,
        address.protect_metrics,
        address.origins,
        hosts=(*address.hosts, address.host),
        loopback=address.loopback,
        bodies=bodies,
    )
    server = _Server(config_of(app, Pool(within_files(address.limits))))
    loop = asyncio.get_running_loop()
    stop = _Stop(service, bodies, server, address.drain)
    for wanted in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(wanted, stop)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    loading = _in_thread(loop, load)
    stopped = asyncio.create_task(stop.asked.wait())
    ends: set[asyncio.Future[Any]] = {stopped, serving}
    await asyncio.wait({loading, *ends}, return_when=asyncio.FIRST_COMPLETED)
    failure = None
    if loading.done() and (failure := loading.exception()) is None and not stop.asked.is_set():
        try:
            await asyncio.to_thread(service.start, loading.result())  # runs a first batch, which may take seconds
        except UpsizeError as error:
            failure = error
    if service.state == "ok":
        # What was imported and loaded stays: to look through all of it for garbage would stop every thread for half a
        # second, again and again.
        gc.collect()
        gc.freeze()
        log.info("Listening on %s", url_of(listener))
        resuming = asyncio.create_task(service.resume())
        with announced(service.indexes_folder, url_of(listener)):
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        resuming.cancel()
    if failure is None:
        await asyncio.to_thread(service.finish)
        await _linger(server, listener)
    server.should_exit = True
    await serving
    stopped.cancel()
    if failure is not None:
        raise failure


async def _linger(server: uvicorn.Server, listener: socket.socket) -> None:
    """Let in no new connections, and give those there time to hear that theirs closes, so that none is cut off."""
    listener.listen(0)  # the kernel queues no more; what it has queued is still let in, and told 503
    await asyncio.sleep(LINGER)
    for listening in server.servers:
        listening.close()
    await asyncio.sleep(LINGER)


def _in_thread(
    loop: asyncio.AbstractEventLoop, load: Callable[[], tuple[ServedModel, ...]]
) -> asyncio.Future[tuple[ServedModel, ...]]:
    """Run `load` in a daemon thread, which does not keep a stopped process waiting for a download."""
    future: asyncio.Future[tuple[ServedModel, ...]] = loop.create_future()

    def work() -> None:
        try:
            models = load()
        except BaseException as error:
            tell(future.set_exception, error)
        else:
            tell(future.set_result, models)

    def tell(setter: Callable[[Any], None], value: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the server was stopped while it loaded
            loop.call_soon_threadsafe(setter, value)

    threading.Thread(target=work, name="upsize-load", daemon=True).start()
    return future


class _Stop:
    """What a signal does. The first: drain. One more, a moment or more later: leave at once."""

    def __init__(self, service: Service, bodies: Bodies, server: uvicorn.Server, limit: float) -> None:
        self.asked = asyncio.Event()
        self._service, self._bodies, self._server, self._limit, self._since = service, bodies, server, limit, 0.0

    def __call__(self) -> None:
        loop = asyncio.get_running_loop()
        if not self.asked.is_set():
            log.info("Draining: requests under way are answered, new ones get 503. At most %g s.", self._limit)
            self._service.begin_drain()
            self._bodies.close("The service is draining and takes no new requests.")
            self.asked.set()
            self._since = loop.time()
            loop.call_later(self._limit, self._leave, f"The drain took more than {self._limit:g} s", 0)
        elif loop.time() - self._since > REPEATED:
            self._leave("A second signal", 130)

    def _leave(self, why: str, code: int) -> None:
        """End the process, for threads that still work would keep it. What was acknowledged is on disk."""
        log.warning("%s: %d requests under way are dropped.", why, len(self._server.server_state.tasks))
        logging.shutdown()
        os._exit(code)
