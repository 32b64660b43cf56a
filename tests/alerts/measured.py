"""The instants at which a condition begins and ends, measured past the monitoring."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psycopg

from pgdrill.faults.base import Fault, healing
from pgdrill.judge import alerting
from pgdrill.observe.alerts import AlertWatch, Expectation
from pgdrill.platforms.archive import archiver_of
from pgdrill.platforms.base import Cluster, Platform
from pgdrill.platforms.session_faults import SHARE
from pgdrill.waiting import eventually

# Seconds for a standby to replay a new table. Where a million rows were loaded a minute before, it
# may have their vacuum to replay first: once it took more than 10.
REPLAYED_WITHIN = 60.0
# One committed transaction that needs no table.
WRITE = "SELECT pg_logical_emit_message(true, 'pgdrill', 'one small write')"
WAITS = """SELECT max(extract(epoch FROM clock_timestamp() - query_start)) FROM pg_stat_activity
    WHERE state = 'active' AND wait_event IN ('WALWrite', 'WALSync', 'SyncRep')"""
OLDEST = """SELECT max(extract(epoch FROM clock_timestamp() - xact_start)) FROM pg_stat_activity
    WHERE backend_type = 'client backend'"""
STARTED = """SELECT max(extract(epoch FROM backend_start)) FROM pg_stat_activity
    WHERE backend_type = 'checkpointer'"""
BEHIND = "SELECT extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())"


def instant_when(what: str, probe: Callable[[], bool], *, within: float) -> float:
    """Return the monotonic instant of the last look that did not yet see it.

    It began somewhere between that look and the next, and a look at a member whose pod is gone
    takes two seconds: this way no page is called faster than it was.

    Raises:
        DeadlineError: it is not seen within so many seconds.
    """
    not_yet = time.monotonic()

    def look() -> bool:
        nonlocal not_yet
        began = time.monotonic()
        if probe():
            return True
        not_yet = began
        return False

    eventually(what, look, within=within, every=0.1)
    return not_yet


def until_paged(watch: AlertWatch, of: Expectation, since: float) -> None:
    """Wait for the page; somewhat longer than allowed, so that a late one is measured.

    An alert of severity info pages nobody: its stage `logged` is awaited.
    """
    within = alerting.fires(watch.path(of.alert)).limit + 10
    watch.wait(of, watch.last_stage(of.alert), since=since, within=within)


def until_resolved(watch: AlertWatch, of: Expectation, since: float) -> None:
    """Wait for the page of the resolution, where the alert itself was paged."""
    paged = watch.when(of, watch.last_stage(of.alert), since)
    if paged is not None:
        watch.wait(
            of, "resolved", since=paged, within=alerting.resolves(watch.path(of.alert)).limit + 10
        )


def a_standby(platform: Platform) -> str:
    """Name a standby."""
    return next(m.name for m in platform.engine.members() if m.role == "standby")


def behind(cluster: Cluster, member: str) -> float:
    """Seconds since the last transaction that a standby has replayed; asked of PostgreSQL."""
    with cluster.connect(cluster.members[member]) as session:
        row = session.execute(BEHIND).fetchone()
    assert row is not None
    assert row[0] is not None, f"{member} has replayed nothing: no lag to be measured"
    return float(row[0])


def commit_waits(cluster: Cluster) -> float:
    """Seconds that the oldest commit on the primary has waited; asked of PostgreSQL."""
    with cluster.connect(statement_timeout=5) as session:
        row = session.execute(WAITS).fetchone()
    return float(row[0]) if row and row[0] is not None else 0.0


def writers(cluster: Cluster) -> list[str]:
    """Name the members that report the role of primary; one that does not answer is left out."""
    found = []
    for name, at in cluster.members.items():
        with suppress(psycopg.Error), cluster.connect(at, statement_timeout=2) as session:
            row = session.execute("SELECT NOT pg_is_in_recovery()").fetchone()
            if row and row[0]:
                found.append(name)
    return found


def connections_share(cluster: Cluster) -> float:
    """Return the used share of the suite's role's own limit, or else of the server's."""
    with cluster.connect(statement_timeout=5) as session:
        row = session.execute(SHARE).fetchone()
    return float(row[0]) if row else 0.0


