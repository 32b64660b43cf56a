"""Alert scenarios beside each other, over a real Prometheus and Alertmanager."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from pgdrill.drills.alerts import life_of
from pgdrill.faults.base import FaultNotRealError
from pgdrill.judge import alerting
from pgdrill.judge.verdicts import BrokenBudgetError, Verdicts
from pgdrill.observe.alerts import AlertWatch, Expectation, RunEndedError
from pgdrill.observe.scenarios import (
    EVERYTHING,
    Measurement,
    Scenario,
    ScenarioContext,
    ScenarioRunner,
    Thing,
)
from pgdrill.waiting import eventually
from tests.unit.monitoring_pair import Monitoring
from tests.unit.test_alerts import monitoring, watch

__all__ = ["monitoring", "watch"]  # fixtures

WITHIN = 20.0
NOTHING: frozenset[Thing] = frozenset()
ROLES: frozenset[Thing] = frozenset(("roles",))


@pytest.fixture
def pair(monitoring: Monitoring) -> Iterator[Monitoring]:
    """The conditions of the pair, none of which is left true."""
    yield monitoring
    monitoring.conditions.clear()


def _play(
    pair: Monitoring,
    alert: str,
    *,
    resolves: bool = True,
    acting: Callable[[], object] = lambda: None,
    watching: Callable[[], object] = lambda: None,
) -> Callable[[ScenarioContext], Measurement]:
    """Return a scenario's part that makes a condition true until its alert has paged."""

    def play(turn: ScenarioContext) -> Measurement:
        of = Expectation(alert)
        quiet = turn.quiet(lasting=0.3, within=WITHIN)
        began = time.monotonic()
        pair.conditions.add(alert)
        try:
            assert turn.watch.wait(of, "paged", since=quiet, within=WITHIN)
            acting()
        finally:
            if resolves:
                pair.conditions.discard(alert)
        healed = time.monotonic()
        turn.fault_healed()
        watching()
        turn.watch.wait(of, "resolved", since=quiet, within=WITHIN if resolves else 1)
        return Measurement(of, f"unit {alert}", quiet, began, healed)

    return play


def _scenario(
    name: str,
    alert: str,
    play: Callable[[ScenarioContext], Measurement],
    *,
    disturbs: frozenset[Thing] = NOTHING,
    needs: frozenset[Thing] = NOTHING,
    aftermath: tuple[str, ...] = (),
    held_back_by: tuple[str, ...] = (),
    alone: bool = False,
) -> Scenario:
    return Scenario(
        name, alert, play, disturbs, needs, frozenset(aftermath), frozenset(held_back_by), alone
    )


def test_what_fits_is_played_at_once_and_each_alert_has_its_own_cause(
    pair: Monitoring, watch: AlertWatch
) -> None:
    """Two scenarios act at the same time; each gets the life of its alert, and no other's."""
    both = threading.Barrier(2, timeout=WITHIN)
    chosen = [
        _scenario(name, alert, _play(pair, alert, acting=both.wait))
        for name, alert in (("one", "Brief"), ("other", "Loud"))
    ]
    with ScenarioRunner(watch, chosen) as scenario_runner:
        one, other = scenario_runner.result_of("one"), scenario_runner.result_of("other")
    assert (one.beside, other.beside) == (("other",), ("one",))
    for played, alert in ((one, "Brief"), (other, "Loud")):
        assert [seen.alert for seen in played.seen] == [alert]
        assert played.strangers == ()
        alerting.judge(life_of(watch, played), Verdicts(None))


def test_what_would_disturb_waits_until_the_other_is_over(
    pair: Monitoring, watch: AlertWatch
) -> None:
    """A scenario that disturbs what an open one needs begins after it, and so does a third."""
    said: list[str] = []
    chosen = [
        _scenario("first", "Brief", _play(pair, "Brief"), needs=ROLES),
        _scenario("second", "Loud", _play(pair, "Loud"), disturbs=EVERYTHING, needs=EVERYTHING),
        _scenario("third", "Brief", _play(pair, "Brief"), needs=ROLES, disturbs=ROLES),
    ]
    with ScenarioRunner(watch, chosen, said.append) as scenario_runner:
        first, second, third = map(scenario_runner.result_of, ("first", "second", "third"))
    assert first.ended < second.course.quiet
    assert second.ended < third.course.quiet
    assert (first.beside, second.beside, third.beside) == ((), (), ())
    assert said == [f"scenario {one.name} begins beside nothing else" for one in chosen]


def test_a_resolution_is_watched_while_the_next_scenario_runs(
    pair: Monitoring, watch: AlertWatch
) -> None:
    """A scenario that only watches disturbs nothing: the next one acts before the first is over."""
    acts = threading.Event()
    lookback = _play(pair, "Brief", watching=lambda: acts.wait(WITHIN))
    chosen = [
        _scenario("lookback", "Brief", lookback, disturbs=ROLES, needs=EVERYTHING - {"load"}),
        _scenario("load", "Loud", _play(pair, "Loud", acting=acts.set), needs=ROLES),
    ]
    with ScenarioRunner(watch, chosen) as scenario_runner:
        first, load = scenario_runner.result_of("lookback"), scenario_runner.result_of("load")
    assert first.course.healed < load.course.quiet < load.course.condition < first.ended
    assert (first.strangers, load.strangers) == ((), ())


