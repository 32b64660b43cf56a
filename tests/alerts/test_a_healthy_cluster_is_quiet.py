"""Alerts that cry without a reason are switched off by the people they wake."""

import re

from pgdrill.observe.alerts import AlertWatch
from pgdrill.observe.prometheus import Prometheus
from pgdrill.platforms.base import Cluster, Platform
from tests.alerts.measured import writing

# Longer than the longest `for` and twice the slowest round of scrape and evaluation.
QUIET = 20.0
LOADED = "pgdrill_load_transactions_total"  # published while a load runs
# What only a platform with this capability gives.
NEEDS = {
    "pgdrill:backups": "backup",
    "pgdrill:backup_age_seconds": "backup",
    "pgdrill:backup_failed": "backup",
    "pgdrill:archive_failing": "backup",
    "pgdrill:archive_waiting_bytes": "backup",
    "pgdrill:archive_used_ratio": "real-disk-limit",
    "pgdrill:failover_off": "processes",
    "pgdrill:way_in_writable": "processes",
}


def test_quiet_when_healthy(alert_watch: AlertWatch, cluster: Cluster) -> None:
    """A healthy cluster that takes writes raises no alert, not even a pending one."""
    with writing(cluster):
        before = alert_watch.switch.heartbeats
        alert_watch.quiet(lasting=QUIET)
    assert alert_watch.switch.heartbeats > before, "quiet, but a page would have reached nobody"
    for series in ("pgdrill:member_up", "pgdrill:timeline", "pgdrill:replication_lag_seconds"):
        seen = alert_watch.prometheus.values(series)
        assert set(seen) == set(cluster.members), f"quiet, but {series} is of {sorted(seen)} only"


def test_no_alert_is_quiet_for_want_of_data(platform: Platform, prometheus: Prometheus) -> None:
    """Every series that an alert reads exists: an alert on a missing series would never fire."""
    able = platform.capabilities
    absent = {LOADED, *(one for one, word in NEEDS.items() if not {word, "backup"} <= able)}
    rules = prometheus.rules().values()
    read = {name for rule in rules for name in re.findall(r"\bpgdrill\w*:?\w*", rule.query)}
    assert read > {LOADED, *NEEDS}, f"alerts read {sorted(read)}: one that is excused is not read"
    for name in sorted(read - absent):
        prometheus.values(f"count({name})")
