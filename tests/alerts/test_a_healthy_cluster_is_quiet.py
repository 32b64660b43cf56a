"""Alerts that cry without a reason are switched off by the people they wake."""

from pgdrill.observe.alerts import AlertWatch
from pgdrill.platforms.base import Cluster
from tests.alerts.truth import writing

# Longer than the longest `for` and twice the slowest round of scrape and evaluation.
QUIET = 20.0


def test_quiet_when_healthy(alert_watch: AlertWatch, cluster: Cluster) -> None:
    """A healthy cluster that takes writes raises no alert, not even a pending one."""
    with writing(cluster):
        alert_watch.quiet(lasting=QUIET)
    for series in ("pgdrill:member_up", "pgdrill:timeline", "pgdrill:replication_lag_seconds"):
        seen = alert_watch.prometheus.values(series)
        assert set(seen) == set(cluster.members), f"quiet, but {series} is of {sorted(seen)} only"