def oldest_transaction(cluster: Cluster) -> float:
    """Seconds that the oldest transaction of a client has been open on the primary."""
    with cluster.connect(statement_timeout=5) as session:
        row = session.execute(OLDEST).fetchone()
    return float(row[0]) if row and row[0] is not None else 0.0


def started(cluster: Cluster, member: str) -> float:
    """Return when a member's processes started, Unix time; 0 while it does not answer."""
    with suppress(psycopg.Error), cluster.connect(cluster.members[member]) as session:
        row = session.execute(STARTED).fetchone()
        return float(row[0]) if row and row[0] is not None else 0.0
    return 0.0


def archive_fails(cluster: Cluster) -> bool:
    """Whether the primary's last attempt to store a WAL file failed, according to PostgreSQL."""
    return archiver_of(cluster).failing


def files_that_wait(cluster: Cluster) -> int:
    """Count the WAL files that are not in the archive yet; asked of PostgreSQL."""
    return archiver_of(cluster).waiting


@contextmanager
def meanwhile(work: Callable[[threading.Event], None]) -> Iterator[None]:
    """Run work in a thread during the block; it is asked to stop when the block ends.

    What work raised is raised then, unless the block raised something itself.
    """
    stop = threading.Event()
    with ThreadPoolExecutor(1, thread_name_prefix=work.__name__) as pool:
        running = pool.submit(work, stop)
        try:
            yield
        finally:
            stop.set()
    running.result()


@contextmanager
def writing(cluster: Cluster) -> Iterator[list[float]]:
    """Commit one small write every 0.2 s through the load balancer; yield what each took, in s."""
    took: list[float] = []

    def write(stop: threading.Event) -> None:
        with cluster.connect() as session:
            while not stop.wait(0.2):
                began = time.monotonic()
                session.execute(WRITE)
                took.append(time.monotonic() - began)

    with meanwhile(write):
        yield took


@contextmanager
def replay_blocked(cluster: Cluster, member: str) -> Iterator[None]:
    """Make a standby wait with replay: a reader there holds a table that the primary truncates.

    It waits for the reader as long as max_standby_streaming_delay allows (30 s by default). Pausing
    replay by function would be simpler, but Patroni resumes it within a second.
    """
    table = "alert_replay_block"
    with cluster.connect() as primary:
        primary.execute(f"DROP TABLE IF EXISTS {table}")
        primary.execute(f"CREATE TABLE {table} ()")
        try:
            with cluster.connect(cluster.members[member]) as reader, reader.transaction():
                _hold(reader, table)
                primary.execute(f"TRUNCATE {table}")
                yield
        finally:
            primary.execute(f"DROP TABLE {table}")


def _hold(reader: psycopg.Connection[tuple[Any, ...]], table: str) -> None:
    def seen() -> bool:
        row = reader.execute("SELECT to_regclass(%s) IS NOT NULL", (table,)).fetchone()
        return row is not None and bool(row[0])

    eventually(f"{table} on the standby", seen, within=REPLAYED_WITHIN, every=0.05)
    reader.execute(f"SELECT FROM {table}")


@dataclass
class Injection:
    """The member that a fault has hit, since when, and when its healing began."""

    member: str
    at: float
    healing: float = math.inf


@contextmanager
def injected(fault: Fault) -> Iterator[Injection]:
    """Break something, proven; yield who was hit and since when; heal, proven."""
    with healing(fault):
        member = fault.inject()
        injection = Injection(member, time.monotonic())
        fault.verify_injected()
        yield injection
        injection.healing = time.monotonic()
    fault.verify_healed()
