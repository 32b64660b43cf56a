"""The prober against a real server that is killed, frozen, read-only, cancelled, or not there."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from pgdrill.attempt_log import Lane, Outcome
from pgdrill.errors import BrokenEnvironmentError
from pgdrill.records import LaneResult
from pgdrill.waiting import DeadlineError, eventually, pause
from pgdrill.workload.attempts import Attempts
from pgdrill.workload.ledger import create_table, displaced, lost_updates, read_ids, reconcile, torn
from pgdrill.workload.probe_loop import counters_of, parts_of
from pgdrill.workload.prober import Prober
from tests.unit.conftest import ScratchPostgres

TABLE = "probed"
TOLERANCE = 0.3  # seconds: a reconnect every 0.1 s, and a busy machine


@pytest.fixture
def conninfo(scratch_postgres: ScratchPostgres) -> str:
    """A database with an empty ledger."""
    conninfo = scratch_postgres.database("prober")
    create_table(conninfo, TABLE)
    return conninfo


def lanes(conninfo: str, rate: float = 50) -> list[Lane]:
    """One lane of each kind."""
    return [
        Lane("fresh", "fresh", conninfo, rate),
        Lane("held", "held", conninfo, rate, sessions=4),
    ]


def pid_of(prober: Prober) -> int:
    """The process id of a running prober."""
    assert prober._process is not None
    return prober._process.pid


def reasons(attempts: Attempts, outcome: Outcome) -> set[str]:
    """Why attempts had this outcome."""
    return {attempts.reasons[row["reason"]] for row in attempts.of(outcome)}


def assert_all_counted(attempts: Attempts, conninfo: str) -> None:
    """Every attempt is in one class, and nothing acknowledged is lost nor refused is there."""
    count = reconcile(attempts, read_ids(conninfo, TABLE))
    assert sum(count.model_dump().values()) == attempts.rows.size
    assert (count.acked_lost, count.refused_present, count.duplicate) == (0, 0, 0)


def test_healthy_server_acknowledges_every_attempt_on_time(conninfo: str, tmp_path: Path) -> None:
    """Without a fault each lane offers its rate, all is acknowledged, by the server asked."""
    with Prober(lanes(conninfo, rate=100), TABLE, tmp_path) as prober:
        began = time.monotonic()
        pause(1.0)
        lasted = time.monotonic() - began
        assert set(prober.acks()) == {"fresh", "held"}
    attempts = prober.result()
    due = attempts.lane_rows("held")["due"] / 1e9
    offered = ((due > began) & (due <= began + lasted)).sum()
    assert abs(offered - 100 * lasted) <= 2
    assert attempts.of(Outcome.ACKED).size == attempts.rows.size
    port = psycopg.conninfo.conninfo_to_dict(conninfo)["port"]
    assert attempts.servers[1:] == (f"127.0.0.1:{port}",)
    assert set(attempts.rows["timeline"]) == {1}
    assert 0 <= attempts.schedule_error_p99_ms() < 100
    assert_all_counted(attempts, conninfo)


def test_each_attempt_is_one_transaction_of_three_tables(
    scratch_postgres: ScratchPostgres, conninfo: str, tmp_path: Path
) -> None:
    """All its rows and its update are there or none, also where a killed server cut it off."""
    create_table(conninfo, TABLE, with_parts=True)
    read_only = make_conninfo(conninfo, options="-c default_transaction_read_only=on")
    standby = Lane("held@standby", "held", read_only, 20, direct=True)
    probed = [*lanes(conninfo), standby]
    with Prober(probed, TABLE, tmp_path, deadline=1, with_parts=True) as prober:
        pause(0.3)
        os.kill(scratch_postgres.pid(), signal.SIGKILL)
        eventually("restart", lambda: restarted(scratch_postgres), within=20, every=0.1)
        prober.wait_for_acks(10, within=10)
    attempts = prober.result()
    assert_all_counted(attempts, conninfo)
    assert reasons(attempts, Outcome.REFUSED) >= {"25006"}

    def parts() -> int:
        return torn(conninfo, TABLE)

    assert read_ids(conninfo, TABLE).size > 20

    def out_of_place() -> int:
        return displaced(conninfo, TABLE, attempts)

    assert (parts(), lost_updates(conninfo, TABLE), out_of_place()) == (0, 0, 0)
    with psycopg.connect(conninfo, autocommit=True) as session:
        first = f"(SELECT min(id) FROM {TABLE})"
        session.execute(f"DELETE FROM {parts_of(TABLE)} WHERE id = {first} AND part = 2")
        assert parts() == 1
        session.execute(f"DELETE FROM {TABLE} WHERE id IN (SELECT max(id) FROM {TABLE})")
        assert parts() == 2
        assert lost_updates(conninfo, TABLE) == 1, "a counter is ahead of its rows"
        counters = counters_of(TABLE)
        session.execute(f"UPDATE {counters} SET value = value - 1 WHERE slot IN (1, 2)")
        assert lost_updates(conninfo, TABLE) == 3
        oldest = f"(SELECT slot FROM {counters} WHERE cardinality(items) = 1 LIMIT 1)"
        session.execute(f"UPDATE {counters} SET items = 0 || items WHERE slot = {oldest}")
        assert out_of_place() == 1
        session.execute(f"DROP TABLE {parts_of(TABLE)}, {counters}")
    left = read_ids(conninfo, TABLE).size
    assert parts() == lost_updates(conninfo, TABLE) == left, "a table that is gone is a loss"
    assert out_of_place() == attempts.of(Outcome.ACKED).size


def test_steady_service_is_waited_for(conninfo: str, tmp_path: Path) -> None:
    """A table that refuses every fourth write is not steady; once it takes all, it is."""
    refuses = f"ALTER TABLE {TABLE} ADD CONSTRAINT one CHECK (id % 4 > 0) NOT VALID"
    with Prober(lanes(conninfo), TABLE, tmp_path, in_time=0.5) as prober:
        with psycopg.connect(conninfo, autocommit=True) as session:
            session.execute(refuses)
            with pytest.raises(DeadlineError, match="attempts fail or are late"):
                prober.wait_until_steady(0.5, within=3)
            session.execute(f"ALTER TABLE {TABLE} DROP CONSTRAINT one")
        well = time.monotonic()
        prober.wait_until_steady(1.0, within=20)
    found = prober.result().steady_after(well, 500, 1.0)
    assert found is not None


def test_late_and_unanswered_attempts_are_not_steady(
    scratch_postgres: ScratchPostgres, conninfo: str, tmp_path: Path
) -> None:
    """An ack after the limit counts as late, an attempt without an answer as overdue."""
    with Prober(lanes(conninfo), TABLE, tmp_path, deadline=3, in_time=0.1) as prober:
        with frozen(scratch_postgres):
            pause(0.6)
            overdue = prober.look()
        prober.wait_for_acks(20, within=10)
        late = prober.look()
    for lane in ("fresh", "held"):
        assert overdue[lane].overdue > 0
        assert late[lane].late > 0


def test_gap_of_a_killed_server_is_the_real_outage(
    scratch_postgres: ScratchPostgres, conninfo: str, tmp_path: Path
) -> None:
    """Kill -9 and restart: both lanes see the outage, and the ledger has lost nothing."""
    with Prober(lanes(conninfo), TABLE, tmp_path, deadline=0.5) as prober:
        pause(0.3)
        killed = time.monotonic()
        os.kill(scratch_postgres.pid(), signal.SIGKILL)
        pause(0.7)
        eventually("restart", lambda: restarted(scratch_postgres), within=20, every=0.1)
        back = time.monotonic()
        prober.wait_for_acks(10, within=5)
        end = time.monotonic()
    attempts = prober.result()
    for lane in ("fresh", "held"):
        result = attempts.lane_result(lane, (killed, end))
        assert result.gap == pytest.approx(back - killed, abs=TOLERANCE), (lane, result)
        assert result.attempts == result.acked + result.refused + result.indeterminate
        assert result.refused > 0
    assert "connect: Connection refused" in reasons(attempts, Outcome.REFUSED)
    assert_all_counted(attempts, conninfo)


def restarted(server: ScratchPostgres) -> bool:
    """Start again; False while processes of the dead server still hold its memory."""
    try:
        server.start()
    except AssertionError:
        return False
    return True


@contextmanager
def frozen(server: ScratchPostgres) -> Iterator[None]:
    """Stop every process of the server from running, the postmaster first."""
    postmaster = server.pid()
    stopped = [postmaster]
    os.kill(postmaster, signal.SIGSTOP)
    try:
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        for child in map(int, children):
            os.kill(child, signal.SIGSTOP)
            stopped.append(child)
        yield
    finally:
        for pid in reversed(stopped):
            os.kill(pid, signal.SIGCONT)


def test_frozen_server_stalls_neither_the_attempts_nor_the_end(
    scratch_postgres: ScratchPostgres, conninfo: str, tmp_path: Path
) -> None:
    """While nothing answers, attempts stay due; sent ones are indeterminate, others refused."""
    with Prober(lanes(conninfo, rate=20), TABLE, tmp_path, deadline=0.5) as prober:
        with frozen(scratch_postgres):
            froze = time.monotonic()
            pause(3.0)
            thawed = time.monotonic()
        with psycopg.connect(conninfo):
            back = time.monotonic()
        prober.wait_for_acks(5, within=10)
        end = time.monotonic()
        freeze = frozen(scratch_postgres)
        freeze.__enter__()
    try:
        assert time.monotonic() - end < 0.5 + 2
    finally:
        freeze.__exit__(None, None, None)
    attempts = prober.result()
    for lane in ("fresh", "held"):
        rows = attempts.lane_rows(lane)
        due = rows["due"] / 1e9
        assert abs(((due > froze) & (due < thawed)).sum() - 20 * (thawed - froze)) <= 2
        late = (rows["ended"] - rows["due"]).max() / 1e9
        assert late < 0.5 + TOLERANCE, "an attempt outlived its deadline"
        result = attempts.lane_result(lane, (froze, end))
        # Not before it thawed; another client's word for when it answered again.
        assert result.gap is not None
        assert thawed - froze - 0.1 < result.gap < back - froze + TOLERANCE, (lane, result)
    assert reasons(attempts, Outcome.INDETERMINATE) == {"deadline"}
    assert reasons(attempts, Outcome.REFUSED) == {"deadline, never sent"}
    assert_all_counted(attempts, conninfo)


def test_a_promoted_standby_beside_its_primary_is_two_writers(
    scratch_postgres: ScratchPostgres, conninfo: str, tmp_path: Path
) -> None:
    """A session that a standby refused is kept, and writes there as soon as it is promoted."""
    standby = scratch_postgres.standby()
    there = conninfo.replace(f"port={scratch_postgres.port}", f"port={standby.port}")
    sessions = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
    direct = [
        Lane(f"held@{name}", "held", at, 20, sessions=2, direct=True)
        for name, at in (("one", conninfo), ("two", there))
    ]
    try:
        with Prober([*lanes(conninfo), *direct], TABLE, tmp_path) as prober:
            with psycopg.connect(there, autocommit=True) as session:
                pause(0.5)
                started = "SELECT max(backend_start) FROM pg_stat_activity WHERE pid <> %s"
                own = [session.info.backend_pid]
                before = session.execute(started, own).fetchone()
                pause(0.5)
                assert session.execute(started, own).fetchone() == before, "it connected again"
                assert session.execute(sessions).fetchone() == (3,)
            assert prober.look()["held@two"].error == "25006"
            standby.run("pg_ctl", "promote", "-w", "-D", standby.data)
            eventually("an ack there", lambda: prober.acks()["held@two"], within=10, every=0.05)
            pause(0.5)
    finally:
        standby.discard()
    attempts = prober.result()
    assert attempts.two_writers() > 0.3
    unseen = attempts.unseen_overlap()
    assert unseen is not None
    assert 0.1 < unseen < 1


@pytest.mark.parametrize(
    ("end_wait", "reason"),
    [
        pytest.param("pg_cancel_backend", "warning 01000", id="cancelled"),
        pytest.param("pg_terminate_backend", "warning 57P01", id="terminated"),
    ],
)
def test_commit_that_gave_up_on_its_standby_is_no_ack(
    conninfo: str, tmp_path: Path, end_wait: str, reason: str
) -> None:
    """A cancelled wait for a synchronous standby looks like success, and is indeterminate."""
    with (
        psycopg.connect(conninfo, autocommit=True) as admin,
        Prober(lanes(conninfo, rate=20), TABLE, tmp_path, deadline=10) as prober,
    ):
        admin.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        try:
            admin.execute("SELECT pg_reload_conf()")
            eventually("waiting backends", lambda: ended(admin, end_wait), within=10, every=0.05)
        finally:
            admin.execute("ALTER SYSTEM RESET synchronous_standby_names")
            admin.execute("SELECT pg_reload_conf()")
        prober.wait_for_acks(3, within=5)
    attempts = prober.result()
    assert reasons(attempts, Outcome.INDETERMINATE) == {reason}
    count = reconcile(attempts, read_ids(conninfo, TABLE))
    assert count.indeterminate_present == attempts.of(Outcome.INDETERMINATE).size > 0
    assert_all_counted(attempts, conninfo)


def ended(admin: psycopg.Connection[tuple[object, ...]], end_wait: str) -> int:
    """Cancel or terminate every backend that waits for a standby; return how many."""
    return len(
        admin.execute(
            f"SELECT {end_wait}(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
        ).fetchall()
    )


def test_read_only_server_refuses_and_a_direct_lane_stays(conninfo: str, tmp_path: Path) -> None:
    """An answer 25006 refuses the write; the start does not wait for a direct lane."""
    read_only = make_conninfo(conninfo, options="-c default_transaction_read_only=on")
    standby = Lane("held@standby", "held", read_only, 20, sessions=1, direct=True)
    with Prober([*lanes(conninfo), standby], TABLE, tmp_path, deadline=5) as prober:
        pause(0.5)
    attempts = prober.result()
    result = attempts.lane_result("held@standby", (0, 0))
    assert result.refused == result.attempts == result.errors["25006"] > 0
    assert attempts.lane_result("held", (0, 0)).acked == attempts.lane_rows("held").size
    assert_all_counted(attempts, conninfo)


def test_clients_leave_a_server_that_became_read_only(
    scratch_postgres: ScratchPostgres, conninfo: str, tmp_path: Path
) -> None:
    """Their next sessions find the one that writes: here the same, once it does so again."""
    setting = "ALTER DATABASE prober SET default_transaction_read_only = on"
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'prober'"
    with (
        psycopg.connect(scratch_postgres.conninfo, autocommit=True) as admin,
        Prober(lanes(conninfo, rate=40), TABLE, tmp_path, deadline=5) as prober,
    ):
        admin.execute(setting)
        try:
            admin.execute(end)
            refused = prober.look()["held"].refused
            pause(1.0)
            assert prober.look()["held"].refused > refused
        finally:
            admin.execute("ALTER DATABASE prober RESET default_transaction_read_only")
        prober.wait_for_acks(10, within=10)
    assert_all_counted(prober.result(), conninfo)


def test_start_without_a_server_says_so(tmp_path: Path) -> None:
    """An address where nothing listens is one clear error within seconds, and no process stays."""
    prober = Prober(lanes("host=127.0.0.1 port=9 user=nobody"), TABLE, tmp_path, start_within=0.5)
    with pytest.raises(BrokenEnvironmentError, match="lane fresh: connect: Connection refused"):
        prober.__enter__()
    assert not prober.alive()


def test_start_without_a_ledger_says_so(scratch_postgres: ScratchPostgres, tmp_path: Path) -> None:
    """A missing table is named by its SQLSTATE."""
    conninfo = scratch_postgres.conninfo
    prober = Prober(lanes(conninfo), "no_such_table", tmp_path, start_within=0.5)
    with pytest.raises(BrokenEnvironmentError, match="42P01"):
        prober.__enter__()
    assert not prober.alive()


def test_dead_prober_is_never_an_empty_result(conninfo: str, tmp_path: Path) -> None:
    """A prober that was killed raises wherever it is asked."""
    with Prober(lanes(conninfo), TABLE, tmp_path) as prober:
        os.kill(pid_of(prober), signal.SIGKILL)
        with pytest.raises(BrokenEnvironmentError, match=r"prober died \(exit status -9\)"):
            prober.acks()
        assert not prober.alive()
    with pytest.raises(BrokenEnvironmentError, match="prober died"):
        prober.result()


def test_interrupted_block_ends_the_prober_and_keeps_its_data(
    conninfo: str, tmp_path: Path
) -> None:
    """Ctrl-C in the block: the process is gone at once, and what it saw is on disk."""
    began = time.monotonic()
    with (  # noqa: PT012  # the block is what is interrupted
        pytest.raises(KeyboardInterrupt),
        Prober(lanes(conninfo), TABLE, tmp_path) as prober,
    ):
        prober.wait_for_acks(3, within=5)
        began = time.monotonic()
        raise KeyboardInterrupt
    assert time.monotonic() - began < 2
    assert not prober.alive()
    assert prober.result().of(Outcome.ACKED).size >= 6
    assert_all_counted(prober.result(), conninfo)


def test_prober_outlives_no_parent(conninfo: str, tmp_path: Path) -> None:
    """When the parent's end of the pipe closes, the prober saves and leaves on its own."""
    with Prober(lanes(conninfo), TABLE, tmp_path) as prober:
        assert prober._process is not None
        assert prober._process.stdin is not None
        prober._process.stdin.close()
        assert prober._process.wait(5) == 0
    assert prober.result().rows.size > 0


