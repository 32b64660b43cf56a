"""An `up` that is killed at the worst moment: `down` removes all of it, `up` finishes it."""

import os
import signal
import sys

from pgdrill.platforms.base import health
from pgdrill.platforms.local.layout import Layout
from pgdrill.platforms.local.processes import state
from pgdrill.waiting import eventually, throughout
from tests.badinput.commands import Installation, start
from tests.badinput.conftest import DOWN, UP, Running, kill_in_playbook
from tests.badinput.orphans import leftovers, processes


def _taken_down(installation: Installation) -> None:
    layout = Layout.load(installation.state)
    assert layout is not None, "killed before anything was decided: nothing to take down"
    assert processes(installation.state), "nothing outlived the kill: this proves nothing"
    installation.pgdrill("down", within=DOWN).succeeds()
    # An orphan of the playbook would make new things only later.
    throughout(
        "nothing is left",
        lambda: leftovers(installation.state, layout.offset),
        lambda found: not found,
        lasting=2,
    )


def test_killed_in_the_playbook(fresh: Installation) -> None:
    """After SIGKILL in the playbook, `down` leaves no process, mount, loop device or file."""
    kill_in_playbook(fresh, "Virtual environment")
    _taken_down(fresh)


def test_killed_while_members_start(fresh: Installation) -> None:
    """After SIGKILL while PostgreSQL starts, `down` leaves nothing, listeners included."""
    process = start([sys.executable, "-m", "pgdrill", "up"], env=fresh.environment())
    try:
        eventually(
            "a postmaster",
            lambda: [p for p in processes(fresh.state) if " postgres " in p] or process.poll(),
            within=UP,
            every=0.2,
        )
    finally:
        process.kill()
        said, _ = process.communicate(timeout=10)
    assert process.returncode == -signal.SIGKILL, said
    _taken_down(fresh)


def test_interrupted_by_ctrl_c(fresh: Installation) -> None:
    """Ctrl-C ends `up` and its playbook in one line with the next step."""
    log = fresh.state / "ansible.log"
    process = start([sys.executable, "-m", "pgdrill", "up"], env=fresh.environment())
    eventually(
        "the playbook",
        lambda: (log.exists() and "TASK" in log.read_text()) or process.poll(),
        within=UP,
        every=0.05,
    )
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert "`make down` removes" in said.splitlines()[-1], said
    assert "Traceback" not in said, said
    assert processes(fresh.state) == [], said


def test_finished_by_the_next_up(running: Running) -> None:
    """`up` after a killed `up` gives one healthy cluster under one supervisor."""
    healthy = health(running.platform.engine)
    assert healthy, healthy
    keepers = [p for p in processes(running.installation.state) if " supervisord " in p]
    assert len(keepers) == 1, keepers
    assert state(running.platform.processes("pg1").all()[0]) != "stopped"


def test_the_next_offset_is_taken(running: Running) -> None:
    """With a port of the first free offset taken, `up` moves on to a later one."""
    assert running.platform.layout.offset > running.avoided
