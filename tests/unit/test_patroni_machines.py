"""A shell on the machine of each member: who runs there, stopped and resumed."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from pgdrill.errors import BadUsageError, BrokenEnvironmentError
from pgdrill.platforms.base import Endpoint
from pgdrill.platforms.member_faults import is_postmaster
from pgdrill.platforms.patroni import machines
from pgdrill.platforms.patroni.discovery import FoundMember
from pgdrill.platforms.patroni.machines import LOCAL, Machine, demand_command
from pgdrill.waiting import eventually
from tests.unit.conftest import ScratchPostgres

pytestmark = pytest.mark.unit

_LISTENS = """
import socket, sys, time
with socket.create_server(("127.0.0.1", int(sys.argv[1]))):
    print("listens", flush=True)
    time.sleep(300)
"""


def _free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return int(server.getsockname()[1])


def _machine(rest: int, postgres: int, template: str = LOCAL) -> Machine:
    at = Endpoint("127.0.0.1", postgres)
    member = FoundMember("db1", f"http://127.0.0.1:{rest}", at, {}, {}, "")
    return Machine.of(member, template)


@pytest.fixture
def agent() -> Iterator[tuple[psutil.Process, int]]:
    """A process in the place of Patroni, and the port that it listens at."""
    port = _free_port()
    command = [sys.executable, "-c", _LISTENS, str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "listens\n"
        yield psutil.Process(process.pid), port
        process.kill()


def _is_stopped(process: psutil.Process) -> bool:
    return process.status() == psutil.STATUS_STOPPED


def test_who_listens_is_found(
    agent: tuple[psutil.Process, int], scratch_postgres: ScratchPostgres
) -> None:
    """By the two addresses that Patroni shows, and nothing else: no path is asked for."""
    patroni, port = agent
    machine = _machine(port, scratch_postgres.port)
    pid, data = machine.find()
    assert (pid, Path(data)) == (patroni.pid, scratch_postgres.data)
    found = machine.processes(pid, data)
    postmaster = next(p.pid for p in found if is_postmaster(p.title))
    assert postmaster == scratch_postgres.pid()
    assert found[-1].pid == patroni.pid
    assert {p.command for p in found[:-1]} == {"postgres"}
    assert len(found) > 3


def test_who_is_not_there_is_named(scratch_postgres: ScratchPostgres) -> None:
    """The address that nothing of this machine listens at: it is another machine's."""
    port = _free_port()
    with pytest.raises(BrokenEnvironmentError, match=rf"db1: .*nothing .*127\.0\.0\.1:{port}"):
        _machine(port, scratch_postgres.port).find()


def test_what_was_stopped_is_resumed(agent: tuple[psutil.Process, int]) -> None:
    """By its heal; by a sweep, after a drill that was killed; and a second sweep finds nothing."""
    patroni, port = agent
    machine = _machine(port, 1)
    for resume in (lambda: machine.signal("CONT", [patroni.pid]), machine.resume):
        machine.signal("STOP", [patroni.pid])
        eventually("stopped", lambda: _is_stopped(patroni), within=5)
        assert resume() in (None, True)
        eventually("resumed", lambda: not _is_stopped(patroni), within=5)
    assert not machine.resume()


def test_the_machine_resumes_it_by_itself(
    agent: tuple[psutil.Process, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever becomes of the drill, and of the way to it."""
    patroni, port = agent
    monkeypatch.setattr(machines, "LET_GO_AFTER", 1.0)
    machine = _machine(port, 1)
    machine.signal("STOP", [patroni.pid])
    eventually("stopped", lambda: _is_stopped(patroni), within=5)
    eventually("resumed by itself", lambda: not _is_stopped(patroni), within=10)
    assert not machine.resume()


def test_the_command_names_each_machine() -> None:
    """Its address and the member's name take the places of what is in braces."""
    machine = _machine(8008, 5432, "env AT={host} MEMBER={name}")
    assert machine.run('echo "$AT $MEMBER $1"', "a b") == "127.0.0.1 db1 a b\n"


def test_a_shell_that_fails_is_named() -> None:
    """With its own words."""
    with pytest.raises(BrokenEnvironmentError, match=r"a shell for db1: .*no way to 127\.0\.0\.1"):
        _machine(8008, 5432, "sh -c 'echo no way to {host} >&2; exit 255'").run("true")


@pytest.mark.parametrize("template", ["ssh root@db1", "ssh 'root@{host}"])
def test_a_command_for_one_machine_only_is_refused(template: str) -> None:
    """All faults would hit the same machine."""
    with pytest.raises(BadUsageError, match="--ssh="):
        demand_command(template)
