"""The instruments themselves: a measurement is worth no more than what it is measured with."""

import pytest

from pgdrill.judge import budgets
from pgdrill.judge.verdicts import Verdicts
from pgdrill.observe.prometheus import Prometheus, resource_series
from pgdrill.platforms.base import Cluster, Platform
from pgdrill.records import Bench
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


@pytest.mark.parametrize("resource", ["cpu", "memory", "disk write"])
def test_resources_of_every_member_are_known(
    platform: Platform, cluster: Cluster, bench: Bench, prometheus: Prometheus, resource: str
) -> None:
    """Prometheus knows what the load cost every member, over the whole of the load."""
    selectors = {
        metric: query
        for metric, query in platform.metric_selectors().items()
        if metric.startswith(f"{resource} [")
    }
    end = bench.started_at + bench.duration
    series = resource_series(prometheus, selectors, bench.started_at, end)
    points = {one.member: len(one.points) for one in series}
    assert set(points) == set(cluster.members), f"{resource}: {points}"
    assert min(points.values()) >= bench.duration / 5 - 1, f"{resource} has holes: {points}"
    assert any(value > 0 for one in series for _, value in one.points), f"{resource} is all zero"
