"""The pace of this machine under a load: whether the database is slow, or its machine.

A virtual machine on a busy host is slow and looks idle, as the time of other guests need not be
counted as stolen. So a fixed piece of work is done each second, and its CPU time is measured.
"""

import threading
import time

import psutil

from pgdrill.observe.pressure import Pressure, RunQueue
from pgdrill.records import MachineSecond

EVERY = 1.0  # seconds
ROUNDS = 50_000  # of the work: 2 to 5 ms of CPU each second, less than a hundredth of a core


class MachineWatch:
    """Looks at this machine each second, for the time of a block."""

    def __init__(self) -> None:
        self._seen: list[MachineSecond] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="machine watch", daemon=True)

    def __enter__(self) -> "MachineWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(10 * EVERY)

    @property
    def seen(self) -> tuple[MachineSecond, ...]:
        """All samples so far, in their order."""
        return tuple(self._seen)

    def _watch(self) -> None:
        psutil.cpu_times_percent()  # the first one has nothing to compare with
        pressure, queue = Pressure(), RunQueue()
        while not self._ended.wait(EVERY):
            times = psutil.cpu_times_percent()._asdict()  # platforms differ in what they count
            shares = pressure.look()
            self._seen.append(
                MachineSecond(
                    at=time.monotonic(),
                    busy=100 - times["idle"] - times.get("iowait", 0.0),
                    stolen=times.get("steal", 0.0),
                    work_ms=_work(),
                    cpu_pressure=shares["cpu"],
                    io_pressure=shares["io"],
                    memory_pressure=shares["memory"],
                    run_queue=queue.look(),
                )
            )


def _work() -> float:
    """Do the fixed work; return the CPU time it took, ms: waiting for a CPU is not included."""
    before = time.thread_time_ns()
    total = 0
    for number in range(ROUNDS):
        total += number * number
    return (time.thread_time_ns() - before) / 1e6
