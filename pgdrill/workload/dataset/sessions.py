"""Database sessions that cannot hang: one deadline cuts them all."""

import contextlib
import math
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Any, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict

from pgdrill.errors import BrokenEnvironmentError

Connection = psycopg.Connection[tuple[Any, ...]]
T = TypeVar("T")
CONNECT = 10  # seconds to wait for a connection
GRACE = 1  # seconds after the deadline for the server to cancel the statement itself


def value(connection: Connection, query: str, *values: str) -> Any:  # noqa: ANN401  # any column
    """Return the first column of a query's first row; None where there is no row."""
    row = connection.execute(query, values or None).fetchone()
    return row[0] if row else None


class Sessions:
    """Autocommit sessions sharing a deadline; use as a context manager.

    An error in the body, Ctrl-C included, closes the open sessions, so that threads that wait for
    an answer end. Database errors become BrokenEnvironmentError. pooled: a pooler in between may
    give the server's session to another client, so nothing is set or prepared in it, and the server
    has no statement timeout.
    """

    def __init__(self, within: float, *, pooled: bool = False) -> None:
        self.within = within
        self._pooled = pooled
        self.doing = "connecting"
        self._until = time.monotonic() + within
        self._late = False
        self._warnings: list[str] = []
        self._open: set[Connection] = set()
        self._over = False
        self._timer = threading.Timer(within + GRACE, self._expire)
        self._timer.daemon = True

    def __enter__(self) -> "Sessions":
        self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        self.cut()
        if error is None or isinstance(error, psycopg.Error):
            self.must_be_replicated()
        if isinstance(error, psycopg.Error):
            raise BrokenEnvironmentError(self._message(error)) from error

    @contextlib.contextmanager
    def open(self, conninfo: str) -> Iterator[Connection]:
        """Open a session.

        Raises:
            BrokenEnvironmentError: the address does not answer.
        """
        try:
            connection = psycopg.connect(
                conninfo,
                autocommit=True,
                prepare_threshold=None if self._pooled else 5,
                client_encoding="utf8",
                connect_timeout=min(CONNECT, math.ceil(self.within)),
            )
        except psycopg.OperationalError as error:
            raise BrokenEnvironmentError(
                f"no connection to {address(conninfo)} while {self.doing}: {_first_line(error)};"
                " bring the cluster up or mend it, then run this again"
            ) from error
        connection.add_notice_handler(self._notice)
        self._open.add(connection)
        try:
            with connection:
                if self._over:
                    raise BrokenEnvironmentError(f"interrupted while {self.doing}")
                if not self._pooled:
                    left = str(max(1, int(self.left() * 1000)))
                    connection.execute("SELECT set_config('statement_timeout', %s, false)", [left])
                yield connection
        finally:
            self._open.discard(connection)

    def together(self, *jobs: Callable[[], T]) -> list[T]:
        """Run jobs in threads of their own; the first error cuts the sessions of all."""
        with ThreadPoolExecutor(len(jobs)) as pool:
            futures = [pool.submit(job) for job in jobs]
            try:
                for future in wait(futures, return_when=FIRST_EXCEPTION).done:
                    future.result()
            except BaseException:
                self.cut()  # the pool waits for its threads, and they for an answer
                raise
            return [future.result() for future in futures]

    def left(self) -> float:
        """Seconds until the deadline."""
        return max(0.0, self._until - time.monotonic())

    def cut(self) -> None:
        """End every session at once, also those that wait for an answer in another thread."""
        self._over = True
        for connection in list(self._open):
            with (
                contextlib.suppress(psycopg.Error, OSError),
                socket.socket(fileno=os.dup(connection.fileno())) as wire,
            ):
                wire.shutdown(socket.SHUT_RDWR)

    def must_be_replicated(self) -> None:
        """Refuse commits that were reported done without the standby's acknowledgement.

        Raises:
            BrokenEnvironmentError: the server gave up waiting for a synchronous standby.
        """
        if self._warnings:
            raise BrokenEnvironmentError(
                f"a commit was not replicated while {self.doing}: {self._warnings[0]};"
                " wait until the synchronous standby streams again, then run this again"
            )

    def _expire(self) -> None:
        self._late = True
        self.cut()

    def _notice(self, notice: psycopg.errors.Diagnostic) -> None:
        if "synchronous replication" in (notice.message_primary or ""):
            self._warnings.append(str(notice.message_primary))

    def _message(self, error: psycopg.Error) -> str:
        late = self._late or (isinstance(error, psycopg.errors.QueryCanceled) and not self.left())
        # The statement timeout does not cover a commit that waits for its standby.
        why = (
            f"not done within {self.within:g} s (is a lock held, or a synchronous standby away?)"
            if late
            else _first_line(error)
        )
        return (
            f"the database failed while {self.doing}: {why};"
            " nothing half-loaded counts, run this again once the cluster is healthy"
        )


def address(conninfo: str) -> str:
    """Host, port and database, for messages."""
    parts = conninfo_to_dict(conninfo)
    return f"{parts.get('host', 'localhost')}:{parts.get('port', 5432)}/{parts.get('dbname', '')}"


def _first_line(error: psycopg.Error) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
