"""Behaviour on machines other than a Linux one with its own Docker, imitated on this one."""

import os
import resource
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from shlex import quote

import psutil
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from pgdrill.attempt_log import Lane, Outcome
from pgdrill.errors import BrokenEnvironmentError
from pgdrill.observe.alerts import listening_address
from pgdrill.platforms import session
from pgdrill.platforms.kind import host, lifecycle
from pgdrill.settings import ROOT
from pgdrill.waiting import DeadlineError
from pgdrill.workload import prober_cost
from pgdrill.workload.dataset.load import must_fit
from pgdrill.workload.ledger import create_table
from pgdrill.workload.prober import Prober
from tests import desktop
from tests.badinput.stubs import Tools
from tests.unit.conftest import ScratchPostgres


@contextmanager
def _mute() -> Iterator[tuple[str, int]]:
    """Accept connections and answer nothing, as docker's proxy does without a service."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()


@pytest.fixture
def shop(scratch_postgres: ScratchPostgres) -> tuple[str, int]:
    """The address of a server that `up` would find to be the database."""
    scratch_postgres.database("shop")
    with psycopg.connect(scratch_postgres.conninfo, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS pgdrill")
        connection.execute("CREATE ROLE pgdrill LOGIN")
    return "127.0.0.1", scratch_postgres.port


def test_the_load_balancer_comes_first(shop: tuple[str, int], tmp_path: Path) -> None:
    """Where both routes lead to the database, no node port is used, routable or not."""
    routes = {"load balancer": shop, "node ports": shop}
    assert lifecycle.choose_route(routes, tmp_path / "none", _never_asked) == "load balancer"


def test_node_ports_are_used_where_nothing_else_answers(
    shop: tuple[str, int], tmp_path: Path
) -> None:
    """Without a route to the docker network the node ports are taken at once."""
    began = time.monotonic()
    with _mute() as nobody:
        routes = {"load balancer": nobody, "node ports": shop}
        assert lifecycle.choose_route(routes, tmp_path / "none", lambda: False) == "node ports"
    assert time.monotonic() - began < lifecycle.ROUTABLE_WITHIN / 2


def test_a_late_load_balancer_is_waited_for(shop: tuple[str, int], tmp_path: Path) -> None:
    """With a route, an address that is announced a moment later is still the one."""
    with socket.create_server(("127.0.0.1", 0)) as late:
        address = late.getsockname()
    with ExitStack() as announced:

        def routable() -> bool:  # called after the first look, which found no server
            announced.enter_context(_relay(address[1], to=shop[1]))
            return True

        routes = {"load balancer": address, "node ports": shop}
        assert lifecycle.choose_route(routes, tmp_path / "none", routable) == "load balancer"


def test_no_route_at_all_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that answers nowhere ends in an error, not in a route."""
    monkeypatch.setattr(lifecycle, "ANSWERS_WITHIN", 1.0)
    with _mute() as nobody, pytest.raises(DeadlineError, match="the database to answer"):
        lifecycle.choose_route({"load balancer": nobody}, tmp_path / "none", _never_asked)


def _never_asked() -> bool:
    raise AssertionError("nobody need know")


def test_pages_are_received_at_our_own_address_or_at_loopback() -> None:
    """An address of this machine is listened on; of any other, a proxy leads to loopback."""
    assert listening_address("127.0.10.30") == "127.0.10.30"
    assert listening_address("192.0.2.254") == "127.0.0.1"


