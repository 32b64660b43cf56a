"""An alert that does not come must be missed."""

from collections.abc import Callable

import pytest

from pgdrill.drills.alerts import demand_declared, life_of
from pgdrill.drills.experiment import control_of
from pgdrill.drills.failover import DrillContext, observe_alerts, run_trials
from pgdrill.errors import BrokenEnvironmentError
from pgdrill.faults.catalogue import FAULTS
from pgdrill.judge import alerting, detection
from pgdrill.observe.alerts import AlertWatch
from pgdrill.observe.scenarios import ScenarioResult, ScenarioRunner
from pgdrill.platforms.base import HasRuleObjects, Platform
from pgdrill.records import Detection
from tests.alerts.actions import Scene, scenarios
from tests.alerts.trial_scenarios import Strikes
from tests.controls.control import Control
from tests.controls.inventory import breaks
from tests.controls.sabotage import rules_removed

MUTED = "PgDiskFilling"
UNSEEN = "PgFailoverHappened"


Alone = Callable[[str], ScenarioResult]


@pytest.fixture
def alone(drill_context: DrillContext, alert_watch: AlertWatch) -> Alone:
    """Run one alert scenario alone."""
    context = drill_context
    strikes = Strikes(context, frozenset(), {})
    scene = Scene(context.platform, context.cluster, context.settings, context.run, strikes)

    def play(name: str) -> ScenarioResult:
        chosen = [one for one in scenarios(scene) if one.name == name]
        with ScenarioRunner(alert_watch, chosen) as scenario_runner:
            return scenario_runner.result_of(name)

    return play


@breaks("condition-to-alert", "healed-to-resolved-page")
def test_muted_alert_is_broken(
    require_capability: Callable[[str], None],
    alone: Alone,
    alert_watch: AlertWatch,
    control: Control,
) -> None:
    """The disk-filling test fails when its alert is silenced."""
    require_capability("real-disk-limit")
    path = alert_watch.path(MUTED)
    ways = (alerting.fires(path), alerting.resolves(path))  # the resolution is not paged either
    with (
        control.must_be("broken", "alert silenced", *ways) as verdicts,
        alert_watch.alertmanager.silenced(MUTED),
    ):
        played = alone("disk_filling")
        assert played.life.firing, "never fired: then it is not the silence that keeps it away"
        alerting.judge(life_of(alert_watch, played), verdicts)


@breaks("fault-to-alert")
def test_fault_that_nobody_sees_is_broken(
    sabotaged: DrillContext, alert_watch: AlertWatch, control: Control
) -> None:
    """A drilled fault is missed when the only alert that must see it is silenced."""
    observer = observe_alerts(sabotaged, FAULTS["switchover"], alert_watch)
    assert observer, "nothing is monitored here"
    with (
        control.must_be("broken", "fault unseen", observer.promised[UNSEEN]) as verdicts,
        alert_watch.alertmanager.silenced(UNSEEN),
    ):
        found: list[Detection] = []
        run_trials(sabotaged, control_of(FAULTS["switchover"]), observer, [], found)
        detection.judge(found, observer.promised, verdicts)
    assert any(seen.alert == UNSEEN and seen.firing for seen in found[0].seen), (
        "never fired: then it is not the silence that keeps it away"
    )


def test_removed_rules_are_missed(
    require_capability: Callable[[str], None],
    platform: Platform,
    alone: Alone,
    alert_watch: AlertWatch,
) -> None:
    """The disk-filling test refuses to judge when the object of its rule was removed."""
    require_capability("pods")
    alert_watch.rule(MUTED)
    assert isinstance(platform, HasRuleObjects)
    with rules_removed(platform, alert_watch.prometheus, MUTED):
        with pytest.raises(BrokenEnvironmentError, match=f"no PrometheusRule object holds {MUTED}"):
            demand_declared(platform)
        with pytest.raises(BrokenEnvironmentError, match=f"has no rule {MUTED}"):
            alone("disk_filling")
