"""The machine cannot carry it: exit code 2, one line, and nothing is left."""

import os
import subprocess
from pathlib import Path

import pytest

from pgdrill.platforms.local import layout as layouts
from tests.badinput.commands import ENVIRONMENT, Installation
from tests.badinput.conftest import listening
from tests.badinput.orphans import leftovers

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")


def test_port_taken(fresh: Installation) -> None:
    """A listener on one of our addresses is named with its process, and both ways out."""
    offset = layouts.plan(-1).offset
    host, port = layouts.ADDRESSES["monitor"], layouts.OTHER_PORTS["prometheus"][1] + offset
    with listening(host, port):
        fresh.pgdrill("up", f"--port-offset={offset}").refuses(
            ENVIRONMENT, f"{host}:{port} is taken", f"(pid {os.getpid()})", "end that process",
            "--port-offset",
        )  # fmt: skip
    assert leftovers(fresh.state) == []


@needs_root
def test_disk_too_small(fresh: Installation) -> None:
    """A disk that cannot hold the volumes is named with what is free and what is needed."""
    disk = fresh.state.parent / "disk"
    disk.mkdir()
    small = Installation(disk / "local", fresh.reports, {})
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(disk)]
    subprocess.run(mount, check=True, timeout=10)
    try:
        small.pgdrill("up").refuses(
            ENVIRONMENT, f" MB free under {disk}", str(layouts.NEEDED_DISK_MB),
            "PGDRILL_STATE_DIR",
        )  # fmt: skip
        assert list(disk.iterdir()) == []
        suite = small.pytest("-m", "smoke")
        suite.refuses(ENVIRONMENT, f" MB free under {disk}")
        assert list(disk.iterdir()) == []
        assert not small.runs(), suite.output
    finally:
        subprocess.run(["umount", str(disk)], check=True, timeout=10)


def test_no_directory_to_work_in(fresh: Installation) -> None:
    """A state directory that cannot be made is named, and the variable that moves it."""
    nowhere = Installation(Path("/proc/pgdrill/local"), fresh.reports, {})
    nowhere.pgdrill("up").refuses(ENVIRONMENT, "/proc/pgdrill/local", "PGDRILL_STATE_DIR")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("my drill", ("' '", "cannot take")),
        ("it's", ('"\'"', "cannot take")),
        ("100%", ("'%'", "cannot take")),
        ("d" * 90, ("too long for a UNIX socket",)),
    ],
)
def test_a_directory_that_processes_cannot_live_in(
    fresh: Installation, name: str, words: tuple[str, ...]
) -> None:
    """A state directory that command lines or sockets cannot hold is refused before it is made."""
    place = fresh.state.parent / name / "local"
    strange = Installation(place, fresh.reports, {})
    strange.pgdrill("up").refuses(ENVIRONMENT, *words, "PGDRILL_STATE_DIR")
    assert not place.parent.exists()


def test_foreign_files_are_left_alone(fresh: Installation) -> None:
    """Neither `up` nor `down` touches a directory with files that are not pgdrill's."""
    treasure = fresh.state / "treasure"
    fresh.state.mkdir()
    treasure.write_text("mine")
    try:
        for command in ("up", "down"):
            fresh.pgdrill(command).refuses(ENVIRONMENT, str(fresh.state), "not pgdrill's", "empty")
            assert list(fresh.state.iterdir()) == [treasure], command
            assert treasure.read_text() == "mine"
    finally:
        treasure.unlink()


@pytest.mark.parametrize("command", ["seed", "status", "drift"])
def test_nothing_is_up(fresh: Installation, command: str) -> None:
    """A command that needs a cluster reports that there is none, and leaves no trace."""
    fresh.pgdrill(command).refuses(ENVIRONMENT, "nothing is running", "make up")
    assert leftovers(fresh.state) == []


def test_down_without_up(fresh: Installation) -> None:
    """Taking down what was never up is fine, once and twice."""
    for _ in range(2):
        fresh.pgdrill("down").succeeds()
        assert leftovers(fresh.state) == []
