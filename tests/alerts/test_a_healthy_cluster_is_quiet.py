"""Alerts that cry without a reason are switched off by the people they wake."""

import re

from pgdrill.observe.alerts import AlertWatch
from pgdrill.observe.prometheus import Prometheus
from pgdrill.platforms.base import Cluster
from tests.alerts.truth import writing

# Longer than the longest `for` and twice the slowest round of scrape and evaluation.
QUIET = 20.0
# Series that a healthy cluster may lack, and why.
ABSENT = {
    "pgdrill:backup_age_seconds": "no backup is configured",
    "pgdrill_load_transactions_total": "published while a load runs",
}


def test_quiet_when_healthy(alert_watch: AlertWatch, cluster: Cluster) -> None:
    """A healthy cluster that takes writes raises no alert, not even a pending one."""
    with writing(cluster):
        alert_watch.quiet(lasting=QUIET)
    for series in ("pgdrill:member_up", "pgdrill:timeline", "pgdrill:replication_lag_seconds"):
        seen = alert_watch.prometheus.values(series)
        assert set(seen) == set(cluster.members), f"quiet, but {series} is of {sorted(seen)} only"


def test_no_alert_is_quiet_for_want_of_data(prometheus: Prometheus) -> None:
    """Every series that an alert reads exists: an alert on nothing would be quiet for ever."""
    rules = prometheus.rules().values()
    read = {name for rule in rules for name in re.findall(r"\bpgdrill\w*:?\w*", rule.query)}
    assert read > set(ABSENT), f"alerts read {sorted(read)}: a series of ABSENT is read by none"
    for name in sorted(read - set(ABSENT)):
        prometheus.values(f"count({name})")
