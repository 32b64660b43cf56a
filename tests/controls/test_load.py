"""A load with a server that stalls or dies must not look good."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pgdrill.drills import background_load
from pgdrill.drills.load import objectives_twice
from pgdrill.drills.publishing import JOB, LoadPublisher
from pgdrill.faults.base import healing
from pgdrill.judge import budgets, slos
from pgdrill.judge.bench import bad_transactions, p99, reality
from pgdrill.judge.verdicts import Verdicts
from pgdrill.observe.load import commits
from pgdrill.observe.prometheus import Prometheus
from pgdrill.observe.pushgateway import Pushgateway
from pgdrill.platforms.base import Cluster, Platform
from pgdrill.records import Bench, Seed
from pgdrill.rundir import RunDir
from pgdrill.settings import Settings
from pgdrill.waiting import pause
from pgdrill.workload import pgbench
from pgdrill.workload.pgbench_program import Program
from pgdrill.workload.pgbench_tail import Tail, Tally
from tests.controls.control import Control
from tests.controls.inventory import breaks

DURATION = 12  # seconds
RATE = 100.0  # transactions/s
STRIKES_AT = 4  # seconds into the run
WASTED = 0.1  # seconds of CPU at each push, one every 2 s
STALL = 2.5  # seconds: a fifth of all transactions is due in it, and answered too late


@dataclass
class Once:
    """An action in the middle of a run, called with every second of it."""

    strike: Callable[[], object]
    done: bool = False

    def __call__(self, second: float, tps: float, milliseconds: float) -> None:
        """Act when it is time; pgbench's output can wait meanwhile."""
        if second >= STRIKES_AT and not self.done:
            self.done = True
            self.strike()


@pytest.fixture
def directory(run_directory: RunDir, request: pytest.FixtureRequest) -> Path:
    """The directory of the logs of this test's load."""
    return run_directory.path / "controls" / str(request.node.name)


@pytest.fixture
def load_struck_by(
    program: Program, healthy: Cluster, seeded: Seed, pgdrill_settings: Settings, directory: Path
) -> Callable[[Callable[[], object]], Bench]:
    """Run a short load with a sabotage in the middle of it."""
    background_load.prepare(program, healthy, pgdrill_settings, lambda line: None)

    def load(strike: Callable[[], object]) -> Bench:
        once = Once(strike)
        bench = background_load.offer(
            program, healthy, pgdrill_settings, directory, DURATION, RATE, once
        )
        assert once.done, "the load was over before the sabotage"
        return bench

    return load


Load = Callable[[Callable[[], object]], Bench]


@breaks("pgbench-exit-status", "aborted-clients", "answered-load", "bad-transactions")
def test_dead_server_is_no_good_load(
    platform: Platform, load_struck_by: Load, control: Control
) -> None:
    """A load with a server killed half-way has no percentiles and breaks every other promise."""
    with killed(platform) as kill:
        bench = load_struck_by(kill)
    sabotage = "server killed under pgbench"
    with control.must_be("invalid", sabotage, budgets.P99) as verdicts:
        check(verdicts, bench)
    claims = (*reality(bench), bad_transactions(bench))
    with control.must_be("broken", sabotage, *(c.budget for c in claims)) as verdicts:
        check(verdicts, bench)


@breaks("p99-latency")
def test_stall_is_in_the_percentiles(
    cluster: Cluster, load_struck_by: Load, control: Control
) -> None:
    """A short stall is charged to every transaction that was due in it, sent or not."""
    bench = load_struck_by(lambda: stall(cluster))
    with control.must_be("broken", f"load stalled for {STALL:g} s", budgets.P99) as verdicts:
        check(verdicts, bench)
    late = bench.scripts[0].late
    assert late > 3 * background_load.CLIENTS, (
        f"{late} late of {background_load.CLIENTS} clients: only those on their way counted"
    )


class Forgetful(Tail):
    """Keeps half of the bad transactions to itself, and wastes CPU."""

    def tally(self, unlogged: int = 0) -> Tally:
        """Count, and forget."""
        began = time.thread_time()
        whole = super().tally(unlogged)
        while time.thread_time() - began < WASTED:
            pass
        return replace(whole, bad=whole.bad // 2)


@breaks(
    "difference-of-totals",
    "difference-of-error-shares",
    "difference-of-commits",
    "told-commits-that-the-server-does-not-count",
    "cpu-of-the-publisher",
)
def test_load_that_prometheus_sees_otherwise_is_found_out(
    require_capability: Callable[[str], None],
    platform: Platform,
    cluster: Cluster,
    load_struck_by: Load,
    directory: Path,
    prometheus: Prometheus,
    control: Control,
) -> None:
    """Bad transactions that were not published, a load never published, one sent elsewhere."""
    require_capability("pushgateway")
    gateway = Pushgateway(platform.pushgateway_url, JOB)
    began = time.time()
    with LoadPublisher(gateway, Forgetful(directory, budgets.P99.limit), directory.name) as live:
        bench = load_struck_by(lambda: stall(cluster))
        ended = time.time()
        publication = live.settle(bench, prometheus)
    found = objectives_twice(bench, publication, prometheus)
    promised = (budgets.SAME_TOTAL, budgets.SAME_ERROR_SHARE)
    with control.must_be("broken", "half of the bad ones hidden", *promised) as verdicts:
        slos.judge(found, verdicts)
    costs = budgets.PUBLISHER_COST
    with control.must_be("broken", "a publisher that wastes its time", costs) as verdicts:
        cost = 100 * publication.cpu / publication.seconds
        verdicts.check(costs, cost, f"{publication.pushes} pushes")
    unseen = replace(publication, run="nobody")
    with control.must_be("invalid", "load not published", *promised, why="no data") as verdicts:
        slos.judge(objectives_twice(bench, unseen, prometheus), verdicts)
    elsewhere = commits(prometheus, "postgres", began, ended)
    told = pgbench.committed(directory, elsewhere.since)
    commits_found = slos.compare_commits(bench.clients, told, elsewhere)
    both = (commits_found.budget, budgets.UNCOUNTED_COMMITS)
    with control.must_be("broken", "another database counted", *both) as verdicts:
        slos.judge([commits_found], verdicts)


def stall(cluster: Cluster) -> None:
    """Hold a lock that half of the mix needs, for STALL seconds.

    A frozen member would be cut off by the load balancer, which is another sabotage.
    """
    with cluster.connect() as session, session.transaction():
        session.execute("LOCK TABLE bench.pgbench_branches")
        pause(STALL)


def check(verdicts: Verdicts, bench: Bench) -> None:
    """Judge a load as the perf suite does."""
    with verdicts.together():
        for claim in (p99(bench), bad_transactions(bench), *reality(bench)):
            verdicts.check(claim.budget, claim.observed, "pgbench", claim.note)


@contextmanager
def killed(platform: Platform) -> Iterator[Callable[[], object]]:
    """Yield what kills the primary; afterwards prove that it was hit, and heal it."""
    fault = platform.faults["primary_kill"]
    with healing(fault):
        yield fault.inject
        fault.verify_injected()
    fault.verify_healed()
