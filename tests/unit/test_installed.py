"""pgdrill in a user's environment: a wheel, a command, a plugin that is idle until requested."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from pgdrill.settings import ROOT

WITHIN = 60.0  # seconds for one command on a busy machine


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, unpacked: what pip would put into site-packages."""
    place = tmp_path_factory.mktemp("installed")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(place)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=WITHIN)
    (wheel,) = place.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(place / "site")
    return place / "site"


def _run(site: Path, where: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PGDRILL_", "PYTEST"))}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=where,
        env=environment | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        timeout=WITHIN,
    )


def test_the_wheel_holds_what_the_platforms_are_made_of(site: Path) -> None:
    """Playbooks, charts, rules, the list of components and the locks come along, file for file."""
    files = [
        file.relative_to(ROOT)
        for folder in ("infra", "requirements")
        for file in (ROOT / folder).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    ]
    assert files
    data = site / "pgdrill" / "data"
    assert [file for file in files if not (data / file).is_file()] == []


def test_commands_need_no_checkout(site: Path, tmp_path: Path) -> None:
    """What reads the list of components, the rules or the catalogue finds them in the package."""
    for arguments, word in ((["budgets"], "primary_kill.write-gap"), (["images"], "prometheus")):
        done = _run(site, tmp_path, "-m", "pgdrill", *arguments)
        assert done.returncode == 0, done.stderr
        assert word in done.stdout
    assert not list(tmp_path.iterdir())


def test_the_plugin_is_idle_in_somebody_elses_tests(site: Path, tmp_path: Path) -> None:
    """A user's tests run as before, nothing is written, and the message says how to drill."""
    (tmp_path / "test_theirs.py").write_text("def test_theirs(): pass\n")
    done = _run(site, tmp_path, "-m", "pytest", "-p", "no:cacheprovider", "--strict-markers")
    assert done.returncode == 0, done.stdout
    assert "pgdrill 0.1.0: idle" in done.stdout
    assert [p.name for p in tmp_path.iterdir() if p.suffix != ""] == ["test_theirs.py"]
    (tmp_path / "test_mine.py").write_text("def test_mine(drill): drill('primary_kill')\n")
    done = _run(site, tmp_path, "-m", "pytest", "-p", "no:cacheprovider", "test_mine.py")
    assert done.returncode == 1
    assert "put a pgdrill.toml at the root, or give --platform" in done.stdout


@pytest.mark.parametrize("asked", ["option", "file"])
def test_the_plugin_wakes_up_where_it_is_asked_for(site: Path, tmp_path: Path, asked: str) -> None:
    """An option of it, or a pgdrill.toml at the root; what cannot be is refused as ever."""
    (tmp_path / "test_mine.py").write_text("def test_mine(drill): drill('primary_kill')\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    if asked == "file":
        (tmp_path / "pgdrill.toml").write_text('clients = "many"\n')
    arguments = ["--clients=many"] if asked == "option" else []
    done = _run(site, tmp_path, "-m", "pytest", "-p", "no:cacheprovider", *arguments)
    assert done.returncode == 4
    assert "clients=many: must be a whole number" in done.stdout + done.stderr
    assert not (tmp_path / "reports").exists()
