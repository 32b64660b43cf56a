"""The alert scenarios that this run selects, played beside each other as far as they fit."""

from collections.abc import Callable, Iterator

import pytest

from pgdrill import timeouts
from pgdrill.drills.alerts import demand_declared, life_of, open_watch
from pgdrill.drills.failover import DrillContext
from pgdrill.faults.catalogue import FAULTS
from pgdrill.judge import alerting
from pgdrill.judge.verdicts import Verdicts
from pgdrill.observe.events import EventLog
from pgdrill.observe.prometheus import Prometheus
from pgdrill.observe.scenarios import ScenarioResult, ScenarioRunner
from pgdrill.platforms.base import Cluster, HasRuleObjects, Platform, demand_healthy, wait_settled
from pgdrill.plugin.drill import Made
from pgdrill.progress import Reporter
from pgdrill.records import Detection
from pgdrill.rundir import RunDir
from pgdrill.settings import Settings
from pgdrill.workload.pgbench_program import Program
from tests.alerts.actions import REQUIRED, Scene, scenarios
from tests.alerts.trial_scenarios import Strikes


@pytest.fixture(scope="package")
def scenario_runner(
    platform: Platform,
    cluster: Cluster,
    prometheus: Prometheus,
    pgdrill_settings: Settings,
    run_directory: RunDir,
    event_log: EventLog,
    progress_reporter: Reporter,
    completed_trials: Made,
    request: pytest.FixtureRequest,
) -> Iterator[ScenarioRunner]:
    """Every scenario whose test was selected, each named as its test; the first one begins now."""
    names = {item.name for item in request.session.items}
    asked = {name.removeprefix("test_") for name in names}
    drilled = frozenset(name for name in FAULTS if f"test_fault[{name}]" in names)
    able = {name for name in asked if REQUIRED.get(name, frozenset()) <= platform.capabilities}
    program: Program | None = None
    if "stalled_load" in able:
        request.getfixturevalue("seeded")
        program = request.getfixturevalue("program")
    demand_healthy(platform.engine)
    wait_settled(platform.engine, within=timeouts.REDUNDANT_BEFORE)
    if isinstance(platform, HasRuleObjects):
        demand_declared(platform)
    context = DrillContext(platform, pgdrill_settings, run_directory, event_log, progress_reporter)
    scene = Scene(
        platform,
        cluster,
        pgdrill_settings,
        run_directory,
        Strikes(context, drilled, completed_trials),
        program,
    )
    chosen = [one for one in scenarios(scene) if one.name in able]
    with (
        open_watch(platform, prometheus, event_log) as watch,
        ScenarioRunner(watch, chosen, progress_reporter.line) as playing,
    ):
        yield playing


@pytest.fixture
def judge_scenario(
    scenario_runner: ScenarioRunner, verdicts: Verdicts, run_directory: RunDir
) -> Callable[[ScenarioResult], None]:
    """Keep an alert's life, and judge how fast it came and went."""

    def judge(played: ScenarioResult) -> None:
        life = life_of(scenario_runner.watch, played)
        run_directory.keep(life)
        run_directory.keep(_detection(played))
        alerting.judge(life, verdicts)

    return judge


def _detection(played: ScenarioResult) -> Detection:
    """Return what a scenario raised, its alert or another."""
    course = played.course
    return Detection(
        suite="alerts",
        fault=course.scenario,
        trial=1,
        target=course.of.member,
        at=course.condition,
        expected=(course.of.alert,),
        excused="",
        before=(),
        seen=played.seen,
    )
