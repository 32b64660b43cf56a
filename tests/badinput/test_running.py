"""Something goes wrong with an installation that is up: refused in one line, or repaired."""

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest

from pgdrill.platforms.base import wait_healthy
from pgdrill.platforms.local.layout import MEMBERS
from pgdrill.platforms.local.processes import MemberProcesses
from pgdrill.settings import ROOT
from pgdrill.waiting import eventually
from tests.badinput.commands import ENVIRONMENT, USAGE, Installation, run, start
from tests.badinput.conftest import UP, Running, listening
from tests.badinput.orphans import processes

HEALS = 90.0  # seconds to be redundant again; a frozen primary has to be rewound
INTERRUPTED = 2  # pytest's own exit code
BROKEN = 1  # of a command that found what should not be
COUNT = "--rows=2000"


def _stopped(installation: Installation) -> list[str]:
    return [p for p in processes(installation.state) if p.endswith(" stopped")]


def test_up_twice_is_once(running: Running) -> None:
    """A second `up` leaves every PostgreSQL process what it was."""
    before = {m.name: m.incarnation for m in running.platform.engine.members()}
    assert all(before.values()), before
    running.installation.pgdrill("up", within=UP).succeeds()
    assert {m.name: m.incarnation for m in running.platform.engine.members()} == before


@pytest.mark.parametrize("command", ["up", "down", "seed"])
def test_another_run_is_active(running: Running, command: str) -> None:
    """While a run holds the installation, commands are refused with the holder's pid."""
    with running.platform.lock():
        running.installation.pgdrill(command).refuses(
            ENVIRONMENT, "another run", f"(pid {os.getpid()})", "wait until it ends"
        )
    assert not running.installation.state.with_name("local.lock").exists()


def test_another_run_is_active_and_a_suite(running: Running) -> None:
    """A suite is refused as well, and its run directory does not stay."""
    with running.platform.lock():
        refused = running.installation.pytest("-m", "smoke")
    refused.refuses(ENVIRONMENT, "another run", f"(pid {os.getpid()})")
    assert not running.installation.runs(), refused.output


@pytest.mark.parametrize(
    ("at", "code", "words"),
    [
        ("", USAGE, ("give a target", "latest")),
        ("tomorrow, perhaps", USAGE, ("is no point in time", "restore point")),
        ("2026-01-01T00:00:00", USAGE, ("names no time zone", "add Z")),
        ("2026-01-01T00:00:00Z", USAGE, ("before the end of the oldest backup", "from")),
        ("2126-01-01T00:00:00Z", USAGE, ("in the future", "from")),
        ("FFFF/0", USAGE, ("not written yet",)),
        (
            "never_made",
            ENVIRONMENT,
            ("the restore failed", "recovery ended before", "no restore point never_made"),
        ),
    ],
)
def test_restore_to_what_cannot_be_had(
    running: Running, at: str, code: int, words: tuple[str, ...]
) -> None:
    """An invalid point, or one out of reach, is refused in one line, and leaves nothing."""
    platform = running.platform
    before = {m.name: m.incarnation for m in platform.engine.members()}
    programs = set(platform.supervisor.states())
    running.installation.pgdrill("restore", *filter(None, [at]), within=120).refuses(code, *words)
    assert platform.archive.restored() is None
    assert set(platform.supervisor.states()) == programs
    assert {m.name: m.incarnation for m in platform.engine.members()} == before


def test_restore_by_hand(running: Running) -> None:
    """Backup, restore and discard work as in the README, and the first cluster runs on."""
    installation, platform = running.installation, running.platform
    before = {m.name: m.incarnation for m in platform.engine.members()}
    with platform.cluster().connect() as session:
        session.execute("CREATE TABLE IF NOT EXISTS by_hand (n int)")
        session.execute("TRUNCATE by_hand")
        session.execute("INSERT INTO by_hand VALUES (1)")
    assert "can be restored" in installation.pgdrill("backup", within=120).succeeds().output
    with platform.cluster().connect() as session:
        session.execute("INSERT INTO by_hand VALUES (2)")
        at = session.execute("SELECT to_json(clock_timestamp())#>>'{}'").fetchone()
        session.execute("DROP TABLE by_hand")
    assert at is not None
    said = installation.pgdrill("restore", str(at[0]), within=180).succeeds().output
    assert "psql" in said
    restored = platform.archive.restored()
    assert restored is not None
    wait_healthy(restored.engine, within=HEALS)
    with restored.cluster.connect() as session:
        rows = session.execute("SELECT n FROM by_hand ORDER BY n").fetchall()
    assert rows == [(1,), (2,)]
    installation.pgdrill("restore", "latest").refuses(ENVIRONMENT, "already", "make discard")
    installation.pgdrill("discard", within=60).succeeds()
    assert platform.archive.restored() is None
    assert not processes(installation.state / "members/restored")
    assert {m.name: m.incarnation for m in platform.engine.members()} == before


