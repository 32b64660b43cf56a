"""Each alert comes for a real reason, in time, reaches a person, and goes when the reason goes."""

import time
from collections.abc import Callable

from pgdrill.engines.base import NoPrimaryError
from pgdrill.faults.base import healing
from pgdrill.judge import failover
from pgdrill.observe.alerts import AlertWatch, Expectation
from pgdrill.platforms.base import Cluster, Platform
from pgdrill.records import AlertLife, Seed
from pgdrill.rundir import RunDir
from pgdrill.settings import Settings
from pgdrill.workload.pgbench_program import Program
from tests.alerts.load import bad_share, last_bad, published_load, stalls
from tests.alerts.truth import (
    a_standby,
    archive_fails,
    behind,
    injected,
    instant_when,
    replay_blocked,
    until_paged,
    until_resolved,
    writing,
)

QUIET = 5.0  # seconds without an alert before each scenario: two rounds of scrape and evaluation
CALM = 20.0  # seconds to wait for such a window
LIMIT_LAG = 5.0  # seconds, as in infra/alerts/rules/replication.yaml
LIMIT_DISK = 0.80  # share, as in infra/alerts/rules/storage.yaml
LIMIT_BURN = 14.4 * 0.001  # share, as in infra/alerts/rules/slo.yaml

Judge = Callable[[Expectation, AlertLife], None]


def test_replication_lag(
    platform: Platform, cluster: Cluster, alert_watch: AlertWatch, judge_alert: Judge
) -> None:
    """A standby that stops replaying pages as lagging, and no longer once it has caught up."""
    standby = a_standby(platform)
    lag = Expectation("PgReplicationLagHigh", standby)
    with writing(cluster):
        quiet = alert_watch.quiet_at_last(lasting=QUIET, within=CALM)
        with replay_blocked(cluster, standby):
            late = instant_when("lag", lambda: behind(cluster, standby) > LIMIT_LAG, within=20)
            until_paged(alert_watch, lag, quiet)
        well = instant_when("no lag", lambda: behind(cluster, standby) < LIMIT_LAG, within=20)
        until_resolved(alert_watch, lag, quiet)
    scenario = f"replay blocked on {standby}"
    life = alert_watch.life(lag, scenario=scenario, quiet_from=quiet, condition=late, healed=well)
    judge_alert(lag, life)


def test_disk_filling(
    require: Callable[[str], None],
    platform: Platform,
    alert_watch: AlertWatch,
    judge_alert: Judge,
) -> None:
    """A volume filled to 85 % pages before it is full, and no longer once there is room."""
    require("real-disk-limit")
    standby = a_standby(platform)
    filling, volume = Expectation("PgDiskFilling", standby), platform.volume(standby)
    quiet = alert_watch.quiet_at_last(lasting=QUIET, within=CALM)
    try:
        volume.fill(0.85)
        full = instant_when("a full volume", lambda: volume.used() > LIMIT_DISK, within=20)
        until_paged(alert_watch, filling, quiet)
    finally:
        volume.release()
    empty = instant_when("room", lambda: volume.used() < LIMIT_DISK, within=20)
    until_resolved(alert_watch, filling, quiet)
    scenario = f"volume of {standby} filled to 85 %"
    life = alert_watch.life(
        filling, scenario=scenario, quiet_from=quiet, condition=full, healed=empty
    )
    judge_alert(filling, life)


def test_standby_away(platform: Platform, alert_watch: AlertWatch, judge_alert: Judge) -> None:
    """A standby that stays away pages as down, and as nothing worse, until it is back."""
    quiet = alert_watch.quiet_at_last(lasting=QUIET, within=CALM)
    with injected(platform.faults["standby_away"]) as (killed, gone):
        down = Expectation("PgMemberDown", killed)
        until_paged(alert_watch, down, quiet)
    back = instant_when(f"{killed} runs", lambda: _runs(platform, killed), within=120)
    until_resolved(alert_watch, down, quiet)
    worse = alert_watch.when(Expectation("PgNoPrimary"), "pending", quiet)
    assert worse is None, "the primary was thought lost although only a standby was"
    scenario = f"{killed} killed, kept away"
    life = alert_watch.life(down, scenario=scenario, quiet_from=quiet, condition=gone, healed=back)
    judge_alert(down, life)


# Before the long outage: what that one leaves firing would have to be waited for here.
def test_short_outage(platform: Platform, alert_watch: AlertWatch, judge_alert: Judge) -> None:
    """A fail-over of seconds, over before any `for` has passed, is reported all the same."""
    changed = Expectation("PgFailoverHappened")
    before = _timeline(platform)
    quiet = alert_watch.quiet_at_last(lasting=QUIET, within=CALM)
    with injected(platform.faults["primary_kill"]) as (killed, _):
        new = instant_when(
            "a new timeline", lambda: _timeline(platform) > before, within=_patience(platform)
        )
        until_paged(alert_watch, changed, quiet)
    until_resolved(alert_watch, changed, quiet)
    scenario = f"{killed} killed"
    life = alert_watch.life(changed, scenario=scenario, quiet_from=quiet, condition=new, healed=new)
    judge_alert(changed, life)


