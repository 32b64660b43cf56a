"""Running the pgbench program: found, watched, bounded in time, no password in sight."""

import contextlib
import os
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pgdrill.errors import BrokenEnvironmentError

OnLine = Callable[[str], None]


@dataclass(frozen=True)
class Finished:
    """What a pgbench process left; status is negative when it had to be killed."""

    status: int
    output: str
    errors: str

    def reason(self) -> str:
        """The line of stderr that says most: the server's own words before pgbench's."""
        lines = self.errors.splitlines()
        found = (line for word in ("FATAL", "error", "") for line in lines if word in line)
        return next(found, "it said nothing")


def program() -> str:
    """Path of pgbench: the one on PATH, else the newest one that Debian keeps elsewhere.

    Raises:
        BrokenEnvironmentError: there is none.
    """
    on_path = shutil.which("pgbench")
    # Debian's wrapper picks a version by the clusters it knows of, which are not ours.
    if on_path and Path(on_path).resolve().name != "pg_wrapper":
        return on_path
    kept = Path("/usr/lib/postgresql").glob("*/bin/pgbench")
    newest = max(kept, key=lambda path: int(path.parts[4]), default=None)
    if newest is None:
        raise BrokenEnvironmentError(
            "pgbench is missing: install package postgresql-contrib (Debian keeps it in"
            " postgresql-<version>), or put pgbench on PATH"
        )
    return str(newest)


def run(
    arguments: Sequence[str],
    conninfo: str,
    *,
    directory: Path,
    within: float,
    on_line: OnLine = lambda line: None,
) -> Finished:
    """Run pgbench and hand each line of its stderr to on_line as it appears.

    The process is killed after `within` seconds, and whenever this function is left (Ctrl-C).
    Both outputs are kept in directory, as pgbench.out and pgbench.err.

    Raises:
        BrokenEnvironmentError: pgbench is not installed.
    """
    directory.mkdir(parents=True, exist_ok=True)
    target, environment = _target(conninfo)
    output, errors = directory / "pgbench.out", directory / "pgbench.err"
    with output.open("wb") as out, errors.open("w") as err:
        process = subprocess.Popen(
            [program(), *arguments, target],
            stdout=out,
            stderr=subprocess.PIPE,
            env=environment,
            process_group=0,  # a Ctrl-C at the terminal is ours to pass on
        )
        assert process.stderr is not None
        with process.stderr as stream:
            try:
                for line in _lines(stream, time.monotonic() + within):
                    err.write(f"{line}\n")
                    on_line(line)
            finally:
                _end(process)
    return Finished(process.returncode, output.read_text(), errors.read_text())


def _target(conninfo: str) -> tuple[str, dict[str, str]]:
    """Split a connection string into what may be seen in the process list and the environment."""
    parts = {name: str(value) for name, value in conninfo_to_dict(conninfo).items()}
    secret = {"PGPASSWORD": parts.pop("password")} if "password" in parts else {}
    return make_conninfo("", **parts), os.environ | {"LC_ALL": "C"} | secret


def _lines(stream: IO[bytes], deadline: float) -> Iterator[str]:
    """Yield lines until the stream ends or the deadline passes."""
    pending = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while selector.select(max(0.0, deadline - time.monotonic())):
            chunk = os.read(stream.fileno(), 65536)
            *lines, pending = (pending + chunk).split(b"\n")
            yield from (line.decode(errors="replace") for line in lines)
            if not chunk:
                return


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let a process that has closed its stderr exit, and make any other."""
    for grace, word in ((0.2, signal.SIGTERM), (5, signal.SIGKILL)):
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, word)
    process.wait(10)
