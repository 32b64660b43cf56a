"""The real commands, each with a deadline, and the form of a refusal."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pgdrill.settings import ROOT

USAGE, ENVIRONMENT = 4, 2


@dataclass(frozen=True)
class Outcome:
    """The exit code of a command, and its whole output."""

    code: int
    output: str

    def refuses(self, code: int, *words: str) -> None:
        """Assert on the exit code and on one line that holds every word."""
        said = [line for line in self.output.splitlines() if re.search(r"\bpgdrill: ", line)]
        assert self.code == code, f"exit code {self.code}, expected {code}:\n{self.output}"
        assert "Traceback" not in self.output, self.output
        assert len(said) == 1, f"{len(said)} lines instead of one:\n{self.output}"
        missing = [word for word in words if word not in said[0]]
        assert not missing, f"nothing about {missing} in: {said[0]}"

    def succeeds(self) -> "Outcome":
        """Assert on exit code 0, and return itself."""
        assert self.code == 0, f"exit code {self.code}:\n{self.output}"
        return self


def run(
    command: Sequence[str], *, within: float, env: Mapping[str, str], cwd: Path = ROOT
) -> Outcome:
    """Run a command for at most within seconds; on time-out its whole session is killed."""
    process = start(command, env=env, cwd=cwd)
    try:
        output, _ = process.communicate(timeout=within)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate(timeout=10)
        raise AssertionError(f"{command} still ran after {within:g} s:\n{output}") from None
    return Outcome(process.returncode, output)


def start(
    command: Sequence[str], *, env: Mapping[str, str], cwd: Path = ROOT
) -> subprocess.Popen[str]:
    """Start a command in a session of its own, as a terminal would."""
    return subprocess.Popen(
        command,
        cwd=cwd,
        env=dict(env),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


@dataclass(frozen=True)
class Installation:
    """The commands of this checkout, on a state directory and a reports directory of our own."""

    state: Path
    reports: Path
    settings: Mapping[str, str]  # PGDRILL_* variables

    def environment(self) -> dict[str, str]:
        """Return our environment without the user's settings."""
        ours = {k: v for k, v in os.environ.items() if not k.startswith("PGDRILL_")}
        ours |= {k: v for k, v in os.environ.items() if k == "PGDRILL_CACHE_DIR"}
        ours |= {
            "PYTHONPATH": str(ROOT),
            "PGDRILL_PLATFORM": "local",
            "PGDRILL_STATE_DIR": str(self.state),
            "PGDRILL_REPORTS_DIR": str(self.reports),
            "COLUMNS": "80",
        }
        return ours | dict(self.settings)

    def pgdrill(self, *words: str, within: float = 60, cwd: Path = ROOT) -> Outcome:
        """Run one of the commands that are no test."""
        command = [sys.executable, "-m", "pgdrill", *words]
        return run(command, within=within, env=self.environment(), cwd=cwd)

    def pytest(self, *words: str, within: float = 60, cwd: Path = ROOT) -> Outcome:
        """Run a suite."""
        return run(self.suite(*words), within=within, env=self.environment(), cwd=cwd)

    def suite(self, *words: str) -> list[str]:
        """Return the command line of a suite; the tests are found from any directory."""
        return [sys.executable, "-m", "pytest", f"--rootdir={ROOT}", str(ROOT / "tests"), *words]

    def runs(self) -> list[Path]:
        """Return every run directory."""
        return sorted(self.reports.glob("*")) if self.reports.exists() else []
