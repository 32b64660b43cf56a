"""A planned switchover is logged, and pages nobody."""

from collections.abc import Callable

from pgdrill.judge.alerting import NO_WAKING
from pgdrill.judge.verdicts import Verdicts
from pgdrill.observe.scenarios import ScenarioResult, ScenarioRunner


def test_planned_switchover(
    scenario_runner: ScenarioRunner,
    judge_scenario: Callable[[ScenarioResult], None],
    verdicts: Verdicts,
) -> None:
    """A planned switchover raises an alert of severity info, and nothing more severe."""
    played = scenario_runner.result_of("planned_switchover")
    with verdicts.together():
        judge_scenario(played)
        waking = played.course.waking
        verdicts.check(NO_WAKING, len(waking), played.course.scenario, ", ".join(waking))
