"""The shop's load during another activity, and the latency of its transactions in a span."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.platforms.base import Cluster
from pgdrill.records import Bench
from pgdrill.settings import Settings
from pgdrill.workload import pgbench, pgbench_log
from pgdrill.workload.pgbench_program import Program

Say = Callable[[str], None]

# Of so few clients, a closed loop would hide a stall: each one would wait, and count it once.
CLIENTS = 4
# Transactions/s: far below the capacity of two busy cores, so that it does not slow itself down.
RATE = 50.0
LASTS = 900  # seconds at most: it ends with the activity


class _EndedError(Exception):
    """The activity that the load accompanies has ended."""


@dataclass
class ShopLoad:
    """A load that runs or ran; its latencies can be read once it is over."""

    directory: Path
    # What a monotonic instant has to be increased by to be one of Unix time.
    offset: float = field(default_factory=lambda: time.time() - time.monotonic())

    def p99_ms(self, span: tuple[float, float]) -> float | None:
        """Return p99 of the transactions that were due in a span of monotonic seconds.

        It is infinite where more than 1 % got no answer; None where none was due.
        """
        files = sorted(self.directory.glob(f"{pgbench.LOG}.*"))
        if not files:
            return None
        log = pgbench_log.read(files)
        begins, ends = ((at + self.offset) * 1e6 for at in span)
        latency = log.latency_us[(log.due_us >= begins) & (log.due_us < ends)]
        if not latency.size:
            return None
        answered = np.sort(latency[latency >= 0])
        found = pgbench_log.percentile(answered, latency.size - answered.size, 990)
        return float("inf") if found is None else found / 1000


def prepare(program: Program, cluster: Cluster, settings: Settings, say: Say) -> None:
    """Make sure that the tables exist; their scale is the perf suite's, so that both share them."""
    pgbench.prepare(program, cluster.conninfo(), pgbench.scale_for(settings.clients), say)


def offer(
    program: Program,
    cluster: Cluster,
    settings: Settings,
    directory: Path,
    seconds: int,
    rate: float,
    on_progress: pgbench.OnProgress,
) -> Bench:
    """Run the load for so many seconds; its logs are left in directory.

    Raises:
        BrokenEnvironmentError: the tables are not there, or there was no load.
    """
    return pgbench.run(
        program,
        cluster.conninfo(),
        clients=CLIENTS,
        duration=seconds,
        rate=rate,
        directory=directory,
        scale=pgbench.scale_for(settings.clients),
        seed=settings.seed,
        calibration_tps=0,
        warm_up=0,
        on_progress=on_progress,
    )


@contextmanager
def offered(
    program: Program,
    cluster: Cluster,
    settings: Settings,
    directory: Path,
    *,
    lasts: int,
    rate: float,
) -> Iterator[Future[None]]:
    """Run the load for the time of the block, at most so many seconds.

    Yields a future; once the block is over, it has the error of a load that failed.
    """
    over = threading.Event()

    def look(second: float, tps: float, latency: float) -> None:
        if over.is_set():
            raise _EndedError

    def run() -> None:
        with suppress(_EndedError):
            offer(program, cluster, settings, directory, lasts, rate, look)

    with ThreadPoolExecutor(1, thread_name_prefix="load") as pool:
        running = pool.submit(run)
        try:
            yield running
        finally:
            over.set()


@contextmanager
def shop_load(
    program: Program, cluster: Cluster, settings: Settings, directory: Path, say: Say
) -> Iterator[ShopLoad]:
    """Run the load for the time of the block, at most LASTS; its tables have to be there.

    It ends early, with a message, where its tables or the server disappear.
    """
    load = ShopLoad(directory)
    with offered(program, cluster, settings, directory, lasts=LASTS, rate=RATE) as running:
        yield load
    try:
        running.result()
    except BrokenEnvironmentError as error:
        say(f"background load: {error}")