def test_interrupted_restore(running: Running) -> None:
    """Ctrl-C leaves nothing of a restore; a killed one is removed before the next."""
    installation, platform = running.installation, running.platform
    command = [sys.executable, "-m", "pgdrill", "restore", "latest"]
    for number in (signal.SIGINT, signal.SIGKILL):
        process = start(command, env=installation.environment())
        try:
            eventually(
                "a member of the restored cluster",
                lambda: [p for p in platform.supervisor.states() if "patroni-restored" in p],
                within=60,
                every=0.05,
            )
            process.send_signal(number)
            said, _ = process.communicate(timeout=60)
        finally:
            if process.poll() is None:
                process.kill()
        if number == signal.SIGINT:
            assert process.returncode == 130, said
            assert not [p for p in platform.supervisor.states() if "restored" in p]
            assert not processes(installation.state / "members/restored")
    installation.pgdrill("restore", "latest", within=180).succeeds()
    installation.pgdrill("discard", within=60).succeeds()
    assert not processes(installation.state / "members/restored")


def test_more_rows_than_the_volumes_hold(running: Running) -> None:
    """`seed` refuses before the first row, says what fits, and leaves what is there."""
    installation, platform = running.installation, running.platform
    if not platform.layout.mounts:
        pytest.skip("members have no volume of their own here")
    installation.pgdrill("seed", COUNT, within=90).succeeds()
    installation.pgdrill("seed", "--rows=1000000000", within=90).refuses(
        ENVIRONMENT, "1000000000 rows need", "GB are free for them on pg", "ask for --rows="
    )
    assert "nothing to do" in installation.pgdrill("seed", COUNT, within=90).succeeds().output


def test_damaged_rows_are_mended_when_asked_to(running: Running) -> None:
    """`seed` names the table that changed, and changes nothing; with --reseed it loads anew."""
    installation, platform = running.installation, running.platform
    installation.pgdrill("seed", COUNT, within=90).succeeds()
    with platform.cluster().connect() as session:
        session.execute("DELETE FROM shop.reviews WHERE id = 1")
    for _ in range(2):
        installation.pgdrill("seed", COUNT, within=90).refuses(
            BROKEN, "shop.reviews on", "make seed RESEED=1"
        )
    mended = installation.pgdrill("seed", COUNT, "--reseed", within=90).succeeds().output
    assert "loaded in" in mended
    again = installation.pgdrill("seed", COUNT, "--reseed", within=90).succeeds().output
    assert "nothing to do" in again, "an undamaged dataset is kept"


def test_database_down(running: Running) -> None:
    """`seed` refuses when no member answers; the next `up` brings back stopped and frozen ones."""
    platform, installation = running.platform, running.installation
    _freeze(platform.processes("pg1"))
    for member in ("pg2", "pg3"):
        platform.supervisor.stop(f"patroni-{member}")
        platform.processes(member).kill()
    assert _stopped(installation), "nothing is frozen: this proves nothing"
    said = installation.pgdrill("status").succeeds().output
    assert said.count("not running") >= 3, said
    assert "0 primaries" in said
    installation.pgdrill("seed", COUNT, within=90).refuses(
        ENVIRONMENT, "no connection", str(platform.layout.endpoint("rw")), "bring the cluster up"
    )

    installation.pgdrill("up", within=UP).succeeds()
    assert not _stopped(installation)
    wait_healthy(platform.engine, within=HEALS)


def _freeze(member: MemberProcesses) -> None:
    assert member.freeze()


