"""The alert scenarios that this run selects, played beside each other as far as they fit."""

from collections.abc import Callable, Iterator

import pytest

from pgdrill.drills.alerts import demand_declared, life_of, open_watch
from pgdrill.drills.failover import SETTLE, Bench
from pgdrill.faults.catalogue import FAULTS
from pgdrill.judge import alerting
from pgdrill.judge.verdicts import Verdicts
from pgdrill.observe.events import EventLog
from pgdrill.observe.overlap import Overlap, Played
from pgdrill.observe.prometheus import Prometheus
from pgdrill.platforms.base import Cluster, Platform, RuleObjects, demand_healthy, rested
from pgdrill.plugin.drill import Made
from pgdrill.progress import Reporter
from pgdrill.records import Detection
from pgdrill.rundir import RunDir
from pgdrill.settings import Settings
from pgdrill.workload.pgbench_program import Program
from tests.alerts.plays import REQUIRED, Scene, scenarios
from tests.alerts.strikes import Strikes


@pytest.fixture(scope="package")
def overlap(
    platform: Platform,
    cluster: Cluster,
    prometheus: Prometheus,
    settings: Settings,
    run: RunDir,
    events: EventLog,
    progress: Reporter,
    trials_made: Made,
    request: pytest.FixtureRequest,
) -> Iterator[Overlap]:
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
    rested(platform.engine, within=SETTLE)
    if isinstance(platform, RuleObjects):
        demand_declared(platform)
    bench = Bench(platform, cluster, settings, run, events, progress)
    scene = Scene(platform, cluster, settings, run, Strikes(bench, drilled, trials_made), program)
    chosen = [one for one in scenarios(scene) if one.name in able]
    with (
        open_watch(platform, prometheus, events) as watch,
        Overlap(watch, chosen, progress.line) as playing,
    ):
        yield playing


@pytest.fixture
def judge_played(overlap: Overlap, verdicts: Verdicts, run: RunDir) -> Callable[[Played], None]:
    """Keep an alert's life, and judge how fast it came and went."""

    def judge(played: Played) -> None:
        life = life_of(overlap.watch, played)
        run.keep(life)
        run.keep(_detection(played))
        alerting.judge(life, verdicts)

    return judge


def _detection(played: Played) -> Detection:
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
