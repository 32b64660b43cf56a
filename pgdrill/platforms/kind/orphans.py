"""What a killed run left: programs that still run, and unfinished files."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.platforms.lock import exclusive
from pgdrill.provision.commands import MARK, Say
from pgdrill.settings import cache_dir
from pgdrill.waiting import DeadlineError, eventually

POLITE = 5.0  # seconds until an orphan is killed; mmdebstrap removes its scratch files in one
UNFINISHED = (
    "programs/*/*.partial",
    "images/.making-*",
    "rootfs/.making-*",
    "manifests/*.partial",
    "collections/*.partial",
)
_GONE = (psutil.NoSuchProcess, psutil.ZombieProcess)


def sweep(state: Path) -> None:
    """End what a killed run on an installation left running.

    The caller holds the installation, so no other living run can have started any of it.

    Raises:
        BrokenEnvironmentError: something does not even obey SIGKILL.
    """
    family = {os.getpid(), *(p.pid for p in psutil.Process().children(recursive=True))}
    started = time.monotonic()

    def left() -> list[int]:
        found = [p for p in psutil.process_iter() if p.pid not in family and _marked(p, state)]
        for process in found:
            with suppress(*_GONE):
                process.terminate() if time.monotonic() - started < POLITE else process.kill()
        return [p.pid for p in found]

    try:
        eventually("the end of them", left, lambda found: not found, within=20, every=0.1)
    except DeadlineError:
        raise BrokenEnvironmentError(
            f"programs of a killed run do not end, pids {left()}: see `ps`, then try again"
        ) from None


def _marked(process: psutil.Process, state: Path) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return process.environ().get(MARK) == str(state)
    except (*_GONE, psutil.AccessDenied, OSError):
        return False


@contextmanager
def building(say: Say) -> Iterator[None]:
    """Hold the build cache, after its unfinished files are removed.

    Raises:
        BrokenEnvironmentError: another run builds, or the cache cannot be written to.
    """
    cache = cache_dir()
    with exclusive(cache / "build.lock", "the build cache", "PGDRILL_CACHE_DIR"):
        for pattern in UNFINISHED:
            for path in cache.glob(pattern):
                say(f"removing {path}: an earlier run did not finish it")
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        yield
