"""What alerts promise: how soon each reaches a person, and what must reach nobody."""

from collections.abc import Mapping

from pgdrill.judge.promises import total
from pgdrill.observe.alerts import AlertWatch
from pgdrill.observe.load import PUSHED_EVERY, TRANSACTIONS
from pgdrill.observe.prometheus import AlertRule
from pgdrill.records import Budget

MARGIN = 5.0  # seconds beyond the intervals; alerts read recorded series, hence the second one
WHY = "a second evaluation, a scrape that runs into its time-out, delivery"
CONDITION, RESOLVED, FAULT = "condition to alert", "healed to resolved page", "fault to alert"

NO_WAKING = Budget(
    name="alerts that wake somebody",
    limit=0,
    unit="alerts",
    better="lower",
    because="PgFailoverHappened is info, and holds back what follows from a moved role",
)
UNNOTICED = Budget(
    name="slowest write while the archive failed",
    limit=2,
    unit="s",
    better="lower",
    because="as when a standby is lost: no commit waits for the archive",
)


def nominal() -> tuple[Budget, ...]:
    """Return the promises that depend on the rules and intervals that run, without those."""
    names = (CONDITION, RESOLVED, FAULT)
    return tuple(
        total(name, {}, margin=MARGIN, why=f"beside all intervals: {WHY}") for name in names
    )


def fires(watch: AlertWatch, alert: str) -> Budget:
    """From the condition to a page, by the intervals that run.

    Raises:
        BrokenEnvironmentError: Prometheus has no such rule.
    """
    rule = watch.rule(alert)
    waits = {"for": rule.hold, "group_wait": watch.alertmanager.group_wait}
    return _through(watch, rule, CONDITION, waits)


def resolves(watch: AlertWatch, alert: str) -> Budget:
    """From healed to the page that says so, by the intervals that run.

    Raises:
        BrokenEnvironmentError: Prometheus has no such rule.
    """
    rule = watch.rule(alert)
    waits = {"look-back": rule.memory, "group_interval": watch.alertmanager.group_interval}
    return _through(watch, rule, RESOLVED, waits)


def _through(watch: AlertWatch, rule: AlertRule, name: str, waits: Mapping[str, float]) -> Budget:
    """Return the promise of the whole way: what each change of an alert passes, and its waits."""
    intervals = {
        "push": _pushed(rule),
        "scrape": watch.prometheus.scrape_interval(),
        "evaluation": rule.evaluation,
    }
    return total(name, {**intervals, **waits}, margin=MARGIN, why=WHY)


def _pushed(rule: AlertRule) -> float:
    """Return after how many seconds what an alert reads is at a gateway, to be scraped there."""
    return PUSHED_EVERY if TRANSACTIONS in rule.query else 0.0