def test_frozen_primary(platform: Platform, alert_watch: AlertWatch, judge_alert: Judge) -> None:
    """A primary that hangs pages as no primary until another one serves, or it was restarted."""
    none = Expectation("PgNoPrimary")
    quiet = alert_watch.quiet_at_last(lasting=QUIET, within=CALM)
    with injected(platform.faults["primary_freeze"]) as (frozen, hung):
        until_paged(alert_watch, none, quiet)
        new = instant_when(
            "a primary that answers",
            lambda: bool(_primary(platform)),
            within=_patience(platform),
        )
        until_resolved(alert_watch, none, quiet)
    scenario = f"{frozen} frozen"
    life = alert_watch.life(none, scenario=scenario, quiet_from=quiet, condition=hung, healed=new)
    judge_alert(none, life)


def test_operator_away(platform: Platform, alert_watch: AlertWatch, judge_alert: Judge) -> None:
    """What would fail the cluster over pages when it is away, before it is missed, until back.

    Patroni's primary cannot keep its lease without its store, and steps down some 5 s later: there
    PgNoPrimary may follow. CNPG's primary works on: nothing worse may be seen.
    """
    down = Expectation("PgOperatorDown")
    quiet = alert_watch.quiet_at_last(lasting=QUIET, within=CALM)
    with injected(platform.faults["operator_away"]) as (away, gone):
        until_paged(alert_watch, down, quiet)
    back = time.monotonic()
    until_resolved(alert_watch, down, quiet)
    if platform.engine.name != "patroni":
        worse = alert_watch.when(Expectation("PgNoPrimary"), "pending", quiet)
        assert worse is None, "the primary was thought lost although only the operator was"
    scenario = f"{away} away"
    life = alert_watch.life(down, scenario=scenario, quiet_from=quiet, condition=gone, healed=back)
    judge_alert(down, life)


def test_archive_away(
    require: Callable[[str], None],
    platform: Platform,
    cluster: Cluster,
    alert_watch: AlertWatch,
    judge_alert: Judge,
) -> None:
    """An archive that takes no WAL pages, though no client notices, until it takes it again."""
    require("backup")
    primary = platform.engine.primary().name
    failing = Expectation("PgArchiveFailing", primary)
    quiet = alert_watch.quiet_at_last(lasting=QUIET, within=CALM)
    fault = platform.faults["archive_away"]
    with healing(fault):
        fault.inject()
        failed = instant_when("a refused file", lambda: archive_fails(cluster), within=30)
        until_paged(alert_watch, failing, quiet)
    fault.verify_healed()
    stored = time.monotonic()
    until_resolved(alert_watch, failing, quiet)
    life = alert_watch.life(
        failing,
        scenario="the archive taken away",
        quiet_from=quiet,
        condition=failed,
        healed=stored,
    )
    judge_alert(failing, life)


def test_stalled_load(
    require: Callable[[str], None],
    program: Program,
    platform: Platform,
    healthy: Cluster,
    seeded: Seed,
    settings: Settings,
    run: RunDir,
    alert_watch: AlertWatch,
    judge_alert: Judge,
) -> None:
    """A load that waits for a lock pages as a burning budget, though nothing is down."""
    require("pushgateway")
    burn = Expectation("PgSloBurnFast")
    quiet = alert_watch.quiet_at_last(lasting=QUIET, within=CALM)
    with published_load(program, platform, healthy, settings, run.raw / "burn") as log:
        with stalls(healthy):
            burning = instant_when("a burn", lambda: bad_share(log) > LIMIT_BURN, within=30)
            until_paged(alert_watch, burn, quiet)
        well = last_bad(log, within=30)
        until_resolved(alert_watch, burn, quiet)
    scenario = "locks stall a load"
    life = alert_watch.life(
        burn, scenario=scenario, quiet_from=quiet, condition=burning, healed=well
    )
    judge_alert(burn, life)


def _runs(platform: Platform, member: str) -> bool:
    return any(m.name == member and m.running for m in platform.engine.members())


def _patience(platform: Platform) -> float:
    """Seconds for a fail-over; how long it may take is for the drill to judge, not for an alert."""
    return failover.patience(platform.engine.edition, platform.tuning_name)


def _primary(platform: Platform) -> str:
    """Name the member that answers as primary; '' while none does."""
    try:
        return platform.engine.primary().name
    except NoPrimaryError:
        return ""


def _timeline(platform: Platform) -> int:
    return max(m.timeline for m in platform.engine.members())
