"""The time that processes wait for this machine; only Linux counts it."""

import os
import time
from pathlib import Path

import psutil

PRESSURE = Path("/proc/pressure")
RESOURCES = ("cpu", "io", "memory")
PROGRAM = b"postgres"  # the kernel's name of every PostgreSQL process, in containers as well
MOST_READ = 256  # bytes of a file in /proc; the values are in its first line
Reading = tuple[float, int | None]  # monotonic seconds, and a total in microseconds


class Pressure:
    """Shares of time in which some process waited for a resource, from one look to the next."""

    def __init__(self) -> None:
        self._before = self._totals()

    def look(self) -> dict[str, float | None]:
        """Return the share of each resource since the look before, %; None: not available."""
        before, now = self._before, self._totals()
        self._before = now
        return {name: _share(before[name], now[name]) for name in RESOURCES}

    @staticmethod
    def _totals() -> dict[str, Reading]:
        return {name: (time.monotonic(), _total(PRESSURE / name)) for name in RESOURCES}


class RunQueue:
    """Time in which processes of PostgreSQL were ready to run and waited for a CPU."""

    def __init__(self) -> None:
        self._names: dict[int, bool] = {}  # process id -> whether it is of PostgreSQL
        self._at = time.monotonic()
        self._before = self._waited()

    def look(self) -> float | None:
        """Return seconds of it per second since the look before; None: not available.

        The waits of a process between the last look and its end are missing.
        """
        began, before = self._at, self._before
        self._at, self._before = time.monotonic(), self._waited()
        if not self._before:
            return None
        # (a number may have been given to another process, which has waited less)
        grown = sum(max(0, now - before.get(pid, 0)) for pid, now in self._before.items())
        return grown / 1e9 / (self._at - began) if before and self._at > began else None

    def _waited(self) -> dict[int, int]:
        """Return nanoseconds by process."""
        known = self._names
        # A name is read once: reading those of a whole host each second would cost more than this.
        self._names = {pid: known[pid] if pid in known else _is_ours(pid) for pid in psutil.pids()}
        found = {pid: _delay(pid) for pid, ours in self._names.items() if ours}
        return {pid: delay for pid, delay in found.items() if delay is not None}


def _share(before: Reading, now: Reading) -> float | None:
    (since, old), (until, new) = before, now
    if old is None or new is None or until <= since:
        return None
    # The kernel adds up at its own moments: a second may show a little more than there was.
    return min(100.0, 100 * (new - old) / 1e6 / (until - since))


def _total(path: Path) -> int | None:
    """Return the microseconds of 'some' in a file of /proc/pressure; None: no such line."""
    # Some avg10=0.12 avg60=0.05 avg300=0.01 total=2947975200
    words = _read(str(path)).partition(b"\n")[0].split()
    total = words[-1] if words and words[0] == b"some" else b""
    return int(total[6:]) if total.startswith(b"total=") else None


def _is_ours(pid: int) -> bool:
    return _read(f"/proc/{pid}/comm").strip() == PROGRAM


def _delay(pid: int) -> int | None:
    words = _read(f"/proc/{pid}/schedstat").split()
    # Time on a CPU, time waiting for one, turns; all zero where the kernel does not count.
    return int(words[1]) if len(words) == 3 and words[0] != b"0" else None


def _read(path: str) -> bytes:
    """Return the content of a file of /proc; '' where it is missing or the kernel refuses it."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return b""
    try:
        return os.read(descriptor, MOST_READ)
    except OSError:
        return b""
    finally:
        os.close(descriptor)
