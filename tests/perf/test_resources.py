"""What the load cost every member, as Prometheus saw it."""

import pytest

from pgdrill.observe.prometheus import METRICS, Prometheus, resource_series
from pgdrill.platforms.base import Cluster
from pgdrill.records import Bench


@pytest.mark.parametrize("resource", ["cpu", "memory", "disk write"])
def test_resources_of_every_member_are_known(
    cluster: Cluster, bench: Bench, prometheus: Prometheus, resource: str
) -> None:
    """Prometheus knows what the load cost every member, over the whole of the load."""
    end = bench.started_at + bench.duration
    series = resource_series(prometheus, {resource: METRICS[resource]}, bench.started_at, end)
    points = {one.member: len(one.points) for one in series}
    assert set(points) == set(cluster.members), f"{resource}: {points}"
    assert min(points.values()) >= bench.duration / 5 - 1, f"{resource} has holes: {points}"
    assert any(value > 0 for one in series for _, value in one.points), f"{resource} is all zero"
