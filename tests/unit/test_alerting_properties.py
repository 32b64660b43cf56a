"""What holds of alerts that come early, late or never, and of faults that they see."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgdrill.judge import alerting, detection
from pgdrill.judge.verdicts import BrokenBudgetError, Verdicts
from pgdrill.records import AlertLife, AlertPath, Budget, Detection, Record, Seen, Verdict
from pgdrill.rundir import Records, RunDir
from tests.unit import fake_run

PATH = AlertPath(push=0, scrape=1, evaluation=1, hold=3, memory=0, group_wait=1, group_interval=2)
LIFE = fake_run.alerts()[0]
instants = st.none() | st.floats(0, 100)


@given(instants, instants, instants, instants, instants, st.booleans())
def test_an_alert_is_in_time_only_after_what_it_is_about(
    condition: float | None,
    arrived: float | None,
    paged: float | None,
    healed: float | None,
    resolved: float | None,
    doubt: bool,
) -> None:
    """What came before it is of something else; what never came is broken; doubt takes all."""
    life: AlertLife = LIFE.model_copy(
        update={
            "condition": condition,
            "alertmanager": arrived,
            "paged": paged,
            "healed": healed,
            "resolved": resolved,
            "path": PATH,
            "ended": 100.0,
            "doubt": "strangers" if doubt else "",
        }
    )
    verdicts = Verdicts(None)
    with suppress(BrokenBudgetError):
        alerting.judge(life, verdicts)
    spans = ((condition, arrived), (condition, paged), (healed, resolved))
    limits_of = (alerting.fires(PATH), alerting.fires(PATH), alerting.resolves(PATH))
    for (start, end), promise, verdict in zip(spans, limits_of, verdicts.given, strict=True):
        if doubt or start is None or (end is not None and end < start):
            assert verdict.outcome == "invalid"
        elif end is None:
            assert verdict.outcome == "broken"
        else:
            assert (verdict.outcome == "met") == (end - start <= promise.limit)


@given(instants, instants, st.sampled_from(sorted(alerting.FAILED_PRIMARY)), st.booleans())
def test_a_person_knows_of_a_failed_primary_within_half_a_minute_whatever_runs(
    condition: float | None, paged: float | None, alert: str, doubt: bool
) -> None:
    """Intervals that add up to minutes keep their own promise, and not this one."""
    slow = PATH.model_copy(update={"scrape": 60, "hold": 600})
    life: AlertLife = LIFE.model_copy(
        update={
            "alert": alert,
            "condition": condition,
            "alertmanager": paged,
            "paged": paged,
            "path": slow,
            "ended": 100.0,
            "doubt": "strangers" if doubt else "",
        }
    )
    verdicts = Verdicts(None)
    with suppress(BrokenBudgetError):
        alerting.judge(life, verdicts)
    (known,) = (v for v in verdicts.given if v.budget == alerting.KNOWN)
    if doubt or condition is None or (paged is not None and paged < condition):
        assert known.outcome == "invalid"
    else:
        in_time = paged is not None and paged - condition <= 30
        assert known.outcome == ("met" if in_time else "broken")


def test_each_stage_of_an_alert_is_judged_in_its_own_words() -> None:
    """The page of a critical alert, the log of information; of which member; when none came."""
    life = LIFE.model_copy(
        update={
            "alert": "PgNoPrimary",
            "member": "pg-1",
            "condition": 10.0,
            "alertmanager": 12.0,
            "paged": None,
            "logged": 9.5,
            "healed": 20.0,
            "resolved": 19.0,
            "path": PATH,
            "ended": 100.0,
        }
    )

    def said(one: AlertLife) -> list[tuple[str, str, float | None, str]]:
        verdicts = Verdicts(None)
        with suppress(BrokenBudgetError):
            alerting.judge(one, verdicts)
        about = {(v.about.alert, v.about.member) for v in verdicts.given}
        assert about == {(one.alert, one.member)}
        return [(v.budget.id, v.subject, v.observed, v.note) for v in verdicts.given]

    of = "PgNoPrimary(pg-1)"
    never = (float("inf"), "not seen within 90 s")
    early = (None, "came 1.0 s before the event that it reports")
    assert said(life) == [
        ("condition-to-alert", f"{of} at Alertmanager", 2, ""),
        ("condition-to-alert", f"{of} paged", *never),
        ("healed-to-resolved-page", f"{of} resolved", *early),
        ("failed-primary.person-knows", f"{of} paged", *never),
    ]
    info = life.model_copy(update={"alert": "PgMoved", "member": "", "severity": "info"})
    assert said(info) == [
        ("condition-to-alert", "PgMoved at Alertmanager", 2, ""),
        (
            "condition-to-alert",
            "PgMoved logged",
            None,
            "came 0.5 s before the event that it reports",
        ),
        ("healed-to-resolved-page", "PgMoved resolved", *early),
    ]
    assert said(info.model_copy(update={"condition": None}))[0][2:] == (None, "")
    assert {v[2:] for v in said(life.model_copy(update={"doubt": "strangers"}))} == {
        (None, "strangers")
    }
    at_once = life.model_copy(update={"alertmanager": 10.0, "resolved": 20.0})
    assert [v[2] for v in said(at_once)][::2] == [0, 0]
    # The healing of an operator takes seconds, and its metrics are back before it is available.
    while_healed = life.model_copy(update={"healing": 18.5})
    assert said(while_healed)[2][2:] == (0, "")
    assert said(life.model_copy(update={"healing": 19.0}))[2][2:] == (0, "")
    assert said(life.model_copy(update={"healing": 19.5}))[2][2:] == early
    assert said(while_healed.model_copy(update={"resolved": 23.0}))[2][2:] == (3, "")
    assert said(while_healed.model_copy(update={"resolved": None}))[2][2:] == (
        float("inf"),
        "not seen within 80 s",
    )
    with pytest.raises(ValueError, match=r"^PgMoved: its path to a person was not recorded$"):
        said(info.model_copy(update={"path": None}))


def test_the_path_of_an_alert_is_the_sum_of_its_intervals() -> None:
    """A page comes after the `for` and the group's wait, its end after the memory."""
    path = AlertPath(
        push=1, scrape=2, evaluation=4, hold=8, memory=16, group_wait=32, group_interval=64
    )
    why = f"margin ({alerting.WHY}) 5"
    assert alerting.fires(path).because == (
        f"push 1 + scrape 2 + evaluation 4 + for 8 + group_wait 32 + {why}"
    )
    assert alerting.resolves(path).because == (
        f"push 1 + scrape 2 + evaluation 4 + look-back 16 + group_interval 64 + {why}"
    )
    assert [(one.id, one.because) for one in alerting.nominal()] == [
        (key, f"margin (beside all intervals: {alerting.WHY}) 5")
        for key in ("condition-to-alert", "healed-to-resolved-page", "fault-to-alert")
    ]


