"""The cost of an idle cluster: CPU by program, ended processes in one line.

python -m tests.idle [SECONDS] prints shares of one core over so many seconds, 60 by default. Run it
on a machine that does nothing else.
"""

import sys
import time
from collections import defaultdict

import psutil

from pgdrill.waiting import pause

SMALLEST = 0.3  # % of a core; what is below is summed up


def used() -> dict[int, tuple[str, float]]:
    """Return name and CPU seconds of every process, those of children that have ended apart."""
    found = {}
    for process in psutil.process_iter(["name", "cpu_times"]):
        times = process.info["cpu_times"]
        if times:
            found[process.pid] = (process.info["name"], times.user + times.system)
    return found


def busy() -> float:
    """Return the CPU seconds that this machine has worked since it started."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0))


def main(seconds: float) -> None:
    """Sample twice and print the difference."""
    me = psutil.Process().pid
    began, before, worked = time.monotonic(), used(), busy()
    pause(seconds)
    lasted, after, worked = time.monotonic() - began, used(), busy() - worked
    spent: dict[str, float] = defaultdict(float)
    for pid, (name, cpu) in after.items():
        if pid != me:
            spent[name] += cpu - before.get(pid, (name, 0.0))[1]
    spent["processes that have ended, interrupts"] = worked - sum(spent.values())
    most = sorted(spent.items(), key=lambda item: -item[1])
    shares = {name: 100 * cpu / lasted for name, cpu in most}
    small = sum(share for share in shares.values() if share < SMALLEST)
    for name, share in shares.items():
        if share >= SMALLEST:
            print(f"{name:40} {share:6.1f} %")
    print(f"{'the rest':40} {small:6.1f} %")
    cores = psutil.cpu_count() or 1
    print(f"{'all, of one core':40} {sum(shares.values()):6.1f} %")
    print(f"{f'all, of {cores} cores':40} {sum(shares.values()) / cores:6.1f} %")


if __name__ == "__main__":
    main(float(sys.argv[1]) if sys.argv[1:] else 60.0)