NODE = """\
case "$*" in
  "network inspect kind") echo '[{{"IPAM": {{"Config": [{{"Subnet": "{subnet}"}}]}}}}]' ;;
  "exec node getent "*) test -n "{proxy}" && echo "{proxy} STREAM host.docker.internal" ;;
  "exec node "*) shift 2; exec "$@" ;;
esac
"""


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Let this machine play a node, in a docker network with a subnet, with a name for its host."""

    def stand_in(subnet: str, proxy: str) -> None:
        tools = Tools(tmp_path / "bin")
        tools.add("docker", NODE.format(subnet=subnet, proxy=proxy))
        monkeypatch.setenv("PATH", tools.path, prepend=os.pathsep)

    return stand_in


def _silent(line: str) -> None:
    raise AssertionError(f"nothing was to be said: {line}")


def test_pages_go_to_the_gateway_where_it_is_this_host(node: Callable[[str, str], None]) -> None:
    """With an engine on this machine they go straight to it, whatever else would lead here."""
    node("127.0.77.0/24", "127.0.0.1")
    assert host.address("node", _silent) == "127.0.77.1"


def test_pages_go_through_the_proxy_where_the_gateway_is_none_of_ours(
    node: Callable[[str, str], None],
) -> None:
    """With an engine in a virtual machine they go to what it calls this host."""
    node("198.51.100.0/24", "127.0.0.1")
    assert host.address("node", _silent) == "127.0.0.1"


@pytest.mark.parametrize("proxy", ["", "198.51.100.7"])
def test_that_no_page_can_arrive_is_said(node: Callable[[str, str], None], proxy: str) -> None:
    """Where no message arrives, every address that was tried is named."""
    node("198.51.100.0/24", proxy)
    said: list[str] = []
    assert host.address("node", said.append) == "198.51.100.1"
    [line] = said
    assert " or ".join(filter(None, ("198.51.100.1", proxy))) in line
    assert "packet filter" in line


@contextmanager
def _relay(port: int, to: int, swallow: bytes = b"") -> Iterator[int]:
    """Lead from a port (0: any) to another; acknowledge and keep what holds the word to swallow."""
    with socket.create_server(("127.0.0.1", port)) as server:

        def serve() -> None:
            with suppress(OSError):  # the test is over
                while True:
                    client, _ = server.accept()
                    behind = socket.create_connection(("127.0.0.1", to))
                    for ends in ((behind, client, b""), (client, behind, swallow)):
                        threading.Thread(target=_copy, args=ends, daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def _copy(source: socket.socket, sink: socket.socket, swallow: bytes) -> None:
    source.settimeout(30)  # a session that waited for ever would let the test do so, too
    with suppress(OSError), source, sink:
        while data := source.recv(65536):
            if not swallow or swallow not in data:
                sink.sendall(data)


def test_a_statement_ends_although_a_proxy_acknowledges_it(
    scratch_postgres: ScratchPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session gives up on a server that is gone, even without a TCP time-out."""
    monkeypatch.setattr(session, "GRACE", 0.3)
    parts = conninfo_to_dict(scratch_postgres.conninfo)
    with _relay(0, int(str(parts["port"])), b"swallow me") as port:
        through = psycopg.conninfo.make_conninfo(scratch_postgres.conninfo, port=port)
        asking = session.connect(through, statement_timeout=0.2)
        assert asking.execute("SELECT 1").fetchone() == (1,)
        with pytest.raises(psycopg.OperationalError, match=r"no answer within 0\.5 s"):
            asking.execute("SELECT 'swallow me'")
        assert asking.closed


def test_a_statement_that_the_server_ends_keeps_its_session(
    scratch_postgres: ScratchPostgres,
) -> None:
    """The server's own limit comes first, and leaves a usable session."""
    with session.connect(scratch_postgres.conninfo, statement_timeout=0.2) as asking:
        with pytest.raises(psycopg.errors.QueryCanceled):
            asking.execute("SELECT pg_sleep(5)")
        assert asking.execute("SELECT 1").fetchone() == (1,)


def _with_limit(soft: int, hard: int, clients: int) -> subprocess.CompletedProcess[str]:
    """Raise the limit of open files in a separate process that begins with these limits."""
    asked = (
        "import resource; from pgdrill import openfiles; from pgdrill.errors import PgdrillError\n"
        f"try: openfiles.allow({clients})\n"
        "except PgdrillError as error: print(error)\n"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )
    return subprocess.run(
        [sys.executable, "-c", asked],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard)),
        capture_output=True,
        text=True,
        timeout=30,
        cwd=ROOT,
        check=True,
    )