def test_latency_counts_from_when_an_attempt_was_due(conninfo: str, tmp_path: Path) -> None:
    """A lock held for a second shows in every attempt that was due meanwhile: open loop."""
    with (
        psycopg.connect(conninfo) as locker,
        Prober(lanes(conninfo, rate=20), TABLE, tmp_path, deadline=5) as prober,
    ):
        locker.execute(f"LOCK {TABLE} IN EXCLUSIVE MODE")
        pause(1.0)
        locker.rollback()
        prober.wait_for_acks(5, within=5)
    attempts = prober.result()
    held: LaneResult = attempts.lane_result("held", (0, 0))
    assert held.acked == held.attempts
    acked = attempts.lane_rows("held")
    slow = ((acked["ended"] - acked["due"]) > 0.2e9).sum()
    # 20/s for the 0.8 s in which an attempt still had 0.2 s to wait; four sessions only.
    assert 14 <= slow <= 22, slow


def test_backlog_of_an_outage_does_not_prolong_it(conninfo: str, tmp_path: Path) -> None:
    """Sessions that come back serve whoever has time left, not who has waited longest."""
    # Served by age, each attempt would be cut off, as it takes longer (60 ms) than the oldest has
    # left (20 ms at most); 4 sessions that reconnect every 0.1 s never get through 50 a second.
    with psycopg.connect(conninfo, autocommit=True) as admin:
        admin.execute(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql"
            " AS 'BEGIN PERFORM pg_sleep(0.06); RETURN new; END'"
        )
        admin.execute(f"CREATE TRIGGER slow BEFORE INSERT ON {TABLE} EXECUTE FUNCTION slow()")
    held = [Lane("held", "held", conninfo, 50, sessions=4)]
    with (
        psycopg.connect(conninfo) as locker,
        Prober(held, TABLE, tmp_path, deadline=0.5) as prober,
    ):
        prober.wait_for_acks(10, within=5)
        locker.execute(f"LOCK {TABLE} IN EXCLUSIVE MODE")
        locked = time.monotonic()
        pause(1.5)
        locker.rollback()
        released = time.monotonic()
        pause(2.0)
    attempts = prober.result()
    result = attempts.lane_result("held", (locked, released + 2.0))
    assert result.gap == pytest.approx(released - locked, abs=TOLERANCE), result
    late = attempts.lane_rows("held")
    late = late[late["due"] > (released + 1.0) * 1e9]
    assert (late["outcome"] == Outcome.ACKED).mean() > 0.9
    assert_all_counted(attempts, conninfo)
