"""Watching alerts during a scenario, and judging the life of each."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from pgdrill.errors import BrokenEnvironmentError
from pgdrill.observe import rulefiles
from pgdrill.observe.alertmanager import Alertmanager
from pgdrill.observe.alerts import AlertWatch, Sighting
from pgdrill.observe.detection import OLD_ALERTS_GONE
from pgdrill.observe.events import EventLog
from pgdrill.observe.prometheus import NoDataError, Prometheus
from pgdrill.observe.scenarios import ScenarioResult
from pgdrill.platforms.base import HasRuleObjects, Platform
from pgdrill.records import AlertLife
from pgdrill.waiting import DeadlineError, eventually

# Seconds until the monitoring is ready: an exporter needs a scrape or two after its member is back,
# and an operator takes about 19 s to hand a new rule to Prometheus.
ABLE = 60.0


def wait_monitoring_ready(client: Prometheus, *, within: float = ABLE) -> None:
    """Wait until every target answers and every rule works, for at most within seconds.

    Raises:
        BrokenEnvironmentError: with each target that is down and each rule that fails.
    """
    with suppress(DeadlineError):
        eventually("monitoring", lambda: _failures(client), lambda a: not a, within=within)
        return
    raise BrokenEnvironmentError(
        f"monitoring at {client.url} does not work: {'; '.join(_failures(client))}:"
        " `make up` restarts what is down"
    )


@contextmanager
def open_watch(
    platform: Platform, prometheus: Prometheus, events: EventLog
) -> Iterator[AlertWatch]:
    """Watch every alert and receive every page in this block; it begins when no alert is left."""
    alertmanager = Alertmanager(platform.alertmanager_url)
    with AlertWatch(prometheus, alertmanager, event_recorder(events)) as watch:
        watch.settle(within=OLD_ALERTS_GONE)
        yield watch


def demand_declared(platform: HasRuleObjects) -> None:
    """Check that no rule was removed: Prometheus keeps a removed rule for a minute and more.

    Raises:
        BrokenEnvironmentError: which alerts no object contains.
    """
    missing = sorted(rulefiles.alerts().keys() - platform.declared_alerts())
    if missing:
        raise BrokenEnvironmentError(
            f"no PrometheusRule object holds {', '.join(missing)}: `make down up` declares them"
        )


def event_recorder(events: EventLog) -> Callable[[Sighting], object]:
    """Return a function that writes each sighting into the log of events."""
    return lambda seen: events.record(
        "alert", f"{seen.of.alert} {seen.stage}", seen.of.member, at=seen.at
    )


def life_of(watch: AlertWatch, played: ScenarioResult) -> AlertLife:
    """Return the record of an alert's life, complete for its judgement.

    It is no evidence if an alert of no scenario came in that time: its cause, and the alerts
    that it inhibited, are not known.
    """
    doubt = ""
    if played.strangers:
        doubt = (
            f"{', '.join(played.strangers)} came during {played.course.scenario}, in parallel"
            f" with {', '.join(played.beside)}: the cause is not known"
        )
    of = played.course.of
    return played.life.model_copy(
        update={
            "member": of.member,
            "path": watch.path(of.alert),
            "ended": played.ended,
            "doubt": doubt,
        }
    )


def _failures(client: Prometheus) -> list[str]:
    """Return which targets are down and which rules fail."""
    try:
        down = [f"target {name} is down ({why})" for name, why in client.down_targets().items()]
    except NoDataError as error:
        return [str(error)]
    rules = client.rules().values()
    sick = [f"rule {r.name} is {r.health}" for r in rules if r.health != "ok"]
    return down + sick if rules else [*down, "no rule is loaded"]
