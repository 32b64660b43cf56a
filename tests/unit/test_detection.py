"""Who noticed: the promises about detection, their judgement, and the matrix of the report."""

import re
import time
from pathlib import Path

import pytest

from pgdrill.faults.catalogue import FAULTS, KIND, KUBE, LOCAL, PATRONI, Excused, FaultSpec
from pgdrill.judge import alerting
from pgdrill.judge import detection as promises
from pgdrill.judge.verdicts import BrokenBudgetError, Verdicts
from pgdrill.observe import rulefiles
from pgdrill.records import Budget, Detection, total
from pgdrill.report import splice, terminal
from pgdrill.report.detection import matrix
from pgdrill.waiting import pause
from tests.alerts.measured import instant_when
from tests.unit.fake_run import detection, detections, seen, trial, write_run

PROMISED = {
    "PgFailover": Budget(name="fault to alert", limit=10, unit="s", better="lower", because="sum")
}


@pytest.mark.parametrize("spec", FAULTS.values(), ids=FAULTS)
def test_every_fault_must_be_seen_or_is_excused(spec: FaultSpec) -> None:
    """Each fault names alerts that there are, or a reason; none is left undecided."""
    assert spec.alerts
    for wanted in spec.alerts.values():
        if isinstance(wanted, Excused):
            assert wanted.reason
        else:
            assert wanted
            assert set(wanted) <= rulefiles.alerts().keys()


def test_a_new_primary_is_announced_where_one_comes() -> None:
    """A primary that hangs is restarted in place by one version's settings, replaced by others'."""
    freeze = dict(FAULTS["primary_freeze"].alerts)
    assert freeze.pop(KIND) == ("PgNoPrimary",)
    for theirs in (KUBE, *PATRONI.values()):
        assert isinstance(freeze.pop(theirs), Excused), "a user's cluster has the user's alerts"
    assert set(freeze.values()) == {("PgNoPrimary", "PgFailoverHappened")}


def test_an_alert_about_the_new_primary_may_wait_for_it() -> None:
    """The bound of a failover alert begins with the new primary, any other with the fault."""
    fires = total("condition to alert", {"scrape": 2}, margin=8, why=alerting.WHY)
    alerts = {"PgNoPrimary": fires, "PgFailoverHappened": fires}
    within = promises.within(LOCAL, FAULTS["primary_freeze"], alerts)
    assert within["PgNoPrimary"].limit == 10
    assert within["PgFailoverHappened"].limit == 40
    assert within["PgFailoverHappened"].because.startswith("new primary 30 + scrape 2 + margin (")


def test_a_primary_that_still_answers_is_not_missed() -> None:
    """One that only its peers miss is there for Prometheus, until it is ended or steps down."""
    fires = {"PgNoPrimary": total("condition to alert", {"scrape": 2}, margin=8, why=alerting.WHY)}
    spec = FAULTS["primary_partition_peers"]
    late, soon = (promises.within(where, spec, fires)["PgNoPrimary"] for where in (KIND, LOCAL))
    assert (late.limit, soon.limit) == (35, 18)
    assert late.because.startswith("it still answers 25 + scrape 2 + margin (")


@pytest.mark.parametrize(
    ("found", "outcome"),
    [
        pytest.param([detection("f", 1, seen("PgFailover", "info", 9.7))], "met", id="in-time"),
        pytest.param([detection("f", 1, seen("PgFailover", "info", 9.8))], "broken", id="late"),
        pytest.param([detection("f", 1, seen("PgFailover", "info", None))], "broken", id="pending"),
        pytest.param([detection("f", 1, seen("PgOther", "info", 2))], "broken", id="another"),
        pytest.param([detection("f", 1)], "broken", id="nobody"),
        pytest.param(
            [detection("f", 1, seen("PgFailover", "info", 2, "pg-2"))], "broken", id="wrong-member"
        ),
        pytest.param(
            [detection("f", 1, seen("PgFailover", "info", 2)), detection("f", 2)],
            "broken",
            id="one-of-two",
        ),
    ],
)
def test_the_slowest_trial_is_judged(found: list[Detection], outcome: str) -> None:
    """An alert keeps its promise when it comes in every trial, in time, about the right member."""
    verdicts = Verdicts(None)
    if outcome == "met":
        promises.judge(found, PROMISED, verdicts)
    else:
        with pytest.raises(BrokenBudgetError, match=f"{outcome}: f, PgFailover"):
            promises.judge(found, PROMISED, verdicts)
    assert [v.outcome for v in verdicts.given] == [outcome]


def test_an_alert_that_was_raised_before_says_nothing() -> None:
    """A fault that comes while the alert is raised is not judged; without another, no evidence."""
    blind = detection("f", 2).model_copy(update={"before": ("PgFailover", "PgOther(pg-3)")})
    verdicts = Verdicts(None)
    promises.judge([detection("f", 1, seen("PgFailover", "info", 2)), blind], PROMISED, verdicts)
    assert verdicts.given[0].note == "1 of 2 trials are evidence"
    with pytest.raises(BrokenBudgetError, match="invalid: f, PgFailover"):
        promises.judge([blind], PROMISED, verdicts)


