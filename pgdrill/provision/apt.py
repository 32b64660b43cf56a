"""Debian's package manager serves one process at a time: wait for its holder, and name it."""

import fcntl
import os
import struct
from pathlib import Path

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.provision.commands import Say
from pgdrill.waiting import DeadlineError, eventually

# Which of them is held depends on what runs: apt-get update, apt-get install, dpkg.
LOCKS = ("/var/lib/dpkg/lock-frontend", "/var/lib/dpkg/lock", "/var/lib/apt/lists/lock")
FREE_WITHIN = 600.0  # seconds: unattended upgrades of a fresh machine took some minutes
_FLOCK = "hhqqi"  # struct flock of Linux: type, whence, start, length, pid


def wait_until_free(say: Say, *, within: float = FREE_WITHIN) -> None:
    """Wait until no other process uses apt or dpkg.

    Raises:
        BrokenEnvironmentError: another process does for more than within seconds; it is named.
    """
    held = holder()
    if not held:
        return
    say(f"waiting for {held}, at most {within:g} s")
    try:
        eventually("apt to be free", holder, lambda by: not by, within=within, every=1.0)
    except DeadlineError:
        raise BrokenEnvironmentError(
            f"{holder() or held} for more than {within:g} s: end that process, or run this again"
            " when it is over"
        ) from None


def holder() -> str:
    """Return the holder of one of the locks, '' where there is none or it cannot be read."""
    for name in LOCKS:
        pid = _holder(Path(name))
        if pid:
            return f"process {pid}{_named(pid)}, which holds {name}"
    return ""


def _holder(lock: Path) -> int:
    """Return the process that holds a lock, 0 for none."""
    try:
        with lock.open("rb") as file:
            asked = struct.pack(_FLOCK, fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
            kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, asked))
    except OSError:
        return 0
    return 0 if kind == fcntl.F_UNLCK else int(pid)


def _named(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    command = b" ".join(words[:3]).decode(errors="replace").strip()
    return f" ({command[:60]})" if command else ""
