"""What holds of alerts that come early, late or never, and of faults that they see."""

from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from pgdrill.judge import alerting, detection
from pgdrill.judge.verdicts import BrokenBudgetError, Verdicts
from pgdrill.records import AlertLife, AlertPath, Budget, Detection, Seen
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
