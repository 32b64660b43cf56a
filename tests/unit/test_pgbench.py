"""pgbench against a real server: healthy, stalled, killed, absent."""

import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from rich.console import Console

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.judge import bench as judged
from pgdrill.records import Bench
from pgdrill.settings import MIN_ROWS
from pgdrill.waiting import eventually
from pgdrill.workload import dataset, pgbench, pgbench_process
from pgdrill.workload.pgbench import Script
from pgdrill.workload.pgbench_program import HostProgram, on_host
from tests.unit.conftest import ScratchPostgres

TPCB = (Script("tpcb", 1),)


@pytest.fixture(scope="module")
def database(program: HostProgram, scratch_postgres: ScratchPostgres) -> str:
    """A database with a small shop and pgbench's tables."""
    conninfo = scratch_postgres.database("pgbench")
    dataset.seed(conninfo, {}, rows=MIN_ROWS, seed=42)
    assert pgbench.prepare(program, conninfo, 1, lambda line: None, within=60)
    return conninfo


@pytest.fixture
def killed(scratch_postgres: ScratchPostgres) -> Iterator[ScratchPostgres]:
    """The server, for a test that leaves it dead."""
    pid = scratch_postgres.pid()
    yield scratch_postgres
    # Until init has reaped it, PostgreSQL takes the dead postmaster for a live one.
    eventually("the old server is gone", lambda: not psutil.pid_exists(pid), within=30)
    scratch_postgres.start()


def _signal(server: ScratchPostgres, number: signal.Signals) -> None:
    postmaster = psutil.Process(server.pid())
    for process in [postmaster, *postmaster.children()]:
        with suppress(psutil.NoSuchProcess):  # a session of the load has just ended
            process.send_signal(number)


def _run(conninfo: str, directory: Path, **options: Any) -> Bench:  # noqa: ANN401  # as run() takes them
    chosen: dict[str, Any] = {
        "clients": 4,
        "duration": 4,
        "rate": 200.0,
        "scale": 1,
        "seed": 42,
        "calibration_tps": 1000.0,
        "warm_up": 0,
        "mix": TPCB,
    }
    return pgbench.run(on_host(), conninfo, directory=directory, **(chosen | options))


def _printed(bench: Bench) -> str:
    console = Console(file=StringIO(), width=150)
    console.print(judged.summary(bench))
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


@dataclass(frozen=True)
class Healthy:
    """A run of the whole mix against a server that keeps up."""

    bench: Bench
    directory: Path
    seconds: tuple[float, ...]


@pytest.fixture(scope="module")
def healthy(database: str, tmp_path_factory: pytest.TempPathFactory) -> Healthy:
    """Such a run, made once."""
    directory, seconds = tmp_path_factory.mktemp("healthy"), list[float]()
    bench = _run(
        database,
        directory,
        warm_up=2,
        mix=pgbench.MIX,
        on_progress=lambda second, *_: seconds.append(second),
    )
    return Healthy(bench, directory, tuple(seconds))


def test_a_healthy_server_answers_what_was_due(healthy: Healthy) -> None:
    """The log agrees with the schedule and every claim that the load was real holds."""
    every = healthy.bench.scripts[0]
    assert every.transactions == pytest.approx(800, abs=150), "Poisson, 5 standard deviations"
    assert sum(s.transactions for s in healthy.bench.slices) == every.transactions
    for claim in (judged.p99(healthy.bench), *judged.reality(healthy.bench)):
        assert claim.observed is not None, claim
        assert claim.budget.allows(claim.observed), claim
    assert "met  p99 latency" in _printed(healthy.bench)


def test_raw_files_give_the_same_figures_again(healthy: Healthy) -> None:
    """A Bench can be recomputed from what the run left in its directory."""
    assert pgbench.evaluate(healthy.directory) == healthy.bench


def test_a_lost_log_is_no_benchmark(healthy: Healthy, tmp_path: Path) -> None:
    """Where one thread's log is missing, figures are refused."""
    copy = shutil.copytree(healthy.directory, tmp_path / "copy")
    sorted(copy.glob("pgbench_log.*"))[-1].unlink()
    with pytest.raises(BrokenEnvironmentError, match="pgbench counted"):
        pgbench.evaluate(copy)


