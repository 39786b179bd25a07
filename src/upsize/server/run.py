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


SWITCH_INTERVAL = 0.0005
"""Seconds after which Python's interpreter lock passes to another thread. A request passes between threads several
times; with Python's default of 5 ms, each time it could wait that long for a thread that prepares a backfill."""

DRAIN_SECONDS = 30.0
"""Seconds after the first signal in which accepted requests are answered. The same as Kubernetes' grace period."""

LINGER_SECONDS = 0.5
"""Seconds, twice, between the last answer and the end. Requests that arrive in this time get 503."""

SIGNAL_REPEAT_SECONDS = 0.3
"""Seconds within which a second signal repeats the first. make and shells forward a signal that the whole process group
got already."""


@dataclass(frozen=True)
class Address:
    """The address to listen on, and the clients that may call."""

    host: str = "127.0.0.1"
    port: int = 30000
    keys: Sequence[str] = ()
    protect_metrics: bool = False
    origins: Sequence[str] = ()
    """Origins of web pages that may call the server from a browser."""
    hosts: Sequence[str] = ()
    """Host names of the server besides the names of this machine."""
    drain: float = DRAIN_SECONDS
    """Seconds in which accepted requests are answered after a signal."""
    limits: ConnectionLimits = field(default_factory=ConnectionLimits)

    @property
    def loopback(self) -> bool:
        """Whether the server only listens on this machine's loopback address."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


class PortInUse(UpsizeError):
    """Someone else listens there."""


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers, which make the process end with the signal's exit code instead of 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture no signals."""
        yield


def bind(address: Address) -> socket.socket:
    """Bind the port before models are loaded. Raises PortInUse."""
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
    """The base URL, with the port that was bound and IPv6 addresses in brackets."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(service: Service, address: Address, load: Callable[[], tuple[ServedModel, ...]]) -> None:
    """Serve until SIGTERM or SIGINT, then answer all accepted requests within `address.drain` seconds and return.

    `load` runs in a thread while `/health` says "starting". An error that it raises ends the server and is raised. A
    second signal, or a drain that takes too long, ends the process at once.
    """
    sys.setswitchinterval(SWITCH_INTERVAL)
    with bind(address) as listener, asyncio.Runner(loop_factory=_new_loop) as runner:
        runner.run(_serve(service, address, listener, load))


def config_of(app: ASGIApp, pool: Pool) -> uvicorn.Config:
    """uvicorn's configuration with `HttpConnection` as its protocol."""
    return uvicorn.Config(
        app,
        http=partial(HttpConnection, pool=pool),  # type: ignore[arg-type]  # uvicorn calls it like the class
        ws="none",
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_keep_alive=math.ceil(pool.limits.idle_seconds),
    )


def _new_loop() -> asyncio.AbstractEventLoop:
    """uvloop's event loop where it is installed: its overhead for a request is half as large."""
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
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    loading = _in_thread(loop, load)
    stopped = asyncio.create_task(stop.requested.wait())
    ends: set[asyncio.Future[Any]] = {stopped, serving}
    await asyncio.wait({loading, *ends}, return_when=asyncio.FIRST_COMPLETED)
    failure = None
    if loading.done() and (failure := loading.exception()) is None and not stop.requested.is_set():
        try:
            await asyncio.to_thread(service.start, loading.result())  # the warm-up may take seconds
        except UpsizeError as error:
            failure = error
    if service.state == "ok":
        # Imported modules and loaded models stay. Without freezing, each full collection would scan them, and stop all
        # threads for half a second.
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
    """Accept no new connections, and give open ones time to read their last reply."""
    listener.listen(0)  # the kernel queues no more connections; queued ones still get 503
    await asyncio.sleep(LINGER_SECONDS)
    for listening in server.servers:
        listening.close()
    await asyncio.sleep(LINGER_SECONDS)


def _in_thread(
    loop: asyncio.AbstractEventLoop, load: Callable[[], tuple[ServedModel, ...]]
) -> asyncio.Future[tuple[ServedModel, ...]]:
    """Run `load` in a daemon thread, so that a download does not keep a stopped process alive."""
    future: asyncio.Future[tuple[ServedModel, ...]] = loop.create_future()

    def work() -> None:
        try:
            models = load()
        except BaseException as error:
            resolve(future.set_exception, error)
        else:
            resolve(future.set_result, models)

    def resolve(setter: Callable[[Any], None], value: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the server stopped while models were loaded
            loop.call_soon_threadsafe(setter, value)

    threading.Thread(target=work, name="upsize-load", daemon=True).start()
    return future


class _Stop:
    """The signal handler. The first signal starts the drain; a later one ends the process at once."""

    def __init__(self, service: Service, bodies: Bodies, server: uvicorn.Server, limit: float) -> None:
        self.requested = asyncio.Event()
        self._service, self._bodies, self._server, self._limit, self._since = service, bodies, server, limit, 0.0

    def __call__(self) -> None:
        loop = asyncio.get_running_loop()
        if not self.requested.is_set():
            log.info("Draining: accepted requests are answered within %g s, new ones get 503.", self._limit)
            self._service.begin_drain()
            self._bodies.close("The service is draining and takes no new requests.")
            self.requested.set()
            self._since = loop.time()
            loop.call_later(self._limit, self._exit, f"The drain took more than {self._limit:g} s", 0)
        elif loop.time() - self._since > SIGNAL_REPEAT_SECONDS:
            self._exit("A second signal", 130)

    def _exit(self, reason: str, code: int) -> None:
        """End the process even if threads still work. Acknowledged writes are on disk."""
        log.warning("%s: %d accepted requests are dropped.", reason, len(self._server.server_state.tasks))
        logging.shutdown()
        os._exit(code)
