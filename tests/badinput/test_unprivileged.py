"""Without root: what works, what is named as lost, and what only root can do."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from pgdrill.platforms.local import layout as layouts
from pgdrill.settings import ROOT, cache_dir
from tests.badinput.commands import ENVIRONMENT, Outcome, run
from tests.badinput.conftest import DOWN, UP
from tests.badinput.orphans import leftovers

NOBODY = "nobody"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@dataclass(frozen=True)
class Checkout:
    """A copy of this checkout that belongs to a user who is not root."""

    place: Path

    @property
    def state(self) -> Path:
        """The default place of an installation."""
        return self.place / "state" / "pgdrill" / "local"

    def run(self, *words: str, within: float, wrapper: tuple[str, ...] = ()) -> Outcome:
        """Run a command as that user, wrapper (which still runs as root) around it."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PGDRILL_", "PYTHON"))}
        mine = {
            "HOME": str(self.place),
            "XDG_STATE_HOME": str(self.place / "state"),
            "PGDRILL_CACHE_DIR": str(self.place / "cache"),
            "PGDRILL_PLATFORM": "local",
            "COLUMNS": "80",
        }
        command = [*wrapper, "runuser", "-u", NOBODY, "--", *words]
        return run(command, within=within, env=kept | mine, cwd=self.place / "checkout")

    def pgdrill(self, *words: str, within: float = 60, wrapper: tuple[str, ...] = ()) -> Outcome:
        """Run one of the commands that are no test."""
        python = ".venv/bin/python"
        return self.run(python, "-m", "pgdrill", *words, within=within, wrapper=wrapper)


@pytest.fixture(scope="module")
def checkout() -> Iterator[Checkout]:
    """What git would check out, new files included, with a virtual environment of its own."""
    place = Path(tempfile.mkdtemp(prefix="pgdrill-badinput-", dir="/var/lib"))
    copy = Checkout(place)
    try:
        _copy_checkout(place / "checkout")
        if (cache_dir() / "uv").exists():  # spares downloads
            shutil.copytree(cache_dir() / "uv", place / "cache" / "uv", symlinks=True)
        subprocess.run(["chown", "-R", f"{NOBODY}:", place], check=True, timeout=60)
        place.chmod(0o755)
        copy.run("make", "venv", f"PYTHON={layouts.SYSTEM_PYTHON}", within=UP).succeeds()
        yield copy
        copy.pgdrill("down", within=DOWN).succeeds()
        assert leftovers(copy.state) == []
    finally:
        copy.pgdrill("down", within=DOWN)
        shutil.rmtree(place)


def _copy_checkout(target: Path) -> None:
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listing, cwd=ROOT, capture_output=True, check=True, timeout=30)
    for name in done.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def test_missing_package(checkout: Checkout) -> None:
    """A program that is not there is refused with the command that only root can run."""
    hidden = Path(layouts.POSTGRES_BIN)
    hide = ("unshare", "--mount", "sh", "-c", f'mount -t tmpfs none {hidden} && exec "$@"', "sh")
    checkout.pgdrill("up", wrapper=hide).refuses(
        ENVIRONMENT, "apt-get install postgresql-15`", "as root"
    )
    assert leftovers(checkout.state) == []


def test_works_without_mounts(checkout: Checkout) -> None:
    """Everything but the disk of a true size works; its loss is named, and can be made to fail."""
    checkout.run("make", "up", f"PYTHON={layouts.SYSTEM_PYTHON}", within=UP).succeeds()
    assert not [found for found in leftovers(checkout.state) if found.startswith("mount")]
    pytest_ = (".venv/bin/python", "-m", "pytest", "-m", "smoke", "-rs")
    lost = "local lacks the capability real-disk-limit"

    suite = checkout.run(*pytest_, within=120).succeeds()
    assert "1 skipped" in suite.output, suite.output
    assert lost in suite.output, suite.output

    strict = checkout.run(*pytest_, "--require-capabilities", "-k", "true_size", within=120)
    assert strict.code == 1, strict.output
    assert f"Failed: {lost}" in strict.output, strict.output


def test_kind_without_a_container_engine(checkout: Checkout) -> None:
    """A user who may not start a container engine gets two remedies: start one, or use none."""
    nothing = ("env", "PATH=/nonexistent", "DOCKER_HOST=")
    up = (".venv/bin/python", "-m", "pgdrill", "up", "--platform=kind")
    runs = any(process.info["name"] == "dockerd" for process in psutil.process_iter(["name"]))
    why = ("dockerd runs", "mend that") if runs else ("needs a container engine", "start Docker")
    checkout.run(*nothing, *up, within=60).refuses(ENVIRONMENT, *why, "--platform=local")
    assert leftovers(checkout.place / "state" / "pgdrill" / "kind") == []
