"""probe_pod with processes of this machine in place of a pod's: `-m ... ORDER`.

Their clock is AHEAD seconds ahead, and the directory that PROBER_WORK names is theirs.
"""

import os
import select
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.platforms.kubernetes import jobs, probe_pod
from pgdrill.platforms.kubernetes.jobs import Pod

AHEAD = 1000
# In place of `python3`: the same with another clock.
PYTHON = f"""\
import runpy, sys, time
real = time.monotonic_ns
time.monotonic_ns = lambda: real() + {AHEAD} * 10**9
if sys.argv[1] == "-m":
    sys.argv = sys.argv[2:]
    runpy.run_module(sys.argv[0], run_name="__main__")
else:
    text = sys.argv[2]
    sys.argv = ["-c", *sys.argv[3:]]
    exec(text)
"""


class HereSession:
    """A process in place of an exec session."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        assert self._process.stdout
        assert self._process.stderr
        self._outputs: dict[Literal["out", "err"], Any] = {
            "out": self._process.stdout,
            "err": self._process.stderr,
        }
        Path(os.environ["PROBER_WORK"], "pid").write_text(str(self._process.pid))

    @property
    def is_open(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    @property
    def status(self) -> int | None:
        """The exit status; None where it was cut off."""
        status = self._process.poll()
        return status if status is None or status >= 0 else None

    def fileno(self) -> int:
        """Return the descriptor of its output."""
        return int(self._outputs["out"].fileno())

    def pieces(self, *, within: float) -> list[tuple[Literal["out", "err"], bytes]]:
        """Return what both outputs have."""
        found = []
        for name, stream in self._outputs.items():
            ready = select.select([stream], [], [], within)[0]
            if ready and (data := os.read(stream.fileno(), 65536)):
                found.append((name, data))
        return found

    def send(self, data: bytes) -> None:
        """Write to its input."""
        assert self._process.stdin
        self._process.stdin.write(data)

    def ask(self, line: str, *, within: float) -> str:
        """Send a line, and read one."""
        assert within
        self.send(line.encode() + b"\n")
        return str(self._outputs["out"].readline().decode())

    def close(self) -> None:
        """End its input, and wait."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(10)


class HereShell:
    """Starts the commands of a pod here."""

    def __init__(self, *_: object) -> None:
        self.pod = "here"

    def open(self, command: Sequence[str]) -> HereSession:
        """Start a command."""
        return HereSession(self._command(command))

    def read(self, command: Sequence[str], *, within: float) -> bytes:
        """Return what a command prints."""
        done = subprocess.run(
            self._command(command), capture_output=True, check=True, timeout=within
        )
        return done.stdout

    def _command(self, command: Sequence[str]) -> list[str]:
        python, *rest = command
        assert python == "python3"
        return [sys.executable, "-c", PYTHON, *rest]


def _running(*_: object) -> list[Pod]:
    if refusal := os.environ.get("PROBER_REFUSED"):
        raise BrokenEnvironmentError(refusal)
    return [Pod("pgdrill-prober-1", "n1", "")]


def main() -> int:
    """Be probe_pod; the Job is a file."""
    work = Path(os.environ["PROBER_WORK"])
    replaced: Any = probe_pod
    replaced.PodShell, replaced.ATTEMPTS = HereShell, str(work / "attempts.npz")
    job: Any = jobs
    job.create = lambda *_: (work / "job").touch()
    job.running = _running
    job.ended = lambda *_: os.environ.get("PROBER_ENDED", "")
    job.remove = lambda *_: (work / "job").unlink()
    return probe_pod.main()


if __name__ == "__main__":
    sys.exit(main())
