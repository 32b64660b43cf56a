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

from pgdrill.drills.load import watch_waits
from pgdrill.judge import waits as judged
from pgdrill.observe import pressure
from pgdrill.observe.machine import MachineWatch
from pgdrill.observe.waits import AGAIN, EVERY, LONGEST_LOOK, WaitWatch
from pgdrill.platforms import session
from pgdrill.platforms.base import Cluster, Endpoint
from pgdrill.records import MachineSecond, WaitLook
from pgdrill.report.waits import meaning, sentences
from pgdrill.waiting import eventually, pause
from pgdrill.workload import pgbench
from pgdrill.workload.pgbench import Script
from pgdrill.workload.pgbench_program import HostProgram
from tests.unit.conftest import ScratchPostgres
from tests.unit.fake_run import bench, machine, waits

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
    with psycopg.connect(at) as holder, watch_waits(cluster) as watch:
        holder.execute("LOCK TABLE bench.pgbench_accounts")
        pgbench.run(
            program,
            cluster.conninfo(),
            clients=4,
            duration=3,
            rate=100.0,
            directory=tmp_path / "logs",
            scale=1,
            seed=42,
            calibration_tps=0,
            warm_up=0,
            mix=(Script("tpcb", 1),),
            on_progress=lambda second, tps, latency: holder.commit(),
        )
    assert {"Lock:relation": 4} in [look.sessions for look in watch.seen]
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


def test_shares_of_busy_time() -> None:
    """Seconds count alike, however often they were looked at; gaps are told and not counted."""
    found = judged.waits(bench(), waits())
    assert found is not None
    assert (found.looks, len(found.seconds), found.late_seconds) == (298 * 4 + 1, 299, 1)
    assert (found.unseen, found.troubles) == (1, ("connection <lost>",))
    assert found.active == pytest.approx((298 * 5 + 16) / 299)
    of = {share.event: share for share in found.shares}
    whole = 298 * 5 + 16
    assert of["CPU"].overall == pytest.approx(100 * (298 * 3 + 12) / whole)
    assert of["IPC:SyncRep"].overall == pytest.approx(100 * 298 / whole)
    assert of["CPU"].late == 75
    assert of["CPU"].otherwise == pytest.approx(60)
    assert (of["LWLock:WALWrite"].late, of["LWLock:WALWrite"].otherwise) == (25, 0)
    assert of["IPC:SyncRep"].late == 0
    assert sum(share.overall for share in found.shares) == pytest.approx(100)
    assert found.top(3) == ("CPU", "LWLock:WALWrite", "IPC:SyncRep")


def test_a_second_of_the_load_is_the_mean_of_its_looks() -> None:
    """From the first moment of the load to before its end; failed looks have a reason, once."""
    load = bench().model_copy(update={"duration": 5.0})
    pieces = [s.model_copy(update={"bad": 2 if s.second == 1 else 0}) for s in load.slices[:4]]
    load = load.model_copy(update={"slices": tuple(pieces)})

    def look(after: float, trouble: str = "", **sessions: int) -> WaitLook:
        return WaitLook(at=load.started_at + after, sessions=sessions, trouble=trouble)

    found = judged.waits(
        load,
        [
            *(look(-0.1, CPU=99), look(0, CPU=1), look(0.5, CPU=2, IO=4), look(1.2, IO=6)),
            *(look(2, trouble="x"), look(3, trouble="y"), look(3.5, trouble="x")),
            *(look(4.9, CPU=1, IO=1), look(5, CPU=99, trouble="z")),
        ],
    )
    assert found is not None
    assert [(one.second, one.sessions, one.bad, one.active) for one in found.seconds] == [
        (0, {"CPU": 1.5, "IO": 2}, 0, 3.5),
        (1, {"IO": 6}, 2, 6),
        (4, {"CPU": 1, "IO": 1}, 0, 2),
    ]
    assert (found.looks, found.late_seconds, found.unseen) == (4, 1, 2)
    assert found.troubles == ("x", "y")
    assert found.active == pytest.approx(11.5 / 3)
    io, cpu = found.shares
    assert (io.event, cpu.event) == ("IO", "CPU")
    assert io.overall == pytest.approx(900 / 11.5)
    assert cpu.otherwise == pytest.approx(250 / 5.5)
    assert cpu.most == pytest.approx(250 / 11.5)
    assert (io.late, cpu.late, io.most) == (100, 0, 100)
    assert found.top(1) == ("IO",)
    assert found.top(2) == ("CPU", "IO")
    late = [s.model_copy(update={"bad": 1}) for s in pieces]
    short = load.model_copy(update={"slices": tuple(late), "duration": 1.0})
    busy = judged.waits(short, [look(0, CPU=1)])
    assert busy is not None
    assert busy.unseen == 0
    idle = judged.waits(short, [look(0, CPU=0)])
    assert idle is not None
    assert (idle.shares, idle.active) == ((), 0)
    assert [(one.late, one.otherwise, one.most) for one in busy.shares] == [(100, None, 100)]


