"""A dashboard with an empty panel is read as one on which all is well."""

import time

import pytest

from pgdrill.dashboards.catalogue import DASHBOARDS
from pgdrill.dashboards.panels import ABSENT, Dashboard, Panel
from pgdrill.drills.snapshots import query_series
from pgdrill.observe.prometheus import Prometheus
from pgdrill.platforms.base import Platform
from pgdrill.waiting import eventually

# Right after `up` a rate has to wait for as many scrapes as it looks back over.
RATES_KNOWN = 45.0  # seconds
OF_VOLUMES = "pgdrill:disk_used_ratio"  # nothing to see where members share the one file system
LATELY = 10.0  # seconds: two scrapes where they are rarest


@pytest.mark.usefixtures("healthy")
@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.uid)
def test_no_panel_is_empty(
    platform: Platform, prometheus: Prometheus, dashboard: Dashboard
) -> None:
    """Every query of every panel finds data in Prometheus, but for what only a load, a firing
    alert, a configured backup or a volume of a true size can fill."""
    excused = {only for only in ABSENT if only not in platform.capabilities}
    wanted = [panel for _, panel in dashboard.panels() if panel.only not in excused]
    if "real-disk-limit" not in platform.capabilities:
        wanted = [p for p in wanted if all(OF_VOLUMES not in q.expr for q in p.queries)]
    assert len(wanted) > len(dashboard.rows), f"{dashboard.uid} would prove next to nothing"

    def empty() -> list[str]:
        return [text for panel in wanted for text in _empty(prometheus, panel)]

    eventually(f"data in {dashboard.title}", empty, lambda e: not e, within=RATES_KNOWN)
    for _, panel in dashboard.panels():
        _empty(prometheus, panel)  # an excused query must be one that Prometheus accepts, too


def _empty(prometheus: Prometheus, panel: Panel) -> list[str]:
    """Return the queries of a panel that find no data now.

    Raises:
        ValueError: Prometheus refuses one.
    """
    now = time.monotonic()
    found = []
    for query in panel.queries:
        series = query_series(prometheus, panel, query, now - LATELY, now)
        names = [one.member for one in series]
        assert len(names) == len(set(names)), f"{panel.title}: one name for two of {names}"
        if not series:
            found.append(f"{panel.title}: {query.expr}")
    return found
