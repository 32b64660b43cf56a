"""What sessions wait for is seen from outside, without disturbing them."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

import psutil
import psycopg
import pytest

from fixtures.load import watch_waits
from pgdrill.observe import pressure
from pgdrill.observe.machine import MachineWatch
from pgdrill.observe.waits import AGAIN, EVERY, LONGEST_LOOK, WaitWatch
from pgdrill.platforms import session
from pgdrill.platforms.base import Cluster, Endpoint
from pgdrill.records import WaitLook
from pgdrill.waiting import eventually, pause
from pgdrill.workload import pgbench
from pgdrill.workload.pgbench import Script
from pgdrill.workload.pgbench_program import HostProgram
from tests.unit.conftest import ScratchPostgres

pytestmark = pytest.mark.unit
APPLICATION = "looked at"
WITHIN = 0.5  # seconds for one look
PATIENCE = 10.0  # seconds for something to show


@contextmanager
def busy(conninfo: str, statement: str, application: str = APPLICATION) -> Iterator[None]:
    """Have a session execute a statement that does not end by itself, for a block."""
    connection = psycopg.connect(conninfo, application_name=application, autocommit=True)

    def execute() -> None:
        with suppress(psycopg.errors.QueryCanceled):
            connection.execute(statement)

    thread = threading.Thread(target=execute, daemon=True)
    thread.start()
    try:
        yield
    finally:
        connection.cancel_safe(timeout=PATIENCE)
        thread.join(PATIENCE)
        connection.close()


@pytest.fixture
def pids() -> list[int]:
    """The sessions that the watch has opened, oldest first."""
    return []


@pytest.fixture
def watch(scratch_postgres: ScratchPostgres, pids: list[int]) -> WaitWatch:
    """A watch of sessions on the scratch server, which is not begun."""

    def connect() -> session.Session:
        opened = session.connect(scratch_postgres.conninfo, WITHIN)
        pids.append(opened.info.backend_pid)
        return opened

    return WaitWatch(connect, APPLICATION)


def until(watch: WaitWatch, what: str, accept: Callable[[WaitLook], bool]) -> WaitLook:
    """Wait for a look of that kind and return it."""
    return eventually(
        what,
        lambda: next((look for look in watch.seen if accept(look)), None),
        within=PATIENCE,
        every=0.1,
    ) or pytest.fail(what)


def test_waits_are_told_apart(scratch_postgres: ScratchPostgres, watch: WaitWatch) -> None:
    """Sleeping, blocked and computing sessions show as such; idle, other and own ones do not."""
    at = scratch_postgres.database("waits")
    statements = (
        "SELECT pg_sleep(60)",
        "SELECT FROM held",
        "SELECT count(*) FROM (SELECT generate_series(1, 1000000000000)) AS numbers",
    )
    with ExitStack() as stack:
        holder = stack.enter_context(psycopg.connect(at, application_name=APPLICATION))
        holder.execute("CREATE TABLE held ()")
        holder.commit()
        holder.execute("LOCK TABLE held")  # and idle in its transaction from now on
        stack.enter_context(busy(at, "SELECT pg_sleep(60)", "somebody else"))
        for statement in statements:
            stack.enter_context(busy(at, statement))
        stack.enter_context(watch)
        expected = {"Timeout:PgSleep": 1, "Lock:relation": 1, "CPU": 1}
        until(watch, "one of each", lambda look: look.sessions == expected)
    assert not any(look.trouble for look in watch.seen)


def test_looks_come_several_times_a_second(watch: WaitWatch) -> None:
    """Looks have a steady pace, also where there is nothing to see."""
    with watch:
        eventually("looks", lambda: len(watch.seen) >= 8, within=PATIENCE, every=0.1)
    took = watch.seen[7].at - watch.seen[1].at
    assert 6 * EVERY * 0.9 < took < 6 * EVERY + 2
    assert all(look.sessions == {} for look in watch.seen)


def test_a_lost_session_is_opened_again(
    scratch_postgres: ScratchPostgres, watch: WaitWatch, pids: list[int]
) -> None:
    """Its end is noted with the reason, and a second later the looks go on."""
    with busy(scratch_postgres.conninfo, "SELECT pg_sleep(60)"), watch:
        until(watch, "a look", lambda look: look.sessions == {"Timeout:PgSleep": 1})
        with psycopg.connect(scratch_postgres.conninfo, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s)", pids)
        gap = until(watch, "a gap", lambda look: bool(look.trouble))
        after = until(watch, "a look after it", lambda look: look.at > gap.at and not look.trouble)
    assert gap.sessions == {}
    assert "terminat" in gap.trouble
    assert after.sessions == {"Timeout:PgSleep": 1}
    assert AGAIN * 0.9 < after.at - gap.at < AGAIN + 2
    assert len(pids) == 2


def test_nothing_is_left_after_the_load(
    scratch_postgres: ScratchPostgres, watch: WaitWatch, pids: list[int]
) -> None:
    """With the end of the block the session and the thread are gone, and nobody looks again."""
    with watch:
        until(watch, "a look", lambda look: True)
    seen = watch.seen
    assert not [thread for thread in threading.enumerate() if thread.name == "wait watch"]
    with psycopg.connect(scratch_postgres.conninfo, autocommit=True) as other:
        eventually(
            "the session's end",
            lambda: other.execute("SELECT FROM pg_stat_activity WHERE pid = ANY(%s)", [pids]),
            lambda found: not found.fetchall(),
            within=PATIENCE,
        )
    assert watch.seen == seen


def test_a_server_that_hangs_does_not_hold_the_load_up(watch: WaitWatch, pids: list[int]) -> None:
    """The block can be left during a look that is never answered: it ends by itself."""
    with ExitStack() as stack:
        with watch:
            until(watch, "a look", lambda look: True)
            backend = psutil.Process(pids[0])
            backend.send_signal(signal.SIGSTOP)
            stack.callback(backend.send_signal, signal.SIGCONT)
            pause(2 * EVERY)
            began = time.monotonic()
        assert WITHIN < time.monotonic() - began < WITHIN + session.GRACE + 1
    assert "no answer within" in watch.seen[-1].trouble
    assert LONGEST_LOOK > WITHIN + session.GRACE


def test_nobody_answers() -> None:
    """Where no session can be opened, each second has a reason, and none an error."""
    watch = WaitWatch(
        lambda: session.connect("host=127.0.0.1 port=1 connect_timeout=2", WITHIN),
        APPLICATION,
    )
    with watch:
        look = until(watch, "a try", lambda look: True)
        until(watch, "another one", lambda another: another.at >= look.at + AGAIN * 0.9)
    assert "refused" in look.trouble


def test_the_sessions_of_pgbench_are_looked_at(
    scratch_postgres: ScratchPostgres, program: HostProgram, tmp_path: Path
) -> None:
    """However pgbench is told to connect, its sessions have the name that is looked for."""
    at = scratch_postgres.database("looked_at")
    pgbench.prepare(program, at, 1, lambda line: None, within=60)
    here = Endpoint("127.0.0.1", scratch_postgres.port)
    cluster = Cluster("scratch", here, here, {}, "looked_at", "postgres", tmp_path / "passfile")
    with watch_waits(cluster) as watch:
        pgbench.run(
            program,
            cluster.conninfo(),
            clients=4,
            duration=2,
            rate=500.0,
            directory=tmp_path / "logs",
            scale=1,
            seed=42,
            calibration_tps=0,
            warm_up=0,
            mix=(Script("tpcb", 1),),
        )
    assert [look for look in watch.seen if look.sessions], watch.seen
    assert not any(look.trouble for look in watch.seen)


def test_pressure_is_the_growth_of_what_the_kernel_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Microseconds of 'some' over the time between; never above 100 %, and None where untold."""
    monkeypatch.setattr(pressure, "PRESSURE", tmp_path)
    clock = iter(range(100))
    monkeypatch.setattr(pressure, "time", SimpleNamespace(monotonic=lambda: next(clock)))

    def tell(cpu: int, io: int) -> None:
        for name, total in (("cpu", cpu), ("io", io)):
            (tmp_path / name).write_text(
                f"some avg10=1.00 avg60=1.00 avg300=1.00 total={total}\n"
                "full avg10=0.00 avg60=0.00 avg300=0.00 total=7\n"
            )

    tell(5_000_000, 1_000)
    looked = pressure.Pressure()  # each resource is read 3 s after its last time, by this clock
    tell(6_200_000, 9_000_000)
    assert looked.look() == {"cpu": pytest.approx(40), "io": 100, "memory": None}
    (tmp_path / "io").unlink()
    assert looked.look() == {"cpu": 0, "io": None, "memory": None}


