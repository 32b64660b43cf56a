"""The sightings of a watch, for any history of alerts."""

import time
from collections import Counter
from itertools import pairwise
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from pgdrill.observe.alertmanager import Alertmanager
from pgdrill.observe.alerts import AlertWatch, Expectation, Sighting, Stage, alert_of
from pgdrill.observe.prometheus import ActiveAlert, AlertRule, Prometheus

NAMES = ("PgNoPrimary", "PgLag")
MEMBERS = ("", "pg-1")
STAGES: tuple[Stage, ...] = ("pending", "firing", "alertmanager", "paged", "resolved")
expectations = st.builds(Expectation, st.sampled_from(NAMES), st.sampled_from(MEMBERS))
looks = st.tuples(
    st.dictionaries(expectations, st.sampled_from(["pending", "firing"])),
    st.sets(expectations),
    st.lists(st.tuples(expectations, st.sampled_from(["paged", "resolved"])), max_size=2),
)
histories = st.lists(looks, min_size=1, max_size=8)
RULE = AlertRule("any", "critical", "up == 0", hold=1.0, evaluation=1.0, health="ok")
Look = tuple[dict[Expectation, str], set[Expectation], list[tuple[Expectation, str]]]


class Told:
    """A Prometheus and an Alertmanager at one moment, as this test chooses."""

    url = "http://history"
    group_wait = 1.0
    group_interval = 2.0

    def __init__(self) -> None:
        self.rule_states: dict[Expectation, str] = {}
        self.arrived: set[Expectation] = set()

    def scrape_interval(self) -> float:
        """Seconds."""
        return 1.0

    def rules(self) -> dict[str, AlertRule]:
        """Return both rules."""
        return dict.fromkeys(NAMES, RULE)


class TellingPrometheus(Told):
    """The rules' side."""

    def alerts(self) -> list[ActiveAlert]:
        """Return what is pending or firing."""
        return [ActiveAlert(of.alert, of.member, state) for of, state in self.rule_states.items()]


class TellingAlertmanager(Told):
    """The other side."""

    def alerts(self) -> set[tuple[str, str]]:
        """Return what has arrived."""
        return {(of.alert, of.member) for of in self.arrived}


def watched(history: list[Look]) -> tuple[AlertWatch, list[float], list[Sighting]]:
    """Let a watch look at each moment of a history; return it, its looks and its sightings."""
    prometheus, alertmanager = TellingPrometheus(), TellingAlertmanager()
    told: list[Sighting] = []
    watch = AlertWatch(
        cast(Prometheus, prometheus), cast(Alertmanager, alertmanager), told.append, pages=False
    )
    began = []
    for rules, arrived, pages in history:
        prometheus.rule_states, alertmanager.arrived = rules, arrived
        began.append(time.monotonic())
        watch._look()
        for of, status in pages:
            watch._note("paged" if status == "paged" else "resolved", of)
    return watch, began, told


def named(rules: dict[Expectation, str], arrived: set[Expectation]) -> tuple[str, ...]:
    """The alerts that are held at a moment, by name."""
    return tuple(sorted({str(of) for of in (*rules, *arrived)}))


@given(histories)
def test_what_was_held_at_an_instant_is_what_the_last_look_before_it_saw(
    history: list[Look],
) -> None:
    """At the start of the next look, and always after the last; before the first, nothing."""
    watch, began, _ = watched(history)
    for (rules, arrived, _), later in zip(history, [*began[1:], time.monotonic()], strict=True):
        assert watch.held(later) == named(rules, arrived)
    assert watch.held(began[0] - 1) == ()
    rules, arrived, _ = history[-1]
    assert watch.active() == sorted(
        [f"{of} {state}" for of, state in rules.items()] + [f"{of} alertmanager" for of in arrived]
    )


@given(histories)
def test_a_sighting_is_told_once_for_each_time_an_alert_enters_a_stage(
    history: list[Look],
) -> None:
    """Staying in a stage is no new sighting; sightings are reported as kept, in the same order."""
    watch, _, told = watched(history)
    assert told == watch.sightings
    assert [s.at for s in told] == sorted(s.at for s in told)
    seen = Counter((s.stage, s.of) for s in told)
    expected: Counter[tuple[str, Expectation]] = Counter()
    before: set[tuple[str, Expectation]] = set()
    for rules, arrived, pages in history:
        now = {(state, of) for of, state in rules.items()}
        now |= {("alertmanager", of) for of in arrived}
        expected.update(now - before)
        expected.update((status, of) for of, status in pages)
        before = now
    assert dict(seen) == dict(expected)


@given(histories, expectations, st.integers(0, 8))
def test_the_first_time_after_an_instant_is_the_earliest_sighting(
    history: list[Look], of: Expectation, place: int
) -> None:
    """Only of that stage; alerts raised after it are named once, the first to come first."""
    watch, began, told = watched(history)
    since = began[min(place, len(began) - 1)]
    for stage in STAGES:
        at = watch.when(of, stage, since)
        own = [s.at for s in told if (s.stage, s.of) == (stage, of) and s.at >= since]
        assert at == (own[0] if own else None)
    raised = watch.raised(since)
    later = [s.of for s in told if s.at >= since and s.stage != "resolved"]
    assert len(raised) == len(set(raised))
    assert set(raised) == set(later)
    assert all(later.index(a) < later.index(b) for a, b in pairwise(raised))


@given(histories, expectations)
def test_a_life_goes_on_in_its_own_order(history: list[Look], of: Expectation) -> None:
    """A page proves that the alert arrived, and its end does not end an earlier page."""
    watch, began, _ = watched(history)
    life = watch.life(
        of, scenario="made", quiet_from=began[0], condition=began[0], healed=began[-1]
    )
    assert (life.alert, life.severity, life.scenario) == (of.alert, "critical", "made")
    assert (life.quiet_from, life.condition, life.healed) == (began[0], began[0], began[-1])
    assert (life.scrape, life.evaluation, life.hold, life.group_wait) == (1, 1, 1, 1)
    assert (life.pending, life.firing) == (
        watch.when(of, "pending", began[0]),
        watch.when(of, "firing", began[0]),
    )
    proofs = (watch.when(of, "alertmanager", began[0]), life.paged)
    assert life.alertmanager == min((at for at in proofs if at is not None), default=None)
    assert life.paged == watch.when(of, "paged", began[0])
    if life.paged is None:
        assert life.resolved is None
    else:
        assert life.resolved == watch.when(of, "resolved", life.paged)


@given(expectations, st.sampled_from(["pending", "firing", "alertmanager", "paged"]))
def test_an_alert_is_found_again_in_what_is_written_of_it(of: Expectation, stage: str) -> None:
    """Its name, whatever the member and the stage."""
    assert alert_of(f"{of} {stage}") == alert_of(str(of)) == of.alert
    assert (f"({of.member})" in str(of)) == bool(of.member)
