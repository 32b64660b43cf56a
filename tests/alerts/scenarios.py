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
    "PgTwoPrimaries": "test_two_primaries",
    "PgCommitsWait": "test_commits_wait",
    "PgOperatorDown": "test_operator_away",
    "PgArchiveFailing": "test_archive_away",
    "PgArchiveLagging": Exemption(
        "needs 272 MiB of WAL behind an archive that hangs: minutes of load"
    ),
    "PgArchiveFilling": "test_archive_filling",
    "PgBackupFailed": "test_backup_failed",
    "PgBackupMissing": "test_backups_gone",
    "PgBackupStale": Exemption("26 h cannot be waited for in a drill"),
    "PgSloBurnFast": "test_stalled_load",
    "PgSloBurnSlow": Exemption(
        "the arithmetic of PgSloBurnFast with a lower limit and a longer window"
    ),
    "PgSynchronousStandbyMissing": Exemption(
        "needs every standby away at once; the platforms' faults hit one member at a time"
    ),
    "PgReplicationUnmeasured": Exemption(
        "the dead exporter of PgSourceDown, by its member: on the platforms each has one of its own"
    ),
    "PgWatchdog": "test_watchdog",
    "PgFailoverOff": "test_failover_off",
    "PgSourceDown": "test_source_gone",
    "PgConnectionsNearLimit": "test_connections_near_limit",
    "PgVacuumHeldBack": "test_forgotten_transaction",
    "PgNoNewSession": "test_no_new_session",
    "PgWayInDown": "test_way_in_down",
    "PgCrashLoop": "test_crash_loop",
}
