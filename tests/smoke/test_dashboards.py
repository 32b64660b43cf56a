"""A dashboard with an empty panel is read as one on which all is well."""

import time

import pytest

from pgdrill.dashboards.catalogue import DASHBOARDS
from pgdrill.dashboards.panels import ABSENT, Dashboard, Panel
from pgdrill.dashboards.snapshot import query_series
from pgdrill.observe.prometheus import Prometheus
from pgdrill.platforms.base import Platform
from pgdrill.waiting import eventually

# Right after `up` a rate has to wait for as many scrapes as it looks back over.
RATES_KNOWN = 45.0  # seconds
LATELY = 10.0  # seconds: two scrapes where they are rarest


@pytest.mark.usefixtures("healthy")
@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.uid)
def test_no_panel_is_empty(
    platform: Platform, prometheus: Prometheus, dashboard: Dashboard
) -> None:
    """Every query of every panel finds data in Prometheus, but for what only a load, a firing
    alert or a configured backup can fill."""
    excused = {only for only in ABSENT if only not in platform.capabilities}
    wanted = [panel for _, panel in dashboard.panels() if panel.only not in excused]
    assert len(wanted) > len(dashboard.rows), f"{dashboard.uid} would prove next to nothing"

    def empty() -> list[str]:
        return [text for panel in wanted for text in _empty(prometheus, panel)]

    eventually(f"data in {dashboard.title}", empty, lambda e: not e, within=RATES_KNOWN)
    for _, panel in dashboard.panels():
        _empty(prometheus, panel)  # an excused query must be one that Prometheus accepts, too


def _empty(prometheus: Prometheus, panel: Panel) -> list[str]:
    """Return the queries of a panel that find nothing now.

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
