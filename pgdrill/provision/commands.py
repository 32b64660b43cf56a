"""Running other programs: always bounded, their last words kept, never silent for long."""

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.waiting import ticks

Say = Callable[[str], None]
T = TypeVar("T")
MARK = "KIND_STATE_OF_PGDRILL"  # variable in the environment of every program that a run starts
POLL_EVERY = 0.1  # seconds
HEARTBEAT = 8.0  # seconds between progress lines of a program without output
_running: set[subprocess.Popen[bytes]] = set()  # what logged() waits for, in any thread


class TimeUpError(BrokenEnvironmentError):
    """A command was ended because it took too long."""


def mark(state: Path) -> None:
    """Mark whatever this process starts from now on as an installation's: see orphans.sweep."""
    os.environ[MARK] = str(state)


def unmarked() -> dict[str, str]:
    """Return the environment of a program that is to outlive this run."""
    return {name: value for name, value in os.environ.items() if name != MARK}


def output(
    *command: str | Path,
    within: float = 60.0,
    environment: Mapping[str, str] | None = None,
    stdin: str | None = None,
    cwd: Path | None = None,
) -> str:
    """Run a command for at most within seconds and return what it printed.

    Raises:
        BrokenEnvironmentError: it failed, or took too long; with its last words.
    """
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            timeout=within,
            env=environment,
            input=stdin,
            cwd=cwd,
        )
    except subprocess.TimeoutExpired:
        raise BrokenEnvironmentError(f"no end after {within:g} s: {_short(words)}") from None
    except FileNotFoundError:
        raise BrokenEnvironmentError(f"{words[0]} is not installed") from None
    if done.returncode:
        raise BrokenEnvironmentError(f"{_short(words)} failed: {_tail(done.stderr or done.stdout)}")
    return done.stdout


def succeeds(*command: str | Path, within: float = 10.0) -> bool:
    """Whether a command ends well in time."""
    try:
        output(*command, within=within)
    except BrokenEnvironmentError:
        return False
    return True


def logged(
    what: str,
    command: Sequence[str | Path],
    log: Path,
    say: Say,
    *,
    within: float,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    poll: Callable[[], object] | None = None,
    end: Callable[[], object] | None = None,
) -> float:
    """Run a long command with its output in a log; return the seconds it took.

    poll is called every POLL_EVERY seconds while the command runs. end is called before the
    command is ended early; it ends what the command itself has started.

    Raises:
        TimeUpError: it took more than within seconds.
        BrokenEnvironmentError: it failed.
    """
    words = [str(word) for word in command]
    log.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with log.open("w") as file, heartbeat(what, say):
        process = subprocess.Popen(
            words, stdout=file, stderr=subprocess.STDOUT, env=environment, cwd=cwd
        )
        _running.add(process)
        try:
            _wait(process, within, poll)
        except subprocess.TimeoutExpired:
            raise TimeUpError(f"{what}: no end after {within:g} s, see {log}") from None
        finally:
            _running.discard(process)
            if end is not None and process.poll() is None:
                end()
            _end(process)
    if process.returncode:
        raise BrokenEnvironmentError(f"{what} failed: {_tail(log.read_text())} (log: {log})")
    return time.monotonic() - started


class Submit(Protocol):
    """Starts work in one of the threads that workers() offers."""

    def __call__(self, work: Callable[..., T], *arguments: Any) -> Future[T]:  # noqa: ANN401
        """Return a future of the work's result."""


@contextmanager
def workers(count: int) -> Iterator[Submit]:
    """Offer threads; when the block fails, end the commands that they wait for, and leave.

    Otherwise Ctrl-C, or an error in one part, would take effect minutes later, at the end of
    the present compilation.
    """
    pending: list[Future[Any]] = []
    with ThreadPoolExecutor(count) as pool:

        def submit(work: Callable[..., T], *arguments: Any) -> Future[T]:  # noqa: ANN401
            future = pool.submit(work, *arguments)
            pending.append(future)
            return future

        try:
            yield submit
        except BaseException:
            for future in pending:
                future.cancel()
            while wait(pending, timeout=0.2).not_done:
                for process in list(_running):
                    process.terminate()
            raise


def _wait(
    process: subprocess.Popen[bytes], within: float, poll: Callable[[], object] | None
) -> None:
    if poll is None:
        process.wait(within)
        return
    for _ in ticks(POLL_EVERY, lasting=within):
        poll()
        if process.poll() is not None:
            return
    raise subprocess.TimeoutExpired(process.args, within)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


class heartbeat:  # noqa: N801  # reads as a verb where it is used
    """Print every few seconds that a program still runs."""

    def __init__(self, what: str, say: Say) -> None:
        self._what = what
        self._say = say
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def _beat(self) -> None:
        started = time.monotonic()
        while not self._ended.wait(HEARTBEAT):
            self._say(f"{self._what} ({time.monotonic() - started:.0f} s)")

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


def _short(words: Sequence[str]) -> str:
    text = " ".join(words)
    return text if len(text) < 120 else text[:117] + "..."


def _tail(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return " | ".join(lines[-3:])[-600:] or "no output"