def test_progress_tells_the_warm_up_apart(healthy: Healthy) -> None:
    """Seconds of the warm-up are negative, those of the run count up from 1."""
    measured = [second for second in healthy.seconds if second > 0]
    assert min(healthy.seconds) < 0
    assert measured[:3] == pytest.approx([1, 2, 3], abs=0.5)


def test_the_mix_leaves_the_dataset_as_it_was(database: str, healthy: Healthy) -> None:
    """Every script of the mix runs, in its share, and the seeded tables keep their checksums."""
    every, *each = healthy.bench.scripts
    shares = [10 * one.transactions / every.transactions for one in each]
    assert [one.script for one in each] == ["tpcb", "shop_browse", "shop_cart"]
    assert shares == pytest.approx([5, 4, 1], abs=1)
    assert dataset.verify(database, {}, within=30) is not None
    with psycopg.connect(database) as connection:
        written = connection.execute("SELECT count(*) FROM shop.page_views").fetchone()
    assert written is not None
    assert written[0] >= each[2].transactions > 0


def test_a_stall_of_the_server_is_seen(
    database: str, scratch_postgres: ScratchPostgres, tmp_path: Path
) -> None:
    """A server frozen for 2 of 4 seconds shows as p99 near 2 s, though it lost nothing."""
    thaw = threading.Timer(2, _signal, (scratch_postgres, signal.SIGCONT))

    def freeze(second: float, tps: float, latency: float) -> None:
        if second >= 1 and not thaw.is_alive() and not thaw.finished.is_set():
            _signal(scratch_postgres, signal.SIGSTOP)
            thaw.start()

    try:
        bench = _run(database, tmp_path, on_progress=freeze)
    finally:
        _signal(scratch_postgres, signal.SIGCONT)
    every = bench.scripts[0]
    assert bench.exit_status == 0
    assert 1500 < every.p99_ms < 3000, every
    assert every.late > 200, "what was due in the stall was not counted as late"
    p99, bad = judged.objectives(bench)
    assert p99.observed is not None
    assert not p99.budget.allows(p99.observed)
    assert bad.observed is not None
    assert not bad.budget.allows(bad.observed)


def test_a_killed_server_fails_the_bench(
    database: str, killed: ScratchPostgres, tmp_path: Path
) -> None:
    """A server that dies half-way is no evidence for p99, and half its load counts as bad."""

    def kill(second: float, tps: float, latency: float) -> None:
        if second == 2:
            _signal(killed, signal.SIGKILL)

    bench = _run(database, tmp_path, on_progress=kill)
    every = bench.scripts[0]
    assert "invalid  p99 latency no evidence" in _printed(bench)
    assert (bench.exit_status, bench.aborted_clients) == (2, 4)
    assert every.mean_ms < 200, "what was answered was fast: only the rest tells the truth"
    assert every.skipped == pytest.approx(400, abs=120), "two seconds at 200/s were never sent"
    assert every.p99_ms == pytest.approx(4000, abs=200), "unanswered: as long as the run"
    p99, bad = judged.objectives(bench)
    assert p99.observed is None
    assert "exit status 2, 4 clients aborted" in p99.note
    assert bad.observed == pytest.approx(50, abs=15)


