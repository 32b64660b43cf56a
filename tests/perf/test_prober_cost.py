"""The prober itself: a measurement is worth no more than what it is measured with."""

from pgdrill.judge import budgets
from pgdrill.judge.verdicts import Verdicts
from pgdrill.platforms.base import Cluster
from pgdrill.workload import prober_cost

RATE = 500  # attempts/s, 20 of them each with a new connection
SECONDS = 15
ATTEMPTS = 1_000_000


def test_prober_is_on_time(healthy: Cluster, verdicts: Verdicts) -> None:
    """At 500 attempts a second the prober sends each one when it is due."""
    late = prober_cost.measure_schedule(healthy.conninfo(), RATE, SECONDS)
    verdicts.check(budgets.SCHEDULE_ERROR, late, f"{RATE} attempts/s for {SECONDS} s")


def test_prober_is_small(verdicts: Verdicts) -> None:
    """A million recorded attempts fit into the prober's share of memory."""
    used = prober_cost.measure_memory(ATTEMPTS)
    verdicts.check(budgets.PROBER_MEMORY, used, f"{ATTEMPTS:,} attempts")
