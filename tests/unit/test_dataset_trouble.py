"""Seeding when something goes wrong: interrupted, contended, lost, frozen, not replicated."""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from psycopg.conninfo import make_conninfo

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.settings import MIN_ROWS
from pgdrill.waiting import eventually
from pgdrill.workload import dataset
from pgdrill.workload.dataset.load import must_fit
from tests.unit.conftest import ScratchPostgres
from tests.unit.shop import WITHIN, execute, interrupt, plant, query, stop_at


@pytest.mark.parametrize("where", ["orders", "reviews", "references", "checksum"])
def test_interrupted_seed_is_redone_from_scratch(
    scratch_postgres: ScratchPostgres, where: str
) -> None:
    """Ctrl-C at any stage leaves no dataset, and the next run makes the very same one."""
    conninfo = scratch_postgres.database("interrupted")
    untouched = plant(scratch_postgres.database("untouched"))
    with pytest.raises(KeyboardInterrupt):
        plant(conninfo, progress=stop_at(where, interrupt))
    assert dataset.verify(conninfo, {}, within=WITHIN) is None
    assert plant(conninfo).tables == untouched.tables


def test_two_seeds_at_once_do_not_mix(scratch_postgres: ScratchPostgres) -> None:
    """The second seed says that another is at work; the first is not disturbed."""
    conninfo = scratch_postgres.database("contended")
    refusals: list[str] = []

    def second() -> None:
        if not refusals:
            with pytest.raises(BrokenEnvironmentError, match="another seed is at work") as told:
                plant(conninfo, seed=2)
            refusals.append(str(told.value))

    first = plant(conninfo, seed=1, progress=stop_at("orders", second))
    assert refusals
    assert sum(table.rows for table in first.tables) == MIN_ROWS


def test_foreign_schema_is_left_alone(scratch_postgres: ScratchPostgres) -> None:
    """A schema of that name that is not ours is refused, not dropped."""
    conninfo = scratch_postgres.database("foreign")
    execute(conninfo, "CREATE SCHEMA shop; CREATE TABLE shop.orders ()")
    with pytest.raises(BrokenEnvironmentError, match="pgdrill did not make it"):
        plant(conninfo)
    assert query(conninfo, "SELECT to_regclass('shop.orders')::text") == [("shop.orders",)]


def test_unreachable_database_is_one_clear_line(scratch_postgres: ScratchPostgres) -> None:
    """No server at the address: what, why, what next, in one line."""
    nowhere = "host=127.0.0.1 port=1 user=postgres dbname=x"
    with pytest.raises(
        BrokenEnvironmentError, match=r"127\.0\.0\.1:1/x.*refused.*run this"
    ) as told:
        plant(nowhere)
    assert "\n" not in str(told.value)
    primary = scratch_postgres.database("reachable")
    members = {"gone": nowhere}
    with pytest.raises(BrokenEnvironmentError, match=r"127\.0\.0\.1:1/x.*comparing checksums"):
        dataset.seed(primary, members, rows=MIN_ROWS, seed=1, within=WITHIN)
    assert dataset.verify(primary, {}, within=WITHIN) is None, "declared complete unchecked"


def test_primary_lost_in_the_middle(scratch_postgres: ScratchPostgres) -> None:
    """A primary that crashes while rows load ends the seed at once, and the next one repairs."""
    conninfo = scratch_postgres.database("crashed")
    crash = stop_at("orders", lambda: scratch_postgres.stop("immediate"))
    try:
        with pytest.raises(BrokenEnvironmentError, match="failed while copying rows"):
            plant(conninfo, progress=crash)
    finally:
        scratch_postgres.start()
    assert not plant(conninfo).reused


def test_frozen_server_does_not_hang_the_seed(scratch_postgres: ScratchPostgres) -> None:
    """A server that stops answering is given up at the deadline."""
    conninfo = scratch_postgres.database("frozen")
    pids: list[int] = []

    def freeze() -> None:
        pids.extend(
            pid
            for (pid,) in query(
                scratch_postgres.conninfo,
                "SELECT pid FROM pg_stat_activity WHERE datname = 'frozen'",
            )
        )
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)

    started = time.monotonic()
    try:
        with pytest.raises(BrokenEnvironmentError, match="not done within 2 s"):
            plant(conninfo, within=2, progress=stop_at("orders", freeze))
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    assert pids, "nothing was frozen"
    assert time.monotonic() - started < 6


@pytest.fixture
def lonely(scratch_postgres: ScratchPostgres) -> Iterator[str]:
    """An empty database on a server whose synchronous standby is away."""
    conninfo = scratch_postgres.database("lonely")
    local = make_conninfo(scratch_postgres.conninfo, options="-c synchronous_commit=local")
    execute(local, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    execute(local, "SELECT pg_reload_conf()")
    yield conninfo
    execute(local, "ALTER SYSTEM RESET synchronous_standby_names")
    execute(local, "SELECT pg_reload_conf()")


def test_commit_without_its_standby_is_no_success(
    scratch_postgres: ScratchPostgres, lonely: str
) -> None:
    """A commit that the server stopped waiting for fails the seed, WARNING or not."""
    cancel = (
        "SELECT pg_cancel_backend(pid) FROM pg_stat_activity"
        " WHERE datname = 'lonely' AND wait_event = 'SyncRep'"
    )

    def cancel_the_wait() -> None:
        eventually("a waiting commit", lambda: query(scratch_postgres.conninfo, cancel), within=5)

    with ThreadPoolExecutor(1) as pool:
        cancelled = pool.submit(cancel_the_wait)
        with pytest.raises(BrokenEnvironmentError, match="a commit was not replicated"):
            plant(lonely, within=6)
        cancelled.result()
    assert dataset.verify(lonely, {}, within=WITHIN) is None


def test_missing_standby_does_not_hang_the_seed(lonely: str) -> None:
    """A commit that waits for ever is given up at the deadline."""
    with pytest.raises(BrokenEnvironmentError, match=r"not done within 1 s.*synchronous standby"):
        plant(lonely, within=1)


def test_more_rows_than_memory_are_refused() -> None:
    """A dataset that cannot be generated here is refused with the number that can."""
    must_fit(1_000_000, available=64_000_000)
    with pytest.raises(BrokenEnvironmentError, match=r"--rows=1000000 or fewer"):
        must_fit(1_000_001, available=64_000_000)
