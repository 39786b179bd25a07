"""The life of a server process: bind, load, serve, drain, exit 0."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import logging
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import uvicorn

from upsize.errors import UpsizeError
from upsize.server.app import create_app
from upsize.server.presence import announced
from upsize.server.service import ServedModel, Service

log = logging.getLogger("upsize.server")


SWITCH = 0.0005
"""Seconds after which a thread that computes in Python lets another in; a request passes from thread to thread several
times, and at Python's own 5 ms waits as often for whoever prepares a backfill."""

LINGER = 0.5
"""Seconds, twice, between the last answer and the end, in which requests on their way here are still told 503."""


REPEATED = 1.0
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
    """Serve until SIGTERM or SIGINT, then answer everything accepted and return.

    `load` runs in a thread while `/health` already says "starting"; what it raises ends the server and is raised.
    """
    sys.setswitchinterval(SWITCH)
    with bind(address) as listener, asyncio.Runner(loop_factory=_new_loop) as runner:
        runner.run(_serve(service, address, listener, load))


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
    app = create_app(service, address.keys, address.protect_metrics, address.origins)
    server = _Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_keep_alive=75))
    loop = asyncio.get_running_loop()
    stop = _Stop(service)
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
    """What a signal does. The first: drain. One more, a second or more later: leave at once."""

    def __init__(self, service: Service) -> None:
        self.asked = asyncio.Event()
        self._service, self._since = service, 0.0

    def __call__(self) -> None:
        now = asyncio.get_running_loop().time()
        if not self.asked.is_set():
            log.info("Draining: requests under way are answered, new ones get 503.")
            self._service.begin_drain()
            self.asked.set()
            self._since = now
        elif now - self._since > REPEATED:
            log.warning("Leaving at once; requests under way are dropped.")
            raise SystemExit(130)
