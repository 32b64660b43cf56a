"""An alert that does not come must be missed."""

from collections.abc import Callable

from fixtures.monitoring import judge_life
from pgdrill.observe.alerts import AlertWatch, Expectation
from pgdrill.platforms.base import Platform
from pgdrill.records import AlertLife
from tests.alerts import test_fires_and_resolves as alerts
from tests.controls.control import Control

MUTED = "PgDiskFilling"


def test_muted_alert_is_broken(
    require: Callable[[str], None], platform: Platform, alert_watch: AlertWatch, control: Control
) -> None:
    """The disk-filling test fails when somebody has silenced its alert."""
    fires = alert_watch.fire_budget(MUTED)
    with (
        control.must_be("broken", "alert silenced", fires) as verdicts,
        alert_watch.alertmanager.silenced(MUTED),
    ):

        def judge(of: Expectation, life: AlertLife) -> None:
            assert life.firing, "never fired: then it is not the silence that keeps it away"
            judge_life(alert_watch, verdicts, of, life)

        alerts.test_disk_filling(require, platform, alert_watch, judge)
