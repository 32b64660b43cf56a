"""An interrupted build: no process runs on, nothing is left, the next one resumes."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pgdrill.waiting import eventually
from tests.badinput.commands import Installation, start
from tests.badinput.orphans import leftovers, processes
from tests.badinput.stubs import Tools

BUILDS = 400  # seconds to compile kind with nothing in Go's cache; 21 were seen on two idle cores
ENDS = 60  # seconds for a command to end after a signal

pytestmark = pytest.mark.skipif(not shutil.which("go"), reason="nothing can be built without Go")


@pytest.fixture
def builder(tmp_path: Path) -> Installation:
    """Commands that build for real, for an engine that is not used.

    The programs' cache is their own, Go's is this user's: what is compiled here is compiled once.
    """
    tools = Tools(tmp_path / "bin")
    tools.add("go", f'exec {shutil.which("go")} "$@"')
    tools.add("mmdebstrap", "exec sleep 600  # the compiler is what is cut off here")
    tools.add_docker()
    settings = {
        "PGDRILL_PLATFORM": "kind",
        "PGDRILL_IMAGES": "build",
        "PGDRILL_CACHE_DIR": str(tmp_path / "cache"),
        "PATH": tools.path,
    }
    return Installation(tmp_path / "state", tmp_path / "reports", settings)


def _started(builder: Installation, until: Callable[[], object]) -> subprocess.Popen[str]:
    """Start `up` and return once something is seen."""
    process = start([sys.executable, "-m", "pgdrill", "up"], env=builder.environment())
    try:
        eventually("it", lambda: until() or process.poll() is not None, within=BUILDS, every=0.05)
        assert process.poll() is None, process.communicate()[0]
    except BaseException:
        process.kill()
        raise
    return process


def _compilers(builder: Installation, *names: str) -> list[str]:
    wanted = names or ("go", "compile", "link")
    return [p for p in processes(builder.state) if p.split()[1] in wanted]


def _unfinished(builder: Installation) -> list[Path]:
    return list(Path(builder.settings["PGDRILL_CACHE_DIR"]).rglob("*.partial"))


def test_build_killed_then_interrupted(builder: Installation, tmp_path: Path) -> None:
    """SIGKILL leaves a compiler that the next `up` ends; Ctrl-C ends it at once; both resume."""
    cache = Path(builder.settings["PGDRILL_CACHE_DIR"])
    # What outlives the kill must not end by itself: with a cache of Go that has everything, and
    # while Go is only asked for its version, it would within a moment.
    cold = replace(builder, settings={**builder.settings, "GOCACHE": str(tmp_path / "empty")})
    process = _started(cold, lambda: _compilers(cold, "compile"))
    process.kill()
    process.communicate(timeout=ENDS)
    assert _compilers(builder), "no compiler outlived the kill: this proves nothing"
    orphans = [int(line.split()[0]) for line in _compilers(builder)]
    dead = cache / "programs" / "kind-dead" / "kind.1.partial"
    dead.parent.mkdir(parents=True)
    dead.write_text("half a program")

    # The next one finishes kind and goes on to the next program, where Ctrl-C ends it.
    process = _started(
        builder,
        lambda: list(cache.glob("programs/kind-v*/kind")) and _compilers(builder),
    )
    assert not [line for line in processes(builder.state) if int(line.split()[0]) in orphans]
    assert not dead.exists()
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=ENDS)
    assert process.returncode == 130, said
    assert "`make down` removes" in said.splitlines()[-1], said
    assert "Traceback" not in said, said
    assert processes(builder.state) == []
    assert _unfinished(builder) == []

    builder.pgdrill("down", within=ENDS).succeeds()
    assert leftovers(builder.state) == []
    assert list(cache.glob("*.lock")) == []
    assert list(cache.glob("programs/kind-v*/kind")), "what was finished is kept"
