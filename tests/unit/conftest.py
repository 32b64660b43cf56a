"""A throw-away PostgreSQL for tests that need the real thing."""

import contextlib
import os
import random
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from hypothesis import Phase, settings
from psycopg import sql
from psycopg.conninfo import make_conninfo

from pgdrill.workload import pgbench_program

# The same examples each time, so that red stays red; `--hypothesis-profile=search` draws others.
COMMON = settings(
    deadline=None, database=None, phases=(Phase.explicit, Phase.generate, Phase.shrink)
)
settings.register_profile("same", COMMON, max_examples=50, derandomize=True)
settings.register_profile("search", COMMON, max_examples=5000)
# For `make mutants`: any red test kills, the smallest example is not looked for.
settings.register_profile(
    "mutants", COMMON, max_examples=40, derandomize=True, phases=(Phase.generate,)
)
settings.load_profile("same")

# Durability is not what unit tests are about; every saved fsync is time for another test.
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "wal_level": "replica",
    "max_connections": "100",
}


@dataclass(frozen=True)
class ScratchPostgres:
    """A private server on 127.0.0.1; everyone may log in, and its data is disposable."""

    binaries: Path
    directory: Path
    port: int

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.directory / "data"

    @property
    def conninfo(self) -> str:
        """The superuser in database postgres."""
        return self._conninfo("postgres")

    def _conninfo(self, database: str) -> str:
        return make_conninfo(
            host="127.0.0.1", port=self.port, user="postgres", dbname=database, connect_timeout=5
        )

    def database(self, name: str) -> str:
        """Create an empty database, replacing one of that name, and return its conninfo."""
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            quoted = sql.Identifier(name)
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(quoted))
            connection.execute(sql.SQL("CREATE DATABASE {}").format(quoted))
        return self._conninfo(name)

    def pid(self) -> int:
        """Process id of the postmaster.

        Raises:
            FileNotFoundError: the server is stopped.
        """
        return int((self.data / "postmaster.pid").read_text().split()[0])

    def start(self) -> None:
        """Start the server and return once it takes connections."""
        self.run("pg_ctl", "start", "-w", "-t", "30", "-D", self.data, "-l", self.directory / "log")

    def stop(self, mode: str = "fast") -> None:
        """Stop the server; sessions are disconnected (mode immediate: as in a crash)."""
        self.run("pg_ctl", "stop", "-w", "-t", "30", "-D", self.data, "-m", mode)

    def run(self, program: str, *arguments: str | Path) -> None:
        """Run one of PostgreSQL's programs as the user who may (never root)."""
        as_postgres = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        command = [*as_postgres, str(self.binaries / program), *map(str, arguments)]
        # Output goes to a file: a server that inherits a pipe would keep it open for ever.
        with (self.directory / "output").open("w+") as output:
            done = subprocess.run(
                command, stdout=output, stderr=output, cwd="/", timeout=60, check=False
            )
            output.seek(0)
            assert done.returncode == 0, f"{' '.join(command)}: {output.read()}"

    @classmethod
    def create(cls) -> "ScratchPostgres":
        """Make a server directory that the server's user owns, not yet initialised."""
        directory = Path(tempfile.mkdtemp(prefix="pgdrill-scratch-", dir="/tmp"))
        if os.geteuid() == 0:
            shutil.chown(directory, "postgres")
        return cls(_binaries(), directory, _free_port())

    def initialise(self) -> None:
        """Run initdb and write our settings."""
        self.run("initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "-N")
        self.configure()

    def configure(self, **settings: str) -> None:
        """Append settings to the server's file; they hold from the next start."""
        chosen = SETTINGS | {"port": str(self.port)} | settings
        chosen["unix_socket_directories"] = str(self.directory)
        with (self.data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in chosen.items())

    def standby(self) -> "ScratchPostgres":
        """Start a streaming copy of this server; the caller discards it."""
        copy = type(self).create()
        origin = ("-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres")
        copy.run("pg_basebackup", *origin, "-D", copy.data, "-R", "-c", "fast", "--no-sync")
        copy.configure()
        copy.start()
        return copy

    def discard(self) -> None:
        """Stop the server, when it runs, and remove its directory."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            os.kill(self.pid(), 0)  # a test may have killed it and left its pid file
            self.stop("immediate")
        shutil.rmtree(self.directory)


def _binaries() -> Path:
    installed = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4])
    )
    found = shutil.which("initdb")
    if not installed and not found:
        pytest.skip("needs PostgreSQL's server programs (initdb): install package postgresql")
    return installed[-1].parent if installed else Path(str(found)).resolve().parent


def _free_port() -> int:
    for port in random.sample(range(55000, 56000), 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port among 100 tried in 55000-55999")


@pytest.fixture(scope="session")
def scratch_postgres() -> Iterator[ScratchPostgres]:
    """A running server for the session; a test that stops it starts it again."""
    server = ScratchPostgres.create()
    try:
        server.initialise()
        server.start()
        yield server
    finally:
        server.discard()


@pytest.fixture(scope="session")
def program() -> pgbench_program.HostProgram:
    """The pgbench of this machine."""
    return pgbench_program.on_host()
