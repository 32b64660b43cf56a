"""The resources that the load took on every member, as Prometheus recorded them."""

from collections.abc import Callable

import pytest

from pgdrill.dashboards.catalogue import DASHBOARDS
from pgdrill.dashboards.shared import METRICS
from pgdrill.drills.snapshots import query_series
from pgdrill.observe.prometheus import Prometheus, resource_series
from pgdrill.platforms.base import Cluster
from pgdrill.records import Bench


@pytest.mark.parametrize("resource", ["cpu", "memory", "disk write"])
def test_resources_of_every_member_are_known(
    cluster: Cluster, bench: Bench, prometheus: Prometheus, resource: str
) -> None:
    """Prometheus has the load's resources of every member, over the whole of the load."""
    end = bench.started_at + bench.duration
    series = resource_series(prometheus, {resource: METRICS[resource]}, bench.started_at, end)
    points = {one.member: len(one.points) for one in series}
    assert set(points) == set(cluster.members), f"{resource}: {points}"
    assert min(points.values()) >= bench.duration / 5 - 1, f"{resource} has holes: {points}"
    assert any(value > 0 for one in series for _, value in one.points), f"{resource} is all zero"


def test_the_load_fills_its_panels(
    require_capability: Callable[[str], None], bench: Bench, prometheus: Prometheus
) -> None:
    """Every query of the panels that show the load finds data over the time of the load."""
    require_capability("pushgateway")
    end = bench.started_at + bench.duration
    fed = [p for dashboard in DASHBOARDS for _, p in dashboard.panels() if p.only == "load"]
    empty = {
        f"{panel.title}: {query.expr}"
        for panel in fed
        for query in panel.queries
        if not query_series(prometheus, panel, query, bench.started_at, end)
    }
    assert fed, "no panel shows the load"
    assert not empty, f"no data over {bench.duration:g} s of load: {sorted(empty)}"