def test_run_queue_sums_the_processes_of_postgresql(monkeypatch: pytest.MonkeyPatch) -> None:
    """Old ones count by what they waited since, new ones by all; others and the gone by nothing."""
    names = {1: "init", 2: "postgres", 3: "postgres", 4: "postgres"}
    delays = {2: 10_000_000_000, 3: 500_000_000}
    monkeypatch.setattr(pressure, "_is_ours", lambda pid: names[pid] == "postgres")
    monkeypatch.setattr(pressure, "_delay", lambda pid: delays.get(pid))
    monkeypatch.setattr(pressure, "psutil", SimpleNamespace(pids=lambda: list(names)))
    clock = iter([100, 102, 103])
    monkeypatch.setattr(pressure, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    queue = pressure.RunQueue()
    delays |= {2: 10_600_000_000, 4: 200_000_000}
    del names[3], delays[3]
    assert queue.look() == pytest.approx(0.4)  # 0.6 + 0.2 s in 2 s
    delays.clear()
    assert queue.look() is None


def test_this_kernel_is_read(scratch_postgres: ScratchPostgres) -> None:
    """What it tells is there each second and can be; what it does not tell is None, no error."""
    with MachineWatch() as watch:
        eventually("two looks", lambda: len(watch.seen) >= 2, within=PATIENCE)
    one = watch.seen[-1]
    for name, value in (
        ("cpu", one.cpu_pressure),
        ("io", one.io_pressure),
        ("memory", one.memory_pressure),
    ):
        assert (value is None) != os.access(f"/proc/pressure/{name}", os.R_OK)
        assert value is None or 0 <= value <= 100
    own = Path("/proc/self/schedstat")
    told = own.is_file() and not own.read_text().startswith("0 ")
    assert (one.run_queue is None) != told
    assert one.run_queue is None or one.run_queue >= 0


def test_a_system_without_proc_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS: no file of /proc can be opened."""
    monkeypatch.setattr(pressure, "_read", lambda path: b"")
    assert pressure.Pressure().look() == {"cpu": None, "io": None, "memory": None}
    assert pressure.RunQueue().look() is None