def test_an_alert_that_stays_is_red_for_its_own_scenario_alone(
    pair: Monitoring, watch: AlertWatch
) -> None:
    """Of two in parallel, the one whose alert does not resolve is broken, by its name."""
    both = threading.Barrier(2, timeout=WITHIN)
    chosen = [
        _scenario("stays", "Loud", _play(pair, "Loud", acting=both.wait, resolves=False)),
        _scenario("goes", "Brief", _play(pair, "Brief", acting=both.wait)),
    ]
    with ScenarioRunner(watch, chosen) as scenario_runner:
        stays, goes = scenario_runner.result_of("stays"), scenario_runner.result_of("goes")
    alerting.judge(life_of(watch, goes), Verdicts(None))
    kept = Verdicts(None)
    with pytest.raises(BrokenBudgetError, match="Loud resolved"):
        alerting.judge(life_of(watch, stays), kept)
    assert [v.outcome for v in kept.given] == ["met", "met", "broken"]
    assert "not seen within" in kept.given[-1].note


def test_an_alert_that_is_nobodys_makes_all_invalid(pair: Monitoring, watch: AlertWatch) -> None:
    """An alert that no parallel scenario owns is named, and no verdict of any is met."""
    both = threading.Barrier(2, timeout=WITHIN)

    def strange() -> None:
        began = time.monotonic()
        pair.conditions.add("Muted")
        both.wait()
        watch.wait(Expectation("Muted"), "paged", since=began, within=WITHIN)

    chosen = [
        _scenario("one", "Brief", _play(pair, "Brief", acting=strange)),
        _scenario("other", "Loud", _play(pair, "Loud", acting=strange)),
    ]
    with ScenarioRunner(watch, chosen) as scenario_runner:
        played = [scenario_runner.result_of("one"), scenario_runner.result_of("other")]
    for one in played:
        kept = Verdicts(None)
        with pytest.raises(BrokenBudgetError, match="Muted came during"):
            alerting.judge(life_of(watch, one), kept)
        assert [v.outcome for v in kept.given] == ["invalid"] * 3
        assert {seen.alert for seen in one.seen} == {one.course.of.alert, "Muted"}


def test_what_a_scenario_alone_raises_is_its_own(pair: Monitoring, watch: AlertWatch) -> None:
    """A scenario alone is the one cause: other alerts are kept, and do not spoil it."""

    def and_more() -> None:
        pair.conditions.add("Muted")
        watch.wait(Expectation("Muted"), "firing", since=time.monotonic(), within=WITHIN)

    with ScenarioRunner(
        watch, [_scenario("one", "Brief", _play(pair, "Brief", acting=and_more))]
    ) as all_:
        played = all_.result_of("one")
    assert {seen.alert for seen in played.seen} == {"Brief", "Muted"}
    alerting.judge(life_of(watch, played), Verdicts(None))


def test_what_an_earlier_scenario_left_is_known_and_waited_for_where_it_matters(
    pair: Monitoring, watch: AlertWatch
) -> None:
    """An alert that outlasts its scenario does not hinder others, except one that needs it gone."""
    goes = threading.Event()

    def leave() -> None:
        pair.conditions.add("Loud")
        watch.wait(Expectation("Loud"), "firing", since=time.monotonic(), within=WITHIN)

    def gone() -> None:
        assert not goes.is_set()
        goes.set()
        pair.conditions.discard("Loud")

    chosen = [
        _scenario(
            "leaves",
            "Brief",
            _play(pair, "Brief", acting=leave),
            needs=EVERYTHING,
            aftermath=("Loud",),
        ),
        _scenario("indifferent", "Muted", _play(pair, "Muted", acting=gone), disturbs=ROLES),
        _scenario("held back", "Brief", _play(pair, "Brief"), held_back_by=("Loud",)),
    ]
    with ScenarioRunner(watch, chosen) as scenario_runner:
        leaves, other, held_back = map(
            scenario_runner.result_of, ("leaves", "indifferent", "held back")
        )
    assert leaves.ended < other.course.quiet
    assert other.beside == ("leaves",) or set(other.beside) == {"leaves", "held back"}
    assert other.strangers == ()
    assert held_back.course.quiet > other.course.condition
    for played in (leaves, other, held_back):
        alerting.judge(life_of(watch, played), Verdicts(None))


def test_an_error_is_raised_to_whom_it_concerns(pair: Monitoring, watch: AlertWatch) -> None:
    """A scenario that fails does so in its own test; one beside it is judged as ever."""

    def fail() -> None:
        raise LookupError("no such member")

    chosen = [
        _scenario("fails", "Brief", _play(pair, "Brief", acting=fail)),
        _scenario("works", "Loud", _play(pair, "Loud")),
    ]
    with ScenarioRunner(watch, chosen) as scenario_runner:
        with pytest.raises(LookupError, match="no such member"):
            scenario_runner.result_of("fails")
        alerting.judge(life_of(watch, scenario_runner.result_of("works")), Verdicts(None))


