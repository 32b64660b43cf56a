"""The wait for the holder of the package manager, which is named."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.provision import apt

HOLD = (
    "import fcntl, sys, time; file = open(sys.argv[1], 'wb');"
    "fcntl.lockf(file, fcntl.LOCK_EX); print('held', flush=True); time.sleep(float(sys.argv[2]))"
)


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lock of the kind that apt takes, in place of its own."""
    file = tmp_path / "lock-frontend"
    file.touch()
    monkeypatch.setattr(apt, "LOCKS", (str(tmp_path / "absent"), str(file)))
    return file


def _held(lock: Path, seconds: float) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLD, str(lock), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_free_lock_is_not_waited_for(lock: Path) -> None:
    """Nothing is printed where no process holds it, nor where we lock it ourselves."""
    said: list[str] = []
    apt.wait_until_free(said.append)
    assert said == []
    assert apt.holder() == ""


def test_whoever_holds_the_lock_is_named_and_waited_for(lock: Path) -> None:
    """The wait ends with the holder, and printed its process, its command and the limit at once."""
    for process in _held(lock, 1.5):
        said: list[str] = []
        apt.wait_until_free(said.append, within=20)
        (line,) = said
        assert f"process {process.pid}" in line
        assert Path(sys.executable).name in line
        assert "at most 20 s" in line


def test_a_lock_that_stays_ends_in_one_line(lock: Path) -> None:
    """After the limit the holder is named once more, with what to do."""
    for process in _held(lock, 30):
        with pytest.raises(
            BrokenEnvironmentError, match=rf"process {process.pid} .*run this again"
        ):
            apt.wait_until_free(lambda _: None, within=1)