def test_pressure_is_of_the_seconds_from_the_first_to_the_last_of_the_load() -> None:
    """Each second at its number; a kernel that tells some of them gives the mean of these."""
    load = bench().model_copy(update={"duration": 3.0})
    pieces = [s.model_copy(update={"bad": int(s.second == 0)}) for s in load.slices[:3]]
    load = load.model_copy(update={"slices": tuple(pieces)})
    pressures = {-0.5: 99.0, 0: 10.0, 1.2: 20.0, 2.9: None, 3: 99.0}
    seen = [
        MachineSecond(at=load.started_at + at, busy=0, stolen=0, work_ms=1, cpu_pressure=cpu)
        for at, cpu in pressures.items()
    ]
    found = judged.strains(load, seen)
    assert found is not None
    assert found.cpu == judged.Strain(15, 10, 20)
    assert found.cpu_by_second == ((0, 10), (1, 20))
    assert (found.io, found.memory, found.run_queue, found.io_by_second) == (None, None, None, ())
    late = [s.model_copy(update={"bad": 1}) for s in pieces]
    only = judged.strains(load.model_copy(update={"slices": tuple(late)}), seen)
    assert only is not None
    assert only.cpu == judged.Strain(15, 15, None)


def test_looks_before_and_after_the_load_are_none_at_it() -> None:
    """Those of the warm-up are left out, and without others there is nothing to say."""
    one = bench()
    early = [look for look in waits() if look.at < one.started_at]
    late = [look.model_copy(update={"at": look.at + one.duration + 10}) for look in early]
    assert early
    assert judged.waits(one, [*early, *late]) is None
    assert judged.waits(one, []) is None
    failed = WaitLook(at=one.started_at + 1, sessions={}, trouble="no answer")
    assert judged.waits(one, [failed]) is None


def test_a_load_without_late_transactions() -> None:
    """Nothing is said of seconds that there were not; idle sessions give no shares, no error."""
    good = bench().model_copy(
        update={"slices": tuple(s.model_copy(update={"bad": 0}) for s in bench().slices)}
    )
    found = judged.waits(good, waits())
    assert found is not None
    assert {share.late for share in found.shares} == {None}
    idle = judged.waits(good, [WaitLook(at=good.started_at + 1, sessions={})])
    assert idle is not None
    assert (idle.shares, idle.active, idle.unseen) == ((), 0, 299)
    assert sentences(idle, None) == ["No session was busy at any look."]
    pressed = judged.strains(good, machine())
    assert pressed is not None
    assert pressed.cpu is not None
    assert pressed.cpu.during == pressed.cpu.otherwise == pytest.approx(40 + 50 / 300)
    assert pressed.cpu.late is None


def test_pressure_where_transactions_came_late() -> None:
    """Each pressure has a mean of its own there; a kernel that tells none gives none."""
    found = judged.strains(bench(), machine())
    assert found is not None
    assert found.cpu is not None
    assert found.cpu.during == pytest.approx(40 + 50 / 300)
    assert (found.cpu.late, found.cpu.otherwise) == (90, 40)
    assert (found.io, found.memory) == (judged.Strain(4, 4, 4), judged.Strain(0, 0, 0))
    assert found.run_queue is not None
    assert found.run_queue.during == pytest.approx(0.8 + 2.2 / 300)
    assert found.run_queue.late == 3
    assert found.cpu_by_second[200] == (200, 90)
    told = {"cpu_pressure", "io_pressure", "memory_pressure", "run_queue"}
    old = [MachineSecond(**one.model_dump(exclude=told)) for one in machine()]
    untold = judged.strains(bench(), old)
    assert untold == judged.Strains(None, None, None, None, (), ())
    assert judged.strains(bench(), []) is None


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ("CPU", "on or waiting for a CPU"),
        ("IPC:SyncRep", "waiting for a standby (SyncRep)"),
        ("IO:WalSync", "waiting for the WAL flush"),
        ("Lock:relation", "waiting for a lock (relation)"),
        ("Extension:Extension", "waiting (Extension)"),
        ("Unheard", "waiting (Unheard)"),
    ],
)
def test_every_event_has_words(event: str, words: str) -> None:
    """Those of a load have their own, also as PostgreSQL 17 spells them; others by their kind."""
    assert meaning(event) == words


def test_a_sentence_says_why() -> None:
    """What means the same is one part; the parts are in order, and small ones are left out."""
    looks = [
        WaitLook(
            at=bench().started_at + 0.5,
            sessions={
                "IPC:SyncRep": 150,
                "CPU": 650,
                "IO:WALSync": 70,
                "LWLock:WALWrite": 50,
                "Lock:tuple": 75,
                "BufferPin:BufferPin": 5,
            },
        )
    ]
    said = sentences(judged.waits(bench(), looks), judged.strains(bench(), machine()))
    assert said == [
        "Of the time that sessions were busy, 65 % was spent on or waiting for a CPU, 15 % waiting"
        " for a standby (SyncRep), 12 % waiting for the WAL flush.",
        "CPU pressure 40 %, I/O pressure 4 %.",
    ]
    few = looks[0].model_copy(update={"sessions": {"CPU": 995, "Lock:tuple": 5}})
    assert sentences(judged.waits(bench(), [few]), None) == [
        "Of the time that sessions were busy, 100 % was spent on or waiting for a CPU."
    ]
    assert sentences(None, None) == []
