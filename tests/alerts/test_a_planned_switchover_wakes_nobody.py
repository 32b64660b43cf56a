"""What somebody did on purpose is told, and wakes nobody."""

from pgdrill.judge.verdicts import Verdicts
from pgdrill.observe.alerts import AlertWatch, Expectation
from pgdrill.observe.detection import OLD_ALERTS_GONE
from pgdrill.platforms.base import Cluster, Platform, wait_healthy
from pgdrill.records import Budget
from tests.alerts.test_fires_and_resolves import CALM, QUIET, Judge
from tests.alerts.truth import injected, until_paged, until_resolved, writing

HEALTHY = 60.0  # seconds to be redundant again
NO_WAKING = Budget(
    name="alerts that wake somebody",
    limit=0,
    unit="alerts",
    better="lower",
    because="PgFailoverHappened is info, and holds back what follows from a moved role",
)


def test_planned_switchover(
    platform: Platform,
    cluster: Cluster,
    alert_watch: AlertWatch,
    judge_alert: Judge,
    verdicts: Verdicts,
) -> None:
    """A planned switchover is reported as information, and nothing more severe gets through."""
    changed = Expectation("PgFailoverHappened")
    quiet = alert_watch.quiet_at_last(lasting=QUIET, within=CALM)
    with injected(platform.faults["switchover"]) as (old, moved):
        until_paged(alert_watch, changed, quiet)
    wait_healthy(platform.engine, within=HEALTHY)
    until_resolved(alert_watch, changed, quiet)
    with writing(cluster):
        alert_watch.settle(within=OLD_ALERTS_GONE)
        alert_watch.quiet(lasting=QUIET)
    waking = [str(of) for of in alert_watch.raised(quiet) if _wakes(alert_watch, of, quiet)]
    scenario = f"{old} switched over, planned"
    life = alert_watch.life(
        changed, scenario=scenario, quiet_from=quiet, condition=moved, healed=moved
    )
    with verdicts.together():
        judge_alert(changed, life)
        verdicts.check(NO_WAKING, len(waking), scenario, ", ".join(waking))


def _wakes(watch: AlertWatch, of: Expectation, since: float) -> bool:
    """Whether an alert that is more than information got past Alertmanager."""
    arrived = watch.when(of, "alertmanager", since) or watch.when(of, "paged", since)
    return arrived is not None and watch.rule(of.alert).severity != "info"