def test_a_run_that_ends_early_heals_and_begins_nothing(
    pair: Monitoring, watch: AlertWatch
) -> None:
    """An interruption ends all waits: what is broken is healed, what waits never begins."""
    begun: list[str] = []

    def never_paged(turn: ScenarioContext) -> Measurement:
        begun.append("open")
        with pair.condition("Loud"):
            turn.watch.wait(Expectation("Brief"), "paged", since=0, within=600)
        raise AssertionError("nobody ended the wait")

    def next_one(turn: ScenarioContext) -> Measurement:
        raise AssertionError("begun after the end")

    chosen = [
        _scenario("open", "Brief", never_paged, disturbs=ROLES),
        _scenario("next", "Brief", next_one, needs=ROLES),
    ]
    started = time.monotonic()

    def interrupted() -> None:
        with playing:
            eventually("the condition", lambda: "Loud" in pair.conditions, within=WITHIN)
            raise KeyboardInterrupt

    playing = ScenarioRunner(watch, chosen)
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert time.monotonic() - started < WITHIN
    assert begun == ["open"]
    assert pair.conditions == set()
    for name in ("open", "next"):
        with pytest.raises(RunEndedError):
            playing.result_of(name)


def test_what_acts_alone_waits_for_others_to_heal_and_lets_others_begin_when_it_has(
    pair: Monitoring, watch: AlertWatch
) -> None:
    """Nothing begins while a scenario acts that does so alone, whatever it disturbs."""
    acts = threading.Event()
    trial = _play(pair, "Brief", watching=lambda: acts.wait(WITHIN))
    chosen = [
        _scenario("before", "Loud", _play(pair, "Loud")),
        _scenario("trial", "Brief", trial, alone=True),
        _scenario("beside", "Loud", _play(pair, "Loud", acting=acts.set)),
    ]
    with ScenarioRunner(watch, chosen) as scenario_runner:
        before, trial_played, beside = map(scenario_runner.result_of, ("before", "trial", "beside"))
    assert before.course.healed < trial_played.course.quiet
    assert trial_played.course.healed < beside.course.quiet < trial_played.ended


def test_the_main_thread_works_for_a_scenario_while_it_waits(
    pair: Monitoring, watch: AlertWatch
) -> None:
    """A part that only the main thread can do is done there, and gives the scenario its result."""

    def play(turn: ScenarioContext) -> Measurement:
        struck = turn.in_main_thread(lambda: threading.current_thread().name)
        return replace(_play(pair, "Brief")(turn), scenario=f"struck by {struck()}")

    with ScenarioRunner(watch, [_scenario("one", "Brief", play)]) as scenario_runner:
        played = scenario_runner.result_of("one")
    assert played.course.scenario == f"struck by {threading.main_thread().name}"


def test_what_fails_in_front_ends_the_scenario_at_its_next_look(watch: AlertWatch) -> None:
    """A scenario does not wait for what a failed fault would have caused."""

    def fail() -> None:
        raise FaultNotRealError("nobody was hit")

    def play(turn: ScenarioContext) -> Measurement:
        turn.in_main_thread(fail)
        eventually("never", turn.check_running, lambda _: False, within=WITHIN, every=0.05)
        raise AssertionError("it went on")

    with ScenarioRunner(watch, [_scenario("one", "Brief", play)]) as scenario_runner:
        began = time.monotonic()
        with pytest.raises(FaultNotRealError, match="nobody was hit"):
            scenario_runner.result_of("one")
    assert time.monotonic() - began < WITHIN / 2


def test_ctrl_c_in_front_reaches_the_run(watch: AlertWatch) -> None:
    """An interruption of the main thread's part ends the run, and the scenario with it."""

    def interrupted() -> None:
        raise KeyboardInterrupt

    def play(turn: ScenarioContext) -> Measurement:
        turn.in_main_thread(interrupted)()
        raise AssertionError("it went on")

    with (
        pytest.raises(KeyboardInterrupt),
        ScenarioRunner(watch, [_scenario("one", "Brief", play)]) as scenario_runner,
    ):
        scenario_runner.result_of("one")


def test_what_a_scenario_beside_has_raised_is_not_counted_once_that_is_over(
    pair: Monitoring, watch: AlertWatch
) -> None:
    """A scenario that counts every alert leaves out those of others, whether open or over."""
    counted: list[Expectation] = []

    def counting(turn: ScenarioContext) -> Measurement:
        course = _play(pair, "Brief", watching=lambda: over.wait(WITHIN))(turn)
        counted.extend(turn.raised(course.quiet))
        return course

    over = threading.Event()
    chosen = [
        _scenario("counts", "Brief", counting, alone=True),
        _scenario("beside", "Loud", _play(pair, "Loud")),
    ]
    with ScenarioRunner(watch, chosen) as scenario_runner:
        scenario_runner.result_of("beside")
        over.set()
        scenario_runner.result_of("counts")
    assert [of.alert for of in counted] == ["Brief"]
