"""A small load that publishes itself, and stalls that make its transactions late."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pgdrill.drills import background_load
from pgdrill.drills.publishing import JOB, LoadPublisher
from pgdrill.judge import budgets
from pgdrill.observe.pushgateway import Pushgateway
from pgdrill.platforms.base import Cluster, Platform
from pgdrill.settings import Settings
from pgdrill.waiting import eventually
from pgdrill.workload.pgbench_program import Program
from pgdrill.workload.pgbench_tail import Tail
from tests.alerts.measured import meanwhile

# Seconds at most: it ends with its scenario. Stalls until the page take some 20 s, good
# transactions until it is taken back some 30 s.
LASTS = 75
RATE = 100.0  # transactions/s
HELD, FREE = 1.0, 0.3  # seconds: most of what is due in these is late
GOOD_FOR = 4.0  # seconds; pgbench writes its log in blocks of some 2 s at this rate


@contextmanager
def published_load(
    program: Program, platform: Platform, cluster: Cluster, settings: Settings, directory: Path
) -> Iterator[Tail]:
    """Run the load for the time of the block, at most LASTS; yield its log as clients wrote it."""
    background_load.prepare(program, cluster, settings, lambda line: None)
    gateway = Pushgateway(platform.pushgateway_url, JOB)
    limit = budgets.P99.limit
    with LoadPublisher(gateway, Tail(directory, limit), f"{settings.run_id}-burn"):
        with background_load.offered(
            program, cluster, settings, directory, lasts=LASTS, rate=RATE
        ) as running:
            yield Tail(directory, limit)
        running.result()


@contextmanager
def stalls(cluster: Cluster) -> Iterator[None]:
    """Lock repeatedly what half of the mix needs: nothing is down, and users wait."""

    def lock(stop: threading.Event) -> None:
        with cluster.connect() as session:
            while not stop.wait(FREE):
                with session.transaction():
                    session.execute("LOCK TABLE bench.pgbench_branches")
                    stop.wait(HELD)

    with meanwhile(lock):
        yield


def bad_share(log: Tail) -> float:
    """Return the share of bad transactions since the load began, 0 to 1."""
    seen = log.tally()
    return seen.bad / seen.due if seen.due else 0.0


@contextmanager
def bad_instants(log: Tail) -> Iterator[list[float]]:
    """Note when (monotonic seconds) bad transactions came in the block; its begin is the first."""
    seen = [time.monotonic()]

    def follow(stop: threading.Event) -> None:
        before = log.tally().bad
        while not stop.wait(0.1):
            bad = log.tally().bad
            if bad != before:
                seen.append(time.monotonic())
            before = bad

    with meanwhile(follow):
        yield seen


def good_again(instants: list[float], *, within: float) -> None:
    """Wait until GOOD_FOR seconds had no bad transaction.

    Raises:
        DeadlineError: they go on.
    """
    eventually(
        "no bad transaction",
        lambda: int(time.monotonic() - instants[-1]),
        lambda seconds: seconds >= GOOD_FOR,
        within=within,
        every=0.1,
    )