def test_a_trial_without_a_new_primary_owes_no_alert_about_one() -> None:
    """Restarted in place: excused and not judged; where another trial moved, that one is."""
    moved = trial("f", 1, 2.0, 10.0)
    still = moved.model_copy(update={"timeline_after": moved.timeline_before})
    assert promises.due(("PgNoPrimary", "PgFailoverHappened"), still) == ("PgNoPrimary",)
    assert promises.due(("PgFailoverHappened",), moved) == ("PgFailoverHappened",)
    stayed, verdicts = detection("f", 1, excused=promises.UNMOVED), Verdicts(None)
    promises.judge([stayed], PROMISED, verdicts)
    assert not verdicts.given
    promises.judge([stayed, detection("f", 2, seen("PgFailover", "info", 2))], PROMISED, verdicts)
    assert [v.outcome for v in verdicts.given] == ["met"]
    with pytest.raises(BrokenBudgetError, match="broken: f, PgFailover"):
        promises.judge([stayed, detection("f", 2)], PROMISED, verdicts)
    (row,) = matrix([stayed, detection("f", 2, seen("PgFailover", "info", 2))]).rows
    assert [(cell.text, cell.state) for cell in row.cells] == [("2 s (1 of 2)", "info")]


def test_an_alert_that_was_promised_and_that_no_trial_expected_is_no_evidence() -> None:
    """Only an excuse leaves it out, and one alert that is left out hides no other."""
    none = detection("f", 1, seen("PgFailover", "info", 2)).model_copy(update={"expected": ()})
    verdicts = Verdicts(None)
    with pytest.raises(BrokenBudgetError, match="invalid: f, PgFailover"):
        promises.judge([none], PROMISED, verdicts)
    excused = detection("f", 1, seen("PgDown", "critical", 2)).model_copy(
        update={"expected": ("PgDown",), "excused": "no new primary"}
    )
    verdicts = Verdicts(None)
    promises.judge([excused], PROMISED | {"PgDown": PROMISED["PgFailover"]}, verdicts)
    assert [v.about.alert for v in verdicts.given] == ["PgDown"]


def test_matrix_has_a_row_for_each_fault_and_a_column_for_each_alert() -> None:
    """Severe alerts come first, a cell is the slowest trial, an excuse stands in its row."""
    found = matrix(detections())
    assert [c.alert for c in found.columns] == ["PgDown", "PgLag", "PgFailover"]
    rows = {row.fault: [cell.text for cell in row.cells] for row in found.rows}
    assert rows == {
        "kill-primary": ["", "", "2.9 s"],
        "pause-primary": ["11.5 s", "pending", "25 s"],
        "kill-standby": ["", "", ""],
        "pg-2 paused": ["", "6.1 s", ""],
    }
    assert [row.excused for row in found.rows] == ["", "", "restarted at once", ""]
    assert [row.fault for row in found.of("alerts")] == ["pg-2 paused"]


def test_an_alert_that_had_to_come_and_did_not_is_in_the_matrix() -> None:
    """A missing alert has a column of its own, with how often it came."""
    twice = [detection("f", 1, seen("PgFailover", "info", 3)), detection("f", 2)]
    ((some,), (none,)) = [row.cells for row in matrix([*twice, detection("g", 1)]).rows]
    assert (some.text, some.state) == ("3 s (1 of 2)", "missed")
    assert (none.text, none.state) == ("never", "missed")


def test_an_alert_that_alertmanager_held_back_is_marked() -> None:
    """An alert that fired and paged nobody is not shown as one that paged."""
    held = seen("PgLag", "warning", 6).model_copy(update={"alertmanager": None})
    (row,) = matrix([detection("f", 1, held, seen("PgFailover", "info", 3))]).rows
    assert [cell.text for cell in row.cells] == ["6 s (held back)", "3 s"]


def test_report_and_terminal_name_who_saw_nothing(tmp_path: Path) -> None:
    """A fault that no alert saw is on the page and in the last lines; so is an excuse."""
    run = write_run(tmp_path / "run")
    line = next(text for text in terminal(run.path) if text.startswith("detection: "))
    assert line == (
        "detection: 2 of 3 faults made an alert fire, the last of them after 11.5 s"
        " (pause-primary); need not be detected: kill-standby"
    )
    run.keep(detection("freeze-standby", 1))
    line = next(text for text in terminal(run.path) if text.startswith("detection: "))
    assert line.endswith("; need not be detected: kill-standby; not detected: freeze-standby")
    page = splice(run.path).read_text()
    row = re.search(r"<tr><td>freeze-standby.*?</tr>", page, re.DOTALL)
    assert row
    assert "never</td>" in row[0]
    assert "no alert saw it" in row[0]
    assert re.search(r"kill-standby</strong> need not be detected: restarted at once", page)


def test_a_run_that_nobody_watched_claims_nothing(tmp_path: Path) -> None:
    """Without monitoring there is no line and no matrix, and the page states it."""
    run = write_run(tmp_path / "run", without=("detections",))
    assert not [text for text in terminal(run.path) if text.startswith("detection")]
    assert "this run has no fault that monitoring watched" in splice(run.path).read_text()


def test_a_condition_counts_from_the_last_look_without_it() -> None:
    """However long the look takes that sees it first: no alert seems faster than it was."""
    began: list[float] = []

    def slow() -> bool:
        began.append(time.monotonic())
        pause(0.2)
        return len(began) == 3

    at = instant_when("the third look", slow, within=10)
    assert began[0] + 0.2 <= at <= began[1]
    at = instant_when("what is so already", lambda: True, within=10)
    assert at == pytest.approx(time.monotonic(), abs=0.1)
