"""Connections to one PostgreSQL server: pooled, and dropped as soon as the server does not answer.

The server's own statement_timeout does not help if the server is stopped or the network drops packets. So a call that
has waited for SLOW seconds opens a second connection to check whether the server answers. If it does not, every call to
that server ends with StoreUnavailable, and the circuit breaker keeps others from waiting. A slow statement goes on.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import psycopg
from pgvector.psycopg import register_vector
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from upsize.errors import InvalidInput, StoreDamaged, StoreFull, StoreUnavailable, UpsizeError
from upsize.store.circuit_breaker import CircuitBreaker, Kind, breaker_of

log = logging.getLogger("upsize.store")

T = TypeVar("T")

LEAST_VERSION = (0, 8)
"""Version of pgvector: the first that filters approximate searches."""
CONNECT, PING, CANCEL = 5, 2, 2
"""Seconds for a connection, for a connection that only checks whether the server answers (libpq's minimum), and for
cancelling a statement."""
SLOW, LOOK = 1.5, 0.1
"""Seconds without an answer after which a call checks the server, and between two polls of the socket."""
GRACE = 5.0
"""Seconds after the statement's time-out, which the server enforces, until the call drops the connection."""
IDLE = 8
"""Idle connections to keep."""
BRIEFLY = 1.0
"""Seconds for which a call that is not patient is retried while connections fail."""
AWAY = ("08", "57P")
"""Classes of SQLSTATE which mean that the connection or the server is gone, not that the statement was wrong."""
NEVER = ("authentication failed", "no password supplied", "does not exist")
"""Parts of messages of refused connections for which a retry is useless."""
DEFAULTS: dict[str, Any] = {
    "connect_timeout": CONNECT,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""Connection parameters that the address does not set."""


class Connection(psycopg.Connection[Any]):
    """A connection whose wait ends when `look` raises."""

    look: Callable[[float], None] | None = None
    """Called while the socket is silent, with the seconds since its last data. An exception ends the call."""
    seconds: float | None = None
    """The current statement_timeout."""

    def wait(self, gen: Any, interval: float = LOOK, timeout: float | None = None) -> Any:  # noqa: ARG002 (psycopg's)
        """Wait as psycopg does, and call `look` meanwhile."""
        try:
            wanted = next(gen)
            with selectors.DefaultSelector() as selector:
                number = self.pgconn.socket
                selector.register(number, wanted)
                answered = time.monotonic()
                while True:
                    ready = selector.select(min(interval or LOOK, LOOK))
                    if not ready:
                        if self.look is not None:
                            self.look(time.monotonic() - answered)
                        continue
                    answered = time.monotonic()
                    wanted = gen.send(ready[0][1])
                    selector.modify(number, wanted)
        except StopIteration as done:
            return done.value
        except psycopg.errors.Error:
            raise
        except BaseException:  # the protocol cannot resume an interrupted exchange
            self.pgconn.finish()
            raise


class Silent(Exception):
    """The server does not answer."""


class Stale(Exception):
    """A pooled connection has ended: the server was restarted, or closes idle connections."""


class Connections:
    """The connection pool of one database. Thread-safe."""

    def __init__(self, dsn: str, patience: float) -> None:
        """`patience` is the seconds for which a patient call is retried while connections fail."""
        self._dsn, self.patience = dsn, patience
        conninfo = conninfo_to_dict(dsn)
        host, port = conninfo.get("hostaddr") or conninfo.get("host") or "localhost", conninfo.get("port") or "5432"
        self.where = f"PostgreSQL ({conninfo.get('host', 'localhost')}, database {conninfo.get('dbname', 'default')})"
        self._defaults = {name: value for name, value in DEFAULTS.items() if name not in conninfo}
        self.breaker: CircuitBreaker = breaker_of(f"postgresql {host} {port}", f"PostgreSQL ({host})")
        self._free: list[Connection] = []
        self._used: set[Connection] = set()
        self._turn = threading.Lock()
        self._waited_for = threading.Lock()
        self._asking = threading.Lock()
        self._closed = False

    def run(self, work: Callable[[Connection], T], kind: Kind, seconds: float | None, patient: bool = False) -> T:
        """Return what `work` returns; it may run twice. `seconds` limits each statement; None sets no limit.

        Raises StoreUnavailable, StoreFull, StoreDamaged, InvalidInput. While connections fail, one patient call waits
        for the server, calls in flight retry for BRIEFLY seconds, and new calls fail.
        """
        until, pause, failed = time.monotonic() + BRIEFLY, 0.1, False
        waiting = patient and self._waited_for.acquire(blocking=False)
        try:
            if waiting:
                until = time.monotonic() + self.patience
            while True:
                try:
                    with self.breaker.enter(kind):
                        return self._once(work, seconds)
                except Stale:
                    continue  # on a new one
                except Silent as error:
                    raise StoreUnavailable(self.where, str(error)) from None
                except (psycopg.OperationalError, psycopg.InterfaceError) as error:
                    conninfo, failed = self._translated(error), True
                    if self._closed or time.monotonic() + pause > until:
                        raise conninfo from error
                    log.warning("%s does not answer (%s); trying again", self.where, str(error).strip().split("\n")[0])
                except StoreUnavailable:  # the circuit breaker is open
                    if (
                        self._closed
                        or not (waiting or failed)
                        or self.breaker.stalled
                        or time.monotonic() + pause > until
                    ):
                        raise
                except UpsizeError:
                    raise
                except psycopg.Error as error:
                    raise StoreDamaged(self.where, str(error).strip()) from error
                time.sleep(pause)
                pause = min(2 * pause, 2.0)
        finally:
            if waiting:
                self._waited_for.release()

    def _translated(self, error: psycopg.Error) -> UpsizeError:
        """Return the error to raise after the last retry. Raises it at once if a retry is useless."""
        why = str(error).strip()
        if isinstance(error, psycopg.errors.DiskFull):
            raise StoreFull(self.where, why) from error
        if isinstance(error, psycopg.errors.QueryCanceled):
            raise StoreUnavailable(self.where, f"a statement took too long: {why}") from error
        if error.sqlstate and not error.sqlstate.startswith(AWAY):
            raise StoreUnavailable(self.where, why) from error
        if any(never in why for never in NEVER):
            raise InvalidInput(f"{self.where}: {why}", param="store") from None
        self.breaker.failed(stalled=isinstance(error, psycopg.errors.ConnectionTimeout))
        if self.breaker.stalled:
            raise StoreUnavailable(self.where, why) from error
        return StoreUnavailable(self.where, why)

    def _once(self, work: Callable[[Connection], T], seconds: float | None) -> T:
        if self._closed:
            raise StoreUnavailable(self.where, "the index closed it")
        connection, kept = self._take()
        failures = self.breaker.failures
        given_up: list[Silent] = []

        def look(quiet: float) -> None:
            try:
                if self._closed:
                    raise Silent("the store is being closed")
                if self.breaker.failures != failures:
                    raise Silent("it stopped answering")
                if seconds is not None and quiet > seconds + GRACE:
                    raise Silent(f"a statement has not ended after {quiet:.0f} s")
                if quiet > SLOW and self.breaker.silent > SLOW:
                    self._ask()
            except Silent as silent:
                given_up.append(silent)
                raise

        connection.look = look
        try:
            if connection.seconds != seconds:
                limit = sql.Literal(int(1000 * (seconds or 0)))
                connection.execute(sql.SQL("SET statement_timeout = {}").format(limit))
                connection.seconds = seconds
            result = work(connection)
            self.breaker.answered()
            return result
        except psycopg.Error as error:
            if given_up:  # what follows from the connection's end
                raise given_up[0] from None
            if error.sqlstate and not error.sqlstate.startswith(AWAY):
                self.breaker.answered()  # an error is an answer
            elif kept and connection.closed:
                self._close_idle()
                raise Stale from error
            raise
        finally:
            self._give_back(connection)

    def _ask(self) -> None:
        """Check whether the server accepts a connection. One call checks at a time; the others wait for its finding."""
        if not self._asking.acquire(blocking=False):
            return
        try:
            psycopg.connect(self._dsn, **(self._defaults | {"connect_timeout": PING})).close()
        except psycopg.OperationalError as error:
            if "FATAL" not in str(error):  # FATAL is an answer: the server has too many clients, or starts
                self.breaker.failed(stalled=True)
                raise Silent(f"no answer, and no new connection within {PING} s ({str(error).strip()})") from None
        finally:
            self._asking.release()
        self.breaker.answered()

    def _take(self) -> tuple[Connection, bool]:
        """(a connection, whether it is a pooled one)."""
        with self._turn:
            if self._free:
                connection = self._free.pop()
                self._used.add(connection)
                return connection, True
        connection = self._connect()
        with self._turn:
            self._used.add(connection)
        return connection, False

    def _close_idle(self) -> None:
        with self._turn:
            free, self._free = self._free, []
        for connection in free:
            with contextlib.suppress(psycopg.Error):
                connection.close()

    def _give_back(self, connection: Connection) -> None:
        connection.look = None
        idle = not connection.closed and connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        with self._turn:
            self._used.discard(connection)
            if idle and not self._closed and len(self._free) < IDLE:
                self._free.append(connection)
                return
        with contextlib.suppress(psycopg.Error):
            connection.close()

    def _connect(self) -> Connection:
        connection = Connection.connect(self._dsn, autocommit=True, **self._defaults)
        failures = self.breaker.failures

        def look(quiet: float) -> None:
            if self._closed or self.breaker.failures != failures or quiet > CONNECT:
                raise Silent("it does not answer a new connection")

        connection.look = look
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: Connection) -> None:
        if not connection.execute("SELECT 1 FROM pg_extension WHERE extname = 'vector'").fetchone():
            try:
                connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
            except psycopg.Error as error:
                raise InvalidInput(
                    f"The database has no extension `vector` and it cannot be made: {str(error).strip()}. "
                    "Install pgvector on the server, or ask its owner for CREATE EXTENSION vector.",
                    param="store",
                ) from None
        row = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()
        version = tuple(int(part) for part in str(row[0]).split(".")[:2]) if row else ()
        if version < LEAST_VERSION:
            raise InvalidInput(
                f"{self.where} has pgvector {row[0] if row else '?'}; version "
                f"{'.'.join(map(str, LEAST_VERSION))} or later is needed: ALTER EXTENSION vector UPDATE.",
                param="store",
            )
        register_vector(connection)

    def close(self) -> None:
        """Close; cancel statements in flight if the server still answers."""
        self._closed = True
        with self._turn:
            used = list(self._used)
        for connection in used:  # their own threads leave at their next poll
            with contextlib.suppress(psycopg.Error):
                connection.cancel_safe(timeout=CANCEL)
        self._close_idle()
