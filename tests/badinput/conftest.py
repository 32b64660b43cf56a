"""An installation of our own for each test, and one that runs for those that need it."""

import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from pgdrill.platforms.local import LocalPlatform
from pgdrill.platforms.local import layout as layouts
from pgdrill.waiting import eventually
from tests.badinput.commands import Installation, start
from tests.badinput.orphans import leftovers
from tests.badinput.stubs import Machine, bare_machine

UP = 300  # seconds; 13 were seen on idle cores, 75 on busy ones
DOWN = 60


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Bring up last what tests share: beside one more, two cores keep no promise."""
    items.sort(key=lambda item: "running" in getattr(item, "fixturenames", ()))


@contextmanager
def installed() -> Iterator[Installation]:
    """Offer an installation, and take down whatever a test made of it."""
    # The members run as another user, which cannot reach into pytest's temporary directories.
    base = Path("/var/lib") if os.geteuid() == 0 else Path.home()
    place = Path(tempfile.mkdtemp(prefix="pgdrill-badinput-", dir=base))
    place.chmod(0o755)
    installation = Installation(place / "local", place / "reports", {})
    try:
        yield installation
    finally:
        if leftovers(installation.state):
            installation.pgdrill("down", within=DOWN).succeeds()
        assert leftovers(installation.state) == []
        shutil.rmtree(place)


@pytest.fixture
def fresh() -> Iterator[Installation]:
    """An empty installation."""
    with installed() as installation:
        yield installation


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine of stand-in tools, on which no command gets as far as making anything."""
    return bare_machine(tmp_path)


@dataclass(frozen=True)
class Running:
    """An installation that is up, and the port offset that was taken when it came up."""

    installation: Installation
    platform: LocalPlatform
    avoided: int


@pytest.fixture(scope="session")
def running() -> Iterator[Running]:
    """Come up by an `up` that was killed in its playbook and a second that finished it."""
    with installed() as installation:
        avoided = layouts.plan(-1).offset
        host = layouts.ADDRESSES["etcd"]
        with listening(host, layouts.OTHER_PORTS["etcd"][1] + avoided):
            kill_in_playbook(installation)
            installation.pgdrill("up", within=UP).succeeds()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PGDRILL_STATE_DIR", str(installation.state))
            platform = LocalPlatform()
        yield Running(installation, platform, avoided)


def kill_in_playbook(installation: Installation, task: str = "Volumes") -> None:
    """Start `up` and kill only that process, once a task of the playbook has begun."""
    log = installation.state / "ansible.log"
    process = start([sys.executable, "-m", "pgdrill", "up"], env=installation.environment())
    try:
        eventually(
            f"the task {task}",
            lambda: (log.exists() and f": {task}" in log.read_text()) or process.poll(),
            within=UP,
            every=0.05,
        )
    finally:
        process.kill()
        said, _ = process.communicate(timeout=10)
    assert process.returncode == -signal.SIGKILL, said


@contextmanager
def listening(host: str, port: int) -> Iterator[None]:
    """Hold a port."""
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((host, port))
        server.listen()
        yield
