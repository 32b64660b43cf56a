"""What differs on another machine than a Linux one with its own Docker, tried on this one."""

import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from pgdrill.observe.alerts import listening_address
from pgdrill.platforms import session
from pgdrill.platforms.kind import making
from pgdrill.settings import ROOT
from pgdrill.waiting import DeadlineError
from tests.unit.conftest import ScratchPostgres


@contextmanager
def _mute() -> Iterator[tuple[str, int]]:
    """Take connections and answer nothing, as docker's proxy does for a port that nobody serves."""
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
    assert making.choose_route(routes, tmp_path, _never_asked) == "load balancer"


def test_node_ports_are_used_where_nothing_else_answers(
    shop: tuple[str, int], tmp_path: Path
) -> None:
    """Without a route to the docker network the node ports are taken at once."""
    with _mute() as nobody:
        routes = {"load balancer": nobody, "node ports": shop}
        assert making.choose_route(routes, tmp_path, lambda: False) == "node ports"


def test_a_late_load_balancer_is_waited_for(shop: tuple[str, int], tmp_path: Path) -> None:
    """With a route, an address that is announced a few seconds later is still the one."""
    announced = threading.Event()

    class Late(dict[str, tuple[str, int]]):
        """The first look at the routes finds nobody at the load balancer's address."""

        def items(self):  # type: ignore[no-untyped-def]  # noqa: ANN202
            nobody = ("127.0.0.1", 1)
            here = shop if announced.is_set() else nobody
            announced.set()
            return {"load balancer": here, "node ports": shop}.items()

    late = Late({"load balancer": shop, "node ports": shop})
    assert making.choose_route(late, tmp_path, lambda: True) == "load balancer"


def test_no_route_at_all_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that answers nowhere ends in an error, not in a route."""
    monkeypatch.setattr(making, "ANSWERS_WITHIN", 1.0)
    with _mute() as nobody, pytest.raises(DeadlineError, match="the database to answer"):
        making.choose_route({"load balancer": nobody}, tmp_path, _never_asked)


def _never_asked() -> bool:
    raise AssertionError("nobody need know")


def test_pages_are_received_at_our_own_address_or_at_loopback() -> None:
    """An address of this machine is listened on; of any other, a proxy leads to loopback."""
    assert listening_address("127.0.10.30") == "127.0.10.30"
    assert listening_address("192.0.2.254") == "127.0.0.1"


@contextmanager
def _deaf_proxy(to: int) -> Iterator[int]:
    """Lead to a server's port until told otherwise; acknowledge, as a proxy does, when it is gone.

    The first statement is let through, later ones are swallowed.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            client, _ = server.accept()
            with client, socket.create_connection(("127.0.0.1", to)) as behind:
                threading.Thread(target=_copy, args=(behind, client, b""), daemon=True).start()
                _copy(client, behind, b"swallow me")

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]


def _copy(source: socket.socket, sink: socket.socket, swallow: bytes) -> None:
    try:
        while data := source.recv(65536):
            if not swallow or swallow not in data:
                sink.sendall(data)
    except OSError:
        pass


def test_a_statement_ends_although_a_proxy_acknowledges_it(
    scratch_postgres: ScratchPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session gives up on a server that is gone, where no TCP time-out would tell it."""
    monkeypatch.setattr(session, "GRACE", 0.3)
    parts = conninfo_to_dict(scratch_postgres.conninfo)
    with _deaf_proxy(int(str(parts["port"]))) as port:
        through = psycopg.conninfo.make_conninfo(scratch_postgres.conninfo, port=port)
        asking = session.connect(through, statement_timeout=0.2)
        assert asking.execute("SELECT 1").fetchone() == (1,)
        with pytest.raises(psycopg.OperationalError, match=r"no answer within 0\.5 s"):
            asking.execute("SELECT 'swallow me'")
        assert asking.closed


def test_a_statement_that_the_server_ends_keeps_its_session(
    scratch_postgres: ScratchPostgres,
) -> None:
    """The server's own limit comes first, and leaves a session that goes on."""
    with session.connect(scratch_postgres.conninfo, statement_timeout=0.2) as asking:
        with pytest.raises(psycopg.errors.QueryCanceled):
            asking.execute("SELECT pg_sleep(5)")
        assert asking.execute("SELECT 1").fetchone() == (1,)


def _with_limit(soft: int, hard: int, clients: int) -> subprocess.CompletedProcess[str]:
    """Ask for open files in a process of its own that begins with these limits."""
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
    """A hard limit that cannot be raised is told with what is needed."""
    told, left = _with_limit(256, 600, 500).stdout.splitlines()
    assert "500 clients need 1012 open files and no more than 600" in told
    assert left == "256"
