"""A server of our own that is watched, a way to it that can lead elsewhere, and the command."""

import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from pgdrill.records import Event, Watch, read, read_lines
from pgdrill.rundir import RunDir
from pgdrill.waiting import eventually
from tests.badinput.commands import Installation, Outcome
from tests.unit.conftest import ScratchPostgres

WITHIN = 120.0  # seconds for the command to come up on a busy machine


@pytest.fixture
def server() -> Iterator[ScratchPostgres]:
    """A server that a test may stop, or promote a standby of."""
    made = ScratchPostgres.create()
    try:
        made.initialise()
        made.start()
        yield made
    finally:
        made.discard()


@pytest.fixture(scope="module")
def kept() -> Iterator[ScratchPostgres]:
    """A server that stays as it is, for all tests of a module."""
    made = ScratchPostgres.create()
    try:
        made.initialise()
        made.start()
        yield made
    finally:
        made.discard()


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    """The command, with a reports directory of its own."""
    return Installation(tmp_path / "state", tmp_path / "reports", {})


@dataclass
class Watching:
    """The command at work."""

    process: subprocess.Popen[bytes]
    reports: Path
    output: bytes = b""

    def wait_for(self, words: str, within: float = WITHIN) -> None:
        """Wait until a line has been printed."""
        eventually(words, lambda: words in self.text(), within=within, every=0.05)

    def text(self) -> str:
        """Return what has been printed so far."""
        assert self.process.stdout is not None
        while select.select([self.process.stdout], [], [], 0)[0]:
            got = os.read(self.process.stdout.fileno(), 65536)
            if not got:
                break
            self.output += got
        return self.output.decode()

    def end(self, number: int = signal.SIGINT) -> Outcome:
        """End it by a signal."""
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> Outcome:
        """Wait for its end."""
        eventually("its end", self._over, within=WITHIN, every=0.05)
        return Outcome(self.process.wait(5), self.text())

    def _over(self) -> bool:
        self.text()
        return self.process.poll() is not None

    @property
    def run(self) -> RunDir:
        """The one run directory."""
        (path,) = self.reports.iterdir()
        return RunDir(path)

    def record(self) -> Watch:
        """The records of the watch."""
        found = read(self.run.file(Watch), Watch)
        assert found is not None
        return found

    def events(self) -> list[Event]:
        """The events of the watch."""
        return list(read_lines(self.run.file(Event), Event))


@contextmanager
def watching(installation: Installation, *words: str) -> Iterator[Watching]:
    """Start the command, wait until it writes, and remove all of it at the end."""
    command = [sys.executable, "-m", "pgdrill", "watch", *words]
    with subprocess.Popen(
        command,
        env=installation.environment(),
        cwd=Path(__file__).parents[2],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        found = Watching(process, installation.reports)
        try:
            found.wait_for("break it now")
            yield found
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def schemas(conninfo: str) -> list[str]:
    """Return the schemas that watches have made."""
    with psycopg.connect(conninfo) as connection:
        rows = connection.execute(
            "SELECT nspname::text FROM pg_namespace WHERE nspname LIKE 'pgdrill%'"
        ).fetchall()
    return [str(name) for (name,) in rows]


def table(conninfo: str) -> str:
    """Return the ledger of the watch at work."""
    (schema,) = schemas(conninfo)
    return f"{schema}.ledger"


@dataclass
class Way:
    """A TCP proxy on the loopback address: where it leads can be changed while it runs."""

    target: int
    port: int = 0
    _joins: list[tuple[socket.socket, threading.Thread]] = field(default_factory=list)

    def lead_to(self, port: int) -> None:
        """Lead new connections elsewhere, and cut those that there are."""
        self.target = port
        for client, _ in self._joins:
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.target), 2)
            except OSError:
                client.close()
                continue
            join = threading.Thread(target=_join, args=(client, server), daemon=True)
            self._joins.append((client, join))
            join.start()

    @contextmanager
    def open(self) -> Iterator["Way"]:
        """Carry bytes while the block lasts."""
        listener = socket.create_server(("127.0.0.1", 0))
        serving = threading.Thread(target=self._serve, args=(listener,), daemon=True)
        self.port = listener.getsockname()[1]
        serving.start()
        try:
            yield self
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            serving.join(5)
            listener.close()
            self.lead_to(0)
            for _, join in self._joins:
                join.join(5)


def _join(client: socket.socket, server: socket.socket) -> None:
    other = {client: server, server: client}
    with client, server, suppress(OSError):
        while True:
            for end in select.select(list(other), [], [], 60)[0]:
                data = end.recv(65536)
                if not data:
                    return
                other[end].sendall(data)


def in_process_list(word: str) -> bool:
    """Whether any process shows a word on its command line."""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if re.search(word.encode(), file.read_bytes()) and int(file.parts[2]) != os.getpid():
                return True
    return False
