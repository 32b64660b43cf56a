"""What the steady load looks like on the dashboards."""

from collections.abc import Callable

from pgdrill.dashboards.catalogue import DASHBOARDS
from pgdrill.dashboards.snapshot import query_series
from pgdrill.observe.prometheus import Prometheus
from pgdrill.records import Bench


def test_the_load_fills_its_panels(
    require: Callable[[str], None], bench: Bench, prometheus: Prometheus
) -> None:
    """Every query of the panels that show the load finds data over the time of the load."""
    require("pushgateway")
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
