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
# The Unix time at which a program starts that itself takes a while to be started.
BEGINS = re.compile(r"pgbench begins at (\d+)\.(\d{6})$")
OnLine = Callable[[str], None]


@dataclass(frozen=True)
class Finished:
    """What a pgbench process left; status is negative when it had to be killed."""

    status: int
    output: str
    errors: str
    began_at: float  # monotonic seconds
    began_us: int  # Unix time, microseconds, of the clock that its log is written with

    def reason(self) -> str:
        """What went wrong, as last_words() has it."""
        return last_words(self.errors)


def last_words(errors: str) -> str:
    """Return the line of stderr that says most: the server's own words before pgbench's."""
    lines = errors.splitlines()
    found = (line for word in ("FATAL", "error", "") for line in lines if word in line)
    return next(found, "it said nothing")


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

    The process is killed after `within` seconds, and whenever this function is left (Ctrl-C).
    Both outputs are kept in directory, as pgbench.out and pgbench.err; logs is the directory, if
    any, that the arguments tell pgbench to write into.
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
            process_group=0,  # a Ctrl-C at the terminal is ours to pass on
        )
        assert process.stderr is not None
        with process.stderr as stream:
            try:
                for line in _lines(stream, time.monotonic() + within):
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
    """Let a process that has closed its stderr exit, and make any other."""
    # Another that is behind this one does not end with it: no use to ask politely.
    words = (signal.SIGKILL,) if launch.end else (signal.SIGTERM, signal.SIGKILL)
    for grace, word in zip((0.2, 5), words, strict=False):
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            # macOS forbids signals to a group of processes that have ended, Linux finds none.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, word)
    process.wait(10)
    if launch.end and process.returncode < 0:
        launch.end()
