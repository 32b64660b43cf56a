"""Running the pgbench program: watched, and bounded in time."""

import contextlib
import os
import re
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pgdrill.workload.pgbench_program import Launch, Program

SCRIPTS = Path(__file__).parent / "scripts"
# Printed by a slow launcher: the Unix time at which pgbench itself begins.
BEGINS = re.compile(r"pgbench begins at (\d+)\.(\d{6})$")
# Exit status of a launcher that lost a part of its load; pgbench has none above 2.
LOST = 75
OnLine = Callable[[str], None]


@dataclass(frozen=True)
class Finished:
    """The result of a pgbench process; status is negative if it had to be killed."""

    status: int
    output: str
    errors: str
    began_at: float  # monotonic seconds
    began_us: int  # Unix time, microseconds, of the clock that its log is written with

    def reason(self) -> str:
        """Why it failed, by main_error()."""
        return main_error(self.errors)


def main_error(errors: str) -> str:
    """Return the most useful line of stderr: an error of the server before one of pgbench."""
    lines = errors.splitlines()
    found = (line for word in ("FATAL", "error", "") for line in lines if word in line)
    return next(found, "it printed nothing")


def run(
    program: Program,
    arguments: Sequence[str],
    conninfo: str,
    *,
    directory: Path,
    within: float,
    logs: Path | None = None,
    on_line: OnLine = lambda line: None,
) -> Finished:
    """Run pgbench and hand each line of its stderr to on_line as it appears.

    The process is killed after `within` seconds and those that its launch takes aside, and
    whenever this function is left (Ctrl-C).
    Both outputs are kept in directory, as pgbench.out and pgbench.err; logs is the directory, if
    any, that the arguments make pgbench write into.
    """
    directory.mkdir(parents=True, exist_ok=True)
    launch = program.launch(arguments, conninfo, reads=SCRIPTS, logs=logs)
    output, errors = directory / "pgbench.out", directory / "pgbench.err"
    began_at, began_us = time.monotonic(), time.time_ns() // 1000
    with output.open("wb") as out, errors.open("w") as err:
        process = subprocess.Popen(
            launch.command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.PIPE,
            env=launch.environment,
            process_group=0,  # Ctrl-C at the terminal does not reach it: we end it
        )
        assert process.stderr is not None
        with process.stderr as stream:
            try:
                for line in _lines(stream, time.monotonic() + within + launch.aside):
                    if begins := BEGINS.match(line):
                        began_at, began_us = time.monotonic(), int(begins[1] + begins[2])
                        continue
                    err.write(f"{line}\n")
                    on_line(line)
            finally:
                _end(process, launch)
    return Finished(process.returncode, output.read_text(), errors.read_text(), began_at, began_us)


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


def _end(process: subprocess.Popen[bytes], launch: Launch) -> None:
    """Wait for a process that has closed its stderr; end any other."""
    # A container behind this process does not end with it, so SIGTERM would be of no use.
    signals = (signal.SIGKILL,) if launch.end else (signal.SIGTERM, signal.SIGKILL)
    for grace, number in zip((0.2, 5), signals, strict=False):
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            # macOS forbids signals to a group of processes that have ended, Linux finds none.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, number)
    process.wait(10)
    if launch.end and process.returncode < 0:
        launch.end()
