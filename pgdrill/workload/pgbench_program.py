"""Choosing the pgbench of a load: this machine's, or one that a platform provides."""

import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pgdrill.errors import BrokenEnvironmentError

OLDEST: Final = 15  # major version that the scripts and the log parser are written for
VERSION_WITHIN = 5.0  # seconds for a program of this machine to print its version
MOST_READ = 4096  # bytes that are read of its output
DEBIAN_KEEPS = Path("/usr/lib/postgresql")  # <major>/bin/pgbench, not on PATH
# In parentheses: PostgreSQL, or a vendor's name. The version may be 15.18, 17devel or 16rc1.
_VERSION = re.compile(r"^pgbench \([^)]*\) ((\d+)\S*)", re.MULTILINE)


class NoPgbenchError(BrokenEnvironmentError):
    """This machine has no suitable pgbench; found: path and version of those that it has."""

    def __init__(self, found: str) -> None:
        super().__init__(
            f"the load needs pgbench {OLDEST} or newer, and {found}: install it (Debian: package"
            f" postgresql-{OLDEST}) or put a newer one on PATH"
        )
        self.found = found


@dataclass(frozen=True)
class Launch:
    """How one program is started; end removes what remains after that process was killed.

    aside: seconds that starting and ending it may take beside its work itself.
    """

    command: tuple[str, ...]
    environment: Mapping[str, str]
    end: Callable[[], None] | None = None
    aside: float = 0.0


class Program(Protocol):
    """A pgbench that can be started any number of times."""

    @property
    def version(self) -> str:
        """The version that it prints, such as 15.18."""

    @property
    def place(self) -> str:
        """Where it is, and why others were not used, for messages."""

    def threads(self, clients: int) -> int:
        """Return how many threads carry so many clients; each writes a log of its own."""

    def launch(
        self, arguments: Sequence[str], conninfo: str, *, reads: Path, logs: Path | None
    ) -> Launch:
        """Return how to start it against a database; the password is in no argument.

        reads is the directory of its scripts; logs is an existing directory for its logs.
        """


def threads_here(clients: int) -> int:
    """Return one thread for each processor of this machine, at most one for each client."""
    return min(clients, os.cpu_count() or 1)


def described(program: Program) -> str:
    """Name a program in one line: version, place and reason."""
    return f"pgbench {program.version} {program.place}"


@dataclass(frozen=True)
class HostProgram:
    """A pgbench of this machine; passed_over names those that came first and were not suitable."""

    path: str
    version: str
    passed_over: str = ""

    @property
    def place(self) -> str:
        """Its path, and why others were not used."""
        return f"at {self.path}" + (f", because {self.passed_over}" if self.passed_over else "")

    def threads(self, clients: int) -> int:
        """Return those of this machine."""
        return threads_here(clients)

    def launch(
        self, arguments: Sequence[str], conninfo: str, *, reads: Path, logs: Path | None
    ) -> Launch:
        """Return its command line: a program of this machine has access to every file."""
        target, secret = without_password(conninfo)
        command = (*with_its_parent(), self.path, *arguments, target)
        return Launch(command, os.environ | {"LC_ALL": "C"} | secret)


def with_its_parent(signal: str = "KILL") -> tuple[str, ...]:
    """Return a prefix for a command that ends with its parent, even by SIGKILL; () if not on Linux.

    signal: what ends it. On other systems a load whose parent has ended runs to its own end.
    """
    setpriv = shutil.which("setpriv") if sys.platform == "linux" else None
    return (setpriv, f"--pdeathsig={signal}", "--") if setpriv else ()


def on_host() -> HostProgram:
    """Return the first pgbench on PATH that is new enough, else the newest that Debian keeps.

    Every candidate is run with --version; one that prints no version is not suitable.

    Raises:
        NoPgbenchError: there is none; the message names what was found.
    """
    complaints: list[str] = []
    for path in _candidates():
        answer = read_version([str(path), "--version"], within=VERSION_WITHIN)
        if answer.major >= OLDEST:
            return HostProgram(str(path), answer.version, " and ".join(complaints))
        complaints.append(f"{path} {answer.trouble or f'is {answer.version}'}")
    raise NoPgbenchError(" and ".join(complaints) or "this machine has none on PATH")


def _candidates() -> Iterator[Path]:
    seen = set()
    for directory in os.environ.get("PATH", os.defpath).split(os.pathsep):
        path = Path(directory or ".", "pgbench")
        # Debian's wrapper selects a version by Debian's own clusters, which are not ours.
        real = path.resolve()
        if real.name != "pg_wrapper" and real not in seen and _is_program(path):
            seen.add(real)
            yield path
    kept = [p for p in DEBIAN_KEEPS.glob("*/bin/pgbench") if p.parts[-3].isdigit()]
    newest = max(kept, key=lambda path: int(path.parts[-3]), default=None)
    if newest and newest.resolve() not in seen:
        yield newest


def _is_program(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


@dataclass(frozen=True)
class VersionAnswer:
    """What a pgbench printed for --version; major 0: no version, for the reason in trouble."""

    major: int = 0
    version: str = ""
    trouble: str = ""


def read_version(
    command: Sequence[str], *, within: float, environment: Mapping[str, str] | None = None
) -> VersionAnswer:
    """Read a version from a command, for at most within seconds and MOST_READ bytes."""
    deadline = time.monotonic() + within
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            process_group=0,
        )
    except OSError as error:
        return VersionAnswer(trouble=f"cannot be started ({error.strerror})")
    assert process.stdout is not None
    with process.stdout as stream:
        try:
            text = _read(stream.fileno(), deadline)
            with suppress(subprocess.TimeoutExpired):
                # A program with more output than that does not end: its pipe is full.
                process.wait(max(0.0, deadline - time.monotonic()) if len(text) < MOST_READ else 0)
        finally:
            status = process.poll()
            if status is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait(10)
    return _parse_version(text.decode(errors="replace"), status, within)


def _read(descriptor: int, deadline: float) -> bytes:
    """Read until the end, the deadline or MOST_READ bytes."""
    text = b""
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while len(text) < MOST_READ and selector.select(max(0.0, deadline - time.monotonic())):
            chunk = os.read(descriptor, MOST_READ - len(text))
            if not chunk:
                break
            text += chunk
    return text


def _parse_version(text: str, status: int | None, within: float) -> VersionAnswer:
    """Parse the output; status None: the program had to be killed."""
    if status is None and len(text) < MOST_READ:
        return VersionAnswer(trouble=f"prints no version within {within:g} s")
    found = _VERSION.search(text)
    if status == 0 and found:
        return VersionAnswer(int(found[2]), found[1])
    first = "".join(c for c in text.strip().partition("\n")[0][:80] if c.isprintable())
    reason = f"it printed '{first}'" if first else f"exit status {status}"
    return VersionAnswer(trouble=f"prints no version ({reason})")


def without_password(conninfo: str) -> tuple[str, dict[str, str]]:
    """Split a connection string into an argument without password, and its environment."""
    parts = {name: str(value) for name, value in conninfo_to_dict(conninfo).items()}
    secret = {"PGPASSWORD": parts.pop("password")} if "password" in parts else {}
    return make_conninfo("", **parts), secret
