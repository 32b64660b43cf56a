"""A load whose server stalls or dies must not look good."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from pgdrill.judge import budgets
from pgdrill.judge.bench import bad_transactions, p99, reality
from pgdrill.judge.verdicts import Verdicts
from pgdrill.platforms.base import Cluster, Platform
from pgdrill.records import Bench, Seed
from pgdrill.rundir import RunDir
from pgdrill.settings import Settings
from pgdrill.waiting import pause
from pgdrill.workload import pgbench
from tests.controls.control import Control

DURATION, RATE = 12, 100.0  # seconds, transactions/s: far below what two busy cores can do
# So few that a closed loop, where each client waits and counts once, would see 4 slow ones of 1200.
CLIENTS = 4
STRIKES_AT = 4  # seconds into the run
STALL = 2.5  # seconds: a fifth of all transactions is due in it, and answered too late


@dataclass
class Once:
    """Something to be done in the middle of a run, told of every second of it."""

    strike: Callable[[], object]
    done: bool = False

    def __call__(self, second: float, tps: float, milliseconds: float) -> None:
        """Strike when it is time; pgbench's output can wait meanwhile."""
        if second >= STRIKES_AT and not self.done:
            self.done = True
            self.strike()


@pytest.fixture
def load_struck_by(
    healthy: Cluster, seeded: Seed, settings: Settings, run: RunDir
) -> Callable[[Callable[[], object]], Bench]:
    """Run a short load with a sabotage in the middle of it."""
    # The scale of the perf suite, so that its tables serve here too.
    scale = pgbench.scale_for(settings.clients)
    pgbench.prepare(healthy.conninfo(), scale, lambda line: None)

    def load(strike: Callable[[], object]) -> Bench:
        once = Once(strike)
        bench = pgbench.run(
            healthy.conninfo(),
            clients=CLIENTS,
            duration=DURATION,
            rate=RATE,
            directory=run.path / "controls" / "pgbench",
            scale=scale,
            seed=settings.seed,
            calibration_tps=0,
            warm_up=0,
            on_progress=once,
        )
        assert once.done, "the load was over before the sabotage"
        return bench

    return load


Load = Callable[[Callable[[], object]], Bench]


def test_dead_server_is_no_good_load(
    platform: Platform, load_struck_by: Load, control: Control
) -> None:
    """A load whose server is killed half-way has no percentiles and breaks every other promise."""
    with killed(platform) as kill:
        bench = load_struck_by(kill)
    sabotage = "server killed under pgbench"
    with control.must_be("invalid", sabotage, budgets.P99) as verdicts:
        check(verdicts, bench)
    claims = (*reality(bench), bad_transactions(bench))
    with control.must_be("broken", sabotage, *(c.budget for c in claims)) as verdicts:
        check(verdicts, bench)


def test_stall_is_in_the_percentiles(
    cluster: Cluster, load_struck_by: Load, control: Control
) -> None:
    """A short stall is charged to every transaction that was due in it, sent or not."""

    def stall() -> None:
        # A lock that half of the mix needs: a frozen member would be cut off by the load balancer,
        # which is another sabotage.
        with cluster.connect() as session, session.transaction():
            session.execute("LOCK TABLE bench.pgbench_branches")
            pause(STALL)

    bench = load_struck_by(stall)
    with control.must_be("broken", f"load stalled for {STALL:g} s", budgets.P99) as verdicts:
        check(verdicts, bench)
    late = bench.scripts[0].late
    assert late > 3 * CLIENTS, f"{late} late of {CLIENTS} clients: only those on their way counted"


def check(verdicts: Verdicts, bench: Bench) -> None:
    """Judge a load as the perf suite does."""
    with verdicts.together():
        for claim in (p99(bench), bad_transactions(bench), *reality(bench)):
            verdicts.check(claim.budget, claim.observed, "pgbench", claim.note)


@contextmanager
def killed(platform: Platform) -> Iterator[Callable[[], object]]:
    """Yield what kills the primary; afterwards prove that it was hit, and heal it."""
    fault = platform.faults["primary_kill"]
    try:
        yield fault.inject
        fault.verify_injected()
    finally:
        fault.heal()
    fault.verify_healed()