IN_TIME = Budget(name="fault to alert", limit=10, unit="s", better="lower", because="made up")
MEMBERS = ("", "pg-1", "pg-2")
ALERTS = ("PgNoPrimary", "PgOther")
came = st.builds(
    Seen,
    alert=st.sampled_from(ALERTS),
    member=st.sampled_from(MEMBERS),
    severity=st.just("critical"),
    pending=st.none(),
    firing=st.none(),
    alertmanager=st.none() | st.floats(0, 20),
)
raised = st.sampled_from([f"{alert}({m})" if m else alert for alert in ALERTS for m in MEMBERS])
stories = st.builds(
    Detection,
    suite=st.just("chaos"),
    fault=st.just("primary_kill"),
    trial=st.integers(1, 9),
    target=st.sampled_from(MEMBERS[1:]),
    at=st.just(0.0),
    expected=st.just(ALERTS[:1]),
    excused=st.just(""),
    before=st.lists(raised, max_size=2).map(tuple),
    seen=st.lists(came, max_size=3).map(tuple),
)


def noticed(found: list[Detection]) -> str:
    """Judge whether PgNoPrimary came within 10 s."""
    verdicts = Verdicts(None)
    with suppress(BrokenBudgetError):
        detection.judge(found, {ALERTS[0]: IN_TIME}, verdicts)
    (verdict,) = verdicts.given
    return verdict.outcome


@given(stories)
def test_one_fault_is_noticed_by_its_own_alert_alone(found: Detection) -> None:
    """In time, about the target or the cluster, and not raised before: then nothing is known."""
    own = (ALERTS[0], f"{ALERTS[0]}({found.target})")
    arrivals = [
        seen.alertmanager
        for seen in found.seen
        if seen.alert == ALERTS[0]
        and seen.member in ("", found.target)
        and seen.alertmanager is not None
    ]
    if any(name in own for name in found.before):
        assert noticed([found]) == "invalid"
    else:
        assert noticed([found]) == ("met" if arrivals and min(arrivals) <= 10 else "broken")


@given(st.lists(stories, min_size=1, max_size=4), stories)
def test_one_more_trial_never_makes_good_what_another_missed(
    found: list[Detection], more: Detection
) -> None:
    """It can only give evidence where there was none."""
    if noticed(found) == "broken":
        assert noticed([*found, more]) == "broken"
    if noticed([*found, more]) == "met":
        assert "broken" not in {noticed([one]) for one in [*found, more]}


def test_detections_of_a_run_are_judged_by_the_paths_that_it_kept(tmp_path: Path) -> None:
    """Those of the chaos suite, of drilled faults; runs of before have no paths."""
    trial = fake_run.trial("primary_kill", 1, 2.0, 10.0)
    here = (("PgNoPrimary", 2.0), ("PgFailoverHappened", 3.0))
    arrived = [fake_run.seen(alert, "critical", at) for alert, at in here]
    found = fake_run.detection("primary_kill", 1, *arrived).model_copy(
        update={"expected": tuple(alert for alert, _ in here), "paths": {a: PATH for a, _ in here}}
    )
    silent = found.model_copy(update={"trial": 2, "seen": (), "before": ("PgNoPrimary",)})
    foreign = found.model_copy(update={"suite": "alerts", "seen": ()})
    other = found.model_copy(update={"fault": "of a version before", "seen": ()})

    def judged(place: str, *kept: Record) -> list[Verdict]:
        run = RunDir.create(tmp_path / place)
        for one in kept:
            run.keep(one)
        verdicts = Verdicts(None)
        with suppress(BrokenBudgetError):
            detection.rejudge(Records(run), verdicts)
        return verdicts.given

    where = fake_run.fingerprint()
    given = judged("run", where, trial, foreign, other, found, silent)
    assert [(v.budget.limit, v.subject, v.observed, v.note) for v in given] == [
        (11, "primary_kill, PgNoPrimary", 2.3, "1 of 2 trials are evidence"),
        (21, "primary_kill, PgFailoverHappened", float("inf"), ""),
    ]
    assert {(v.budget.id, v.about.fault) for v in given} == {("fault-to-alert", "primary_kill")}
    assert [v.about.alert for v in given] == ["PgNoPrimary", "PgFailoverHappened"]
    assert given[1].budget.because == (
        "new primary 10 + scrape 1 + evaluation 1 + for 3 + group_wait 1"
        f" + margin ({alerting.WHY}) 5"
    )
    older = found.model_copy(update={"paths": {}})
    assert judged("older", where, trial, older) == []
    assert judged("none", where, trial) == []
    assert judged("nothing drilled", where, found) == []