def test_open_files_are_raised_where_they_are_too_few() -> None:
    """The default of macOS is raised to what the clients need, a sufficient limit is left."""
    assert _with_limit(256, 4096, 16).stdout == "528\n"
    assert _with_limit(1024, 4096, 16).stdout == "1024\n"


def test_too_few_open_files_are_refused() -> None:
    """A hard limit that cannot be raised is reported with what is needed."""
    told, left = _with_limit(256, 600, 500).stdout.splitlines()
    assert "500 clients need 1012 open files and no more than 600" in told
    assert left == "256"


@pytest.fixture
def mac(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the Python processes that this one starts behave as on a Mac."""
    wrapper = tmp_path / "python"
    wrapper.write_text(f'#!/bin/sh\nexec {quote(sys.executable)} -m tests.as_mac "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(wrapper))


@pytest.mark.usefixtures("mac")
def test_the_prober_probes_on_a_mac(scratch_postgres: ScratchPostgres, tmp_path: Path) -> None:
    """Without a real-time schedule every write is acknowledged, in new and old sessions."""
    at = scratch_postgres.database("mac")
    create_table(at, "t")
    lanes = [Lane("fresh", "fresh", at, 20), Lane("held", "held", at, 50)]
    with Prober(lanes, "t", tmp_path) as prober:
        prober.wait_for_acks(20, within=20)
    attempts = prober.result()
    assert attempts.of(Outcome.ACKED).size == attempts.rows.size >= 40


@pytest.mark.usefixtures("mac")
def test_the_probers_memory_is_known_on_a_mac() -> None:
    """Its peak is counted there in bytes, by getrusage: Linux, which counts in KiB, fakes it."""
    told = prober_cost.measure_memory(10_000) * 1024  # MB
    assert 20 < told < 2000


def test_memory_for_rows_is_asked_of_the_system() -> None:
    """More rows than fit into what is available are refused with how many would."""
    must_fit(1000)
    available = psutil.virtual_memory().available
    with pytest.raises(BrokenEnvironmentError, match=r"are available: ask for --rows=\d+"):
        must_fit(2 * available)


def test_the_fake_mac_hides_linux() -> None:
    """Our modules are hidden from /proc and from what Linux alone has: this would see a relapse."""
    asked = (
        "import os, sys, platform, resource; from pathlib import Path\n"
        "import pgdrill.provision.container_engine as engine, pgdrill.provision.host as host\n"
        "import pgdrill.workload.dataset.load as load\n"
        "assert sys.platform == 'darwin' and platform.machine() == 'arm64'\n"
        "assert not hasattr(os, 'sched_setscheduler') and not hasattr(resource, 'RLIMIT_RTTIME')\n"
        "assert not engine.lacks_sys_resource()\n"
        "host.raise_inotify(print)\n"
        "load.must_fit(1000)\n"
        "try: host.mount_cgroups(print)\n"
        "except FileNotFoundError as error: print(error.filename)"
    )
    done = subprocess.run(
        [sys.executable, "-m", "tests.as_mac", "-c", asked],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        check=True,
    )
    assert done.stdout == "/proc/mounts\n"


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("iptables") or not shutil.which("docker"),
    reason="needs root, iptables and a docker client",
)
def test_the_fake_desktop_has_loopback_alone_and_leaves_nothing() -> None:
    """A command there sees one interface and no route; afterwards this machine is as it was."""
    seen = subprocess.run(
        [sys.executable, "-m", "tests.desktop", "sh", "-c", "ip -o link; ip route; exit 3"],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
    )
    assert seen.returncode == 3, seen.stderr
    [interface] = seen.stdout.splitlines()
    assert ": lo: " in interface
    left = subprocess.run(["ip", "-o", "address"], capture_output=True, text=True, timeout=10)
    rules = ["iptables", "-w", "-t", "nat", "-S"]
    left_rules = subprocess.run(rules, capture_output=True, text=True, timeout=10)
    assert left.returncode == left_rules.returncode == 0
    assert desktop.PROXY not in left.stdout + left_rules.stdout
