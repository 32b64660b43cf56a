"""Loading: rows by binary COPY, then keys, then references, then statistics."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from queue import SimpleQueue
from typing import TypeVar

import psutil

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.settings import MIN_ROWS
from pgdrill.workload.dataset.encode import Column, stream
from pgdrill.workload.dataset.generate import ROW_MEMORY, generate
from pgdrill.workload.dataset.schema import LOAD_TABLES, SCHEMA, TABLES, Table
from pgdrill.workload.dataset.sessions import Connection, Sessions, value

Job = TypeVar("Job")
Progress = Callable[[str, int, int, float], None]
# Bytes that a row takes on a volume. Measured: a million rows are 133 a row in tables and indexes
# and 106 in WAL, a hundred thousand 147 and 110, on PostgreSQL 15 with FREEZE; an index is sorted
# in files.
ROW_DISK, ROW_WAL = 170, 115
SHOP = (
    "SELECT coalesce(sum(pg_total_relation_size(oid)), 0) FROM pg_class"
    " WHERE relnamespace = to_regnamespace('shop') AND relkind = 'r'"
)
# -1, for slots without a limit, is less than any other: they keep what standbys have yet to read.
KEPT_WAL = (
    "SELECT pg_size_bytes(current_setting('max_wal_size')) + greatest("
    "pg_size_bytes(current_setting('wal_keep_size')),"
    " pg_size_bytes(current_setting('max_slot_wal_keep_size')))"
)
PARALLEL = 2  # more gain nothing: the generator shares the processors with three servers


def must_fit(rows: int, available: int | None = None) -> None:
    """Refuse to generate what this machine's memory (available bytes) cannot hold.

    Raises:
        BrokenEnvironmentError: saying how many rows would fit.
    """
    if available is None:
        available = psutil.virtual_memory().available
    if rows * ROW_MEMORY > available:
        raise BrokenEnvironmentError(
            f"{rows} rows need {rows * ROW_MEMORY / 1e9:.1f} GB of memory to generate,"
            f" {available / 1e9:.1f} GB are available: ask for --rows={available // ROW_MEMORY}"
            " or fewer"
        )


def must_fit_on_volumes(rows: int, free: Mapping[str, int], control: Connection) -> None:
    """Refuse to load what does not fit on a member's volume; free is bytes by member.

    What schema shop takes now is free when it is dropped. WAL is kept as far as the server's
    settings say, and a tenth of the free room stays for what is written afterwards.

    Raises:
        BrokenEnvironmentError: saying how many rows would fit, and on which member no more would.
    """
    if not free:
        return
    least = min(free, key=lambda name: free[name])
    dropped, wal = (int(value(control, query)) for query in (SHOP, KEPT_WAL))
    room = 9 * free[least] // 10 + dropped
    needed = rows * ROW_DISK + min(rows * ROW_WAL, wal)
    if needed <= room:
        return
    fits = max(room // (ROW_DISK + ROW_WAL), (room - wal) // ROW_DISK) // 1000 * 1000
    remedy = f"ask for --rows={fits} or fewer" if fits >= MIN_ROWS else "make room there"
    raise BrokenEnvironmentError(
        f"{rows} rows need {needed / 1e9:.1f} GB on each member's volume, WAL included,"
        f" {room / 1e9:.1f} GB are free for them on {least}: {remedy}"
    )


class Loader:
    """Runs steps on a few sessions at once and reports progress."""

    def __init__(self, sessions: Sessions, primary: str, progress: Progress) -> None:
        self._sessions = sessions
        self._primary = primary
        self._progress = progress
        self._telling = threading.Lock()

    def load(self, rows: int, seed: int) -> None:
        """Fill the empty schema shop and prove its references.

        Raises:
            psycopg.Error: the primary failed; what was loaded is not complete.
        """
        self._sessions.doing = "copying rows"
        by_name = {table.name: table for table in SCHEMA}
        self._each(
            lambda connection, job: self._copy(connection, by_name[job[0]], job[1], job[2]),
            generate(rows, seed),
        )
        with self._sessions.open(self._primary) as connection:
            for table in SCHEMA:
                for statement in table.add_references():
                    connection.execute(statement)
            for statement in LOAD_TABLES:
                connection.execute(statement)
        self._sessions.doing = "checking references"
        done = SimpleQueue[Table]()
        started = time.monotonic()

        def finish(connection: Connection, table: Table) -> None:
            for statement in table.check_references():
                connection.execute(statement)
            # Rows were copied frozen, so this reads almost nothing; without it, autovacuum would
            # run in the middle of a measurement.
            connection.execute(f"VACUUM (ANALYZE) shop.{table.name}")
            done.put(table)
            self._report("references", done.qsize(), len(TABLES), started)

        self._each(finish, SCHEMA)

    def _copy(
        self, connection: Connection, table: Table, columns: Mapping[str, Column], rows: int
    ) -> None:
        """Create, fill and index one table, all or nothing.

        FREEZE needs the table to be new in this transaction. It saves a second write of every
        page for hint bits, which with wal_log_hints would go to the standbys as well.
        """
        started = time.monotonic()
        with connection.transaction():
            connection.execute(table.create())
            command = f"COPY shop.{table.name} FROM STDIN (FORMAT binary, FREEZE)"
            with connection.cursor().copy(command) as copy:
                done = 0
                for block, size in stream(table, columns, rows):
                    copy.write(block)
                    done += size
                    self._report(table.name, done, rows, started)
            for statement in table.add_keys():
                connection.execute(statement)

    def _each(self, step: Callable[[Connection, Job], None], jobs: Iterable[Job]) -> None:
        """Take jobs as they come, PARALLEL at a time; the first error ends all."""
        queue = SimpleQueue[Job | None]()

        def work() -> None:
            with self._sessions.open(self._primary) as connection:
                connection.execute("SET maintenance_work_mem = '64MB'")
                while (job := queue.get()) is not None:
                    step(connection, job)

        def feed() -> None:
            try:
                for job in jobs:
                    queue.put(job)
            finally:
                for _ in range(PARALLEL):
                    queue.put(None)

        self._sessions.together(feed, *[work] * PARALLEL)

    def _report(self, what: str, done: int, total: int, started: float) -> None:
        with self._telling:
            self._progress(what, done, total, done / max(time.monotonic() - started, 1e-6))
