"""Which pgbench is taken, and what is said of those that are not."""

import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.settings import ROOT
from pgdrill.waiting import eventually
from pgdrill.workload import pgbench_program
from pgdrill.workload.pgbench_program import NoPgbenchError, described, on_host

SLEEP = f"61.{os.getpid()}"  # seconds; tells this session's sleeper from any other's


def _telling(version: str) -> str:
    return f"echo 'pgbench (PostgreSQL) {version}'"


@dataclass(frozen=True)
class Machine:
    """A PATH of two directories, and a place where Debian would keep its programs."""

    root: Path

    @property
    def path(self) -> str:
        """Value of PATH."""
        return f"{self.root}/first:{self.root}/second"

    def add(self, where: str, script: str, name: str = "pgbench") -> Path:
        """Put a program into a directory."""
        file = self.root / where / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{script}\n")
        file.chmod(0o755)
        return file


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine on which there is no pgbench but those that a test adds."""
    machine = Machine(tmp_path)
    monkeypatch.setenv("PATH", machine.path)
    monkeypatch.setattr(pgbench_program, "DEBIAN_KEEPS", tmp_path / "debian")
    monkeypatch.setattr(pgbench_program, "VERSION_WITHIN", 0.5)
    return machine


@pytest.mark.parametrize(
    ("told", "version"),
    [
        ("15.18 (Debian 15.18-1.pgdg120+1)", "15.18"),
        ("15beta2", "15beta2"),
        ("19devel", "19devel"),
    ],
)
def test_a_new_enough_one_on_path_is_taken(machine: Machine, told: str, version: str) -> None:
    """Its path and version are what the records will say, with no excuse."""
    path = machine.add("second", _telling(told))
    found = on_host()
    assert (found.path, found.version) == (str(path), version)
    assert described(found) == f"pgbench {version} at {path}"


def test_a_later_one_is_taken_and_the_older_named(machine: Machine) -> None:
    """One that comes first on PATH and is too old is passed over, and not in silence."""
    old = machine.add("first", _telling("14.9"))
    new = machine.add("second", _telling("16.1"))
    assert described(on_host()) == f"pgbench 16.1 at {new}, because {old} is 14.9"


def test_debian_s_newest_is_taken_behind_its_wrapper(machine: Machine) -> None:
    """The wrapper is never asked; of what Debian keeps, the greatest number counts."""
    asked = machine.root / "asked"
    wrapper = machine.add("share", f"touch {asked}; {_telling('15.1')}", "pg_wrapper")
    (machine.root / "first").mkdir()
    (machine.root / "first/pgbench").symlink_to(wrapper)
    for major in ("9", "15", "17", "nightly"):
        machine.add(f"debian/{major}/bin", _telling(f"{major}.2"))
    found = on_host()
    assert found.path == str(machine.root / "debian/17/bin/pgbench")
    assert not found.passed_over
    assert not asked.exists()


@pytest.mark.parametrize(
    ("script", "said"),
    [
        pytest.param(_telling("13.4"), "is 13.4", id="old"),
        pytest.param(_telling("9.6.24"), "is 9.6.24", id="of another numbering"),
        pytest.param("echo 'cheese 99.1'", "(it printed 'cheese 99.1')", id="nonsense"),
        pytest.param("head -c 900 /dev/urandom", "prints no version", id="binary"),
        pytest.param("exit 0", "(exit status 0)", id="silent"),
        pytest.param(
            "echo 'libpq.so.5: not found' >&2; exit 127", "(it printed 'libpq.so.5", id="no library"
        ),
        pytest.param(f"{_telling('15.1')}; exit 1", "prints no version", id="fails"),
        pytest.param(f"sleep {SLEEP}", "within 0.5 s", id="hangs"),
        pytest.param(f"sleep {SLEEP} & wait", "within 0.5 s", id="hangs with a child"),
        pytest.param(f"{_telling('15.1')}; sleep {SLEEP}", "within 0.5 s", id="does not end"),
        pytest.param("yes pgbench", "(it printed 'pgbench')", id="endless"),
    ],
)
def test_one_that_will_not_do_is_named(machine: Machine, script: str, said: str) -> None:
    """In one line, soon, with path, reason, what is needed and what to install."""
    path = machine.add("first", script)
    began = time.monotonic()
    with pytest.raises(NoPgbenchError) as refused:
        on_host()
    assert time.monotonic() - began < 3
    assert refused.value.exit_code == BrokenEnvironmentError.exit_code == 2
    line = str(refused.value)
    assert f"{path} " in line
    assert said in line
    assert re.search(r"needs pgbench 15 or newer.*package postgresql-15", line)
    assert line.isprintable()
    left = [p.info["cmdline"] for p in psutil.process_iter(["cmdline"])]
    assert ["sleep", SLEEP] not in left


def test_a_file_that_is_no_program_is_named(machine: Machine) -> None:
    """The kernel refuses it, and its reason is passed on."""
    machine.add("first", "").write_bytes(b"\x7fELF nothing")
    with pytest.raises(NoPgbenchError, match="first/pgbench cannot be started"):
        on_host()


def test_none_at_all(machine: Machine) -> None:
    """That there is none is said as such; a directory of that name is none."""
    (machine.root / "first/pgbench").mkdir(parents=True)
    with pytest.raises(NoPgbenchError, match="and this machine has none on PATH: install it"):
        on_host()


def test_every_one_that_was_passed_over_is_named(machine: Machine) -> None:
    """An old one on PATH and an old one that Debian keeps: both, each once."""
    old = machine.add("first", _telling("12.1"))
    (machine.root / "second").mkdir()
    (machine.root / "second/pgbench").symlink_to(old)
    kept = machine.add("debian/14/bin", _telling("14.2"))
    with pytest.raises(NoPgbenchError) as refused:
        on_host()
    assert refused.value.found == f"{old} is 12.1 and {kept} is 14.2"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_a_load_ends_with_its_parent() -> None:
    """A run that is killed leaves no load behind: its pgbench is killed with it."""
    parent = (
        "import subprocess, sys, time\n"
        "from pgdrill.workload.pgbench_program import with_its_parent\n"
        "load = subprocess.Popen([*with_its_parent(), 'sleep', '60'], process_group=0)\n"
        "print(load.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", parent], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        load = psutil.Process(int(process.stdout.readline()))
        eventually("the load", load.name, lambda name: name == "sleep", within=5)
        process.kill()
    eventually("the load to end", load.is_running, lambda runs: not runs, within=5)