def test_a_server_that_is_down_is_one_line(
    program: HostProgram, database: str, killed: ScratchPostgres, tmp_path: Path
) -> None:
    """prepare, calibrate and run refuse in one line that names the address."""
    killed.stop("immediate")
    attempts = (
        lambda: pgbench.prepare(program, database, 1, lambda line: None),
        lambda: pgbench.calibrate(program, database, 1, 1, scale=1, seed=1),
        lambda: _run(database, tmp_path),
    )
    for attempt in attempts:
        with pytest.raises(
            BrokenEnvironmentError, match=rf"127.0.0.1:{killed.port} does not answer"
        ) as refused:
            attempt()
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param("ALTER TABLE bench.pgbench_accounts DROP CONSTRAINT pgbench_accounts_pkey"),
        pytest.param("DELETE FROM bench.pgbench_accounts WHERE aid > 90000"),
        pytest.param("DROP TABLE bench.pgbench_tellers"),
    ],
    ids=["no-key", "rows-missing", "table-missing"],
)
def test_tables_are_made_once_and_redone_when_incomplete(
    program: HostProgram, database: str, spoil: str
) -> None:
    """prepare finds its complete tables again, and starts over where something is missing."""
    assert not pgbench.prepare(program, database, 1, lambda line: None)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(spoil)
    assert pgbench.prepare(program, database, 1, lambda line: None)
    with psycopg.connect(database) as connection:
        found = connection.execute(
            "SELECT (SELECT count(*) FROM bench.pgbench_accounts),"
            " (SELECT count(*) FROM pg_tables WHERE schemaname = 'public')"
        ).fetchone()
    assert found == (100_000, 0)


def test_a_run_that_answers_nothing_is_refused(database: str, tmp_path: Path) -> None:
    """More clients than the server takes: one line and no figures."""
    with pytest.raises(BrokenEnvironmentError, match="completed no transaction") as refused:
        _run(database, tmp_path, clients=120)
    assert "\n" not in str(refused.value)


def test_an_unprepared_database_is_one_line(
    program: HostProgram, scratch_postgres: ScratchPostgres, tmp_path: Path
) -> None:
    """A database without a shop, or without pgbench's tables, says what to do first."""
    empty = scratch_postgres.database("empty")
    with pytest.raises(BrokenEnvironmentError, match=r"shop\.products has no rows"):
        pgbench.calibrate(program, empty, 1, 1, scale=1, seed=1)
    with pytest.raises(BrokenEnvironmentError, match=r"pgbench's tables are missing"):
        _run(empty, tmp_path)


def test_tpcb_is_pgbench_s_own(program: HostProgram) -> None:
    """Our TPC-B differs from the built-in tpcb-like script by the schema name only."""
    shown = subprocess.run(
        [program.path, "--show-script=tpcb-like"], capture_output=True, text=True
    )
    ours = (pgbench_process.SCRIPTS / "tpcb.sql").read_text().splitlines()
    theirs = (shown.stdout + shown.stderr).splitlines()
    assert [line.replace("bench.pgbench_", "pgbench_") for line in ours[1:]] == [
        line for line in theirs if line and not line.startswith("--")
    ]


def test_calibration_is_a_rate_and_hides_the_password(program: HostProgram, database: str) -> None:
    """A closed loop gives transactions per second; no argument of the process holds a secret."""
    seen: list[str] = []

    def look(*_: float) -> None:
        for child in psutil.Process().children():
            with suppress(psutil.ZombieProcess):  # it printed its last line and exited
                seen.append(" ".join(child.cmdline()))

    secret = make_conninfo(database, password="hunter2")
    tps = pgbench.calibrate(program, secret, 2, 2, scale=1, seed=1, mix=TPCB, on_progress=look)
    assert tps > 10
    assert seen
    assert not any("hunter2" in line for line in seen)


def test_a_frozen_server_cannot_hang_the_run(
    program: HostProgram, database: str, scratch_postgres: ScratchPostgres, tmp_path: Path
) -> None:
    """pgbench is ended at its deadline, and at once when the caller is interrupted."""
    arguments = ["--time=600", "--progress=1", "--no-vacuum", "--define=scale=1"]
    arguments.append(TPCB[0].argument)

    def freeze(line: str) -> None:
        _signal(scratch_postgres, signal.SIGSTOP)

    try:
        done = pgbench_process.run(
            program, arguments, database, directory=tmp_path, within=2, on_line=freeze
        )
    finally:
        _signal(scratch_postgres, signal.SIGCONT)
    assert done.status == -signal.SIGTERM

    def interrupt(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pgbench_process.run(
            program, arguments, database, directory=tmp_path, within=9, on_line=interrupt
        )
    assert not [p for p in psutil.Process(os.getpid()).children() if p.name() == "pgbench"]