def test_no_load_balancer(running: Running) -> None:
    """The perf suite refuses when its address does not answer, and leaves no run directory."""
    platform, installation = running.platform, running.installation
    at = platform.layout.endpoint("rw")
    platform.supervisor.stop("haproxy")
    try:
        with listening(at.host, at.port):
            refused = installation.pytest("-m", "perf", COUNT, "--duration=5", within=150)
    finally:
        platform.supervisor.start("haproxy")
    refused.refuses(ENVIRONMENT, "no connection", str(at), "bring the cluster up")
    assert not installation.runs(), refused.output


def test_ctrl_c_in_a_fault(running: Running) -> None:
    """Ctrl-C while the primary is frozen thaws it, and the page holds what there is."""
    platform, installation = running.platform, running.installation
    wait_healthy(platform.engine, within=HEALS)
    run = installation.reports / "interrupted"
    words = ("-m", "chaos", "-k", "primary_freeze", "--profile=laptop", "--run-id=interrupted")
    process = start(installation.suite(*words), env=installation.environment())
    try:
        eventually(
            "a frozen postmaster",
            lambda: _frozen_postmasters(running) or process.poll() is not None,
            within=120,
            every=0.05,
        )
        assert process.poll() is None, process.communicate()[0]
        os.killpg(process.pid, signal.SIGINT)
        said, _ = process.communicate(timeout=120)
    finally:
        if process.poll() is None:
            process.kill()
    assert process.returncode == INTERRUPTED, said
    assert not _stopped(installation), said
    page = (run / "report.html").read_text()
    assert "Cut off after 0 of 1 test" in page, said
    assert "promises were kept" not in page, said
    assert (run / "report.html").stat().st_mtime > time.time() - 120, said
    journal = json.loads((run / "journals" / "primary_freeze-1.json").read_text())
    assert journal["status"] in ("interrupted", "aborted"), journal["status"]
    wait_healthy(platform.engine, within=HEALS)
    assert not installation.state.with_name("local.lock").exists()


def _frozen_postmasters(running: Running) -> list[str]:
    masters = [running.platform.processes(member).postmaster() for member in MEMBERS]
    return [str(p.pid) for p in masters if p is not None and p.status() == "stopped"]


MINE = """def test_mine(drill):
    \"\"\"My database survives a standby that is killed.\"\"\"
    trials = drill("standby_kill")
    assert len(trials) == 1
"""


def test_a_test_of_somebody_elses_drills(running: Running, tmp_path: Path) -> None:
    """Five lines in an empty folder, with the plugin alone, drill what runs and leave a report."""
    (tmp_path / "test_mine.py").write_text(MINE)
    environment = running.installation.environment() | {"PYTHONPATH": str(ROOT)}
    asked = ["--platform=local", "--profile=quick", "--reports-dir=reports"]
    command = [sys.executable, "-m", "pytest", "-p", "pgdrill.plugin", "test_mine.py", *asked]
    run(command, within=HEALS + 60, env=environment, cwd=tmp_path).succeeds()
    (report,) = (tmp_path / "reports").glob("*/report.html")
    assert "standby_kill" in report.read_text()
    assert "My database survives a standby that is killed." in report.read_text()


def test_the_example_drills_what_runs(running: Running, tmp_path: Path) -> None:
    """The tests of examples/your-cluster, by the script of a CI job, leave a page and a table."""
    example = ROOT / "examples" / "your-cluster"
    shutil.copy(example / "test_my_database.py", tmp_path)
    summary = tmp_path / "summary.md"
    environment = running.installation.environment() | {
        "PYTHON": sys.executable,
        "PYTHONPATH": str(ROOT),
        "PGDRILL_PLATFORM": "local",
        "PGDRILL_PROFILE": "quick",
        "PGDRILL_REPORTS_DIR": "reports",
        "GITHUB_STEP_SUMMARY": str(summary),
    }
    job = [str(ROOT / "infra" / "ci" / "drill.sh"), "test_my_database.py"]
    run(job, within=2 * HEALS + 60, env=environment, cwd=tmp_path).succeeds()
    assert summary.read_text() == (tmp_path / "verdicts.md").read_text()
    assert "primary_kill" in summary.read_text()
    assert "standby_kill" in summary.read_text()
    (report,) = (tmp_path / "reports").glob("*/report.html")
    assert "A killed standby holds nobody up." in report.read_text()
    # Whatever fails first is the exit code of the job.
    (tmp_path / "test_my_database.py").write_text("def test_mine(drill): drill('no_such_fault')\n")
    assert run(job, within=HEALS, env=environment, cwd=tmp_path).code == BROKEN
