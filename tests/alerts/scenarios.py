"""Which live test proves which alert, and why an alert has none: the inventory reads this table."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Exemption:
    """Why an alert is proven by promtool alone."""

    reason: str


SCENARIOS: dict[str, str | Exemption] = {
    "PgReplicationLagHigh": "test_replication_lag",
    "PgDiskFilling": "test_disk_filling",
    "PgNoPrimary": "test_frozen_primary",
    "PgMemberDown": "test_standby_away",
    "PgFailoverHappened": "test_short_outage",
    "PgSynchronousStandbyMissing": Exemption(
        "needs every standby away at once; the platforms' faults hit one member at a time"
    ),
    "PgReplicationUnmeasured": Exemption(
        "needs a dead exporter beside a healthy member; no fault of the contract touches monitoring"
    ),
}
