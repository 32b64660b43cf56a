"""A run is judged anew from its records: the same limits give the same verdicts, others others."""

import json
from contextlib import suppress
from pathlib import Path

import pytest

from pgdrill.faults.catalogue import FAULTS, LOCAL
from pgdrill.judge import alerting, failover
from pgdrill.judge.budgets import WEAK_SETTINGS
from pgdrill.judge.promises import Limits
from pgdrill.judge.rejudge import rejudge
from pgdrill.judge.verdicts import BrokenBudgetError, Verdicts
from pgdrill.records import About, AlertPath, Budget, Clock, Trial, Verdict, append, write
from pgdrill.report import splice, terminal
from pgdrill.report.read_run import read_run
from pgdrill.report.run_data import RunData
from pgdrill.rundir import Records, RunDir
from tests.unit.fake_run import START, alerts, fingerprint, trial, verdict

pytestmark = pytest.mark.unit

NONE = Limits({})
KILL = FAULTS["primary_kill"]
GAP = "primary_kill.write-gap"


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """Three trials of one fault, judged as the drill does it, and a look at the settings."""
    run = RunDir(tmp_path / "run")
    run.keep(Clock(monotonic=START, wall="2026-11-23T20:00:00+00:00", version=2))
    run.keep(fingerprint())
    trials = [trial(KILL.name, n, 2.0 + n, START + 60 * n) for n in (1, 2, 3)]
    for one in trials:
        run.keep(one)
    judged = Verdicts(run.file(Verdict), "tests/chaos/test_faults.py::test_fault[primary_kill]")
    judged.check(WEAK_SETTINGS, 0, "pg1")
    failover.judge(trials, KILL, LOCAL, judged)
    return run


def today(run: RunDir) -> RunData:
    """Judge anew, by pgdrill's own limits."""
    return read_run(run.path, NONE)


def test_the_same_limits_give_the_same_verdicts(run: RunDir) -> None:
    """Names, limits, what was observed, notes and tests, in the same order."""
    m = today(run)
    assert m.verdicts == read_run(run.path).verdicts
    assert len(m.verdicts) == 15
    assert m.rejudged is not None
    assert [kept.budget.name for kept in m.rejudged.kept] == [WEAK_SETTINGS.name]


def test_a_limit_of_the_user_decides_and_the_run_keeps_its_own(run: RunDir) -> None:
    """The page says that it was judged anew, by what, and what came out otherwise before."""
    before = run.file(Verdict).read_bytes()
    page = splice(run.path, Limits({GAP: 4.5})).read_text()
    assert run.file(Verdict).read_bytes() == before
    assert "Judged again on 20" in page
    assert f"and yours, {GAP}=4.5: 14 of 15 verdicts." in page
    assert f"no record holds the observation: {WEAK_SETTINGS.name}." in page
    assert "Primary_kill, fresh, write gap: met in the run, broken today." in page
    assert "set by you; pgdrill promises 10" in page
    assert any(line.startswith("judged again") for line in terminal(run.path, NONE))
    again = splice(run.path).read_text()
    assert "udged anew" not in again.split("pgd-environment")[0]


def test_what_was_seen_live_keeps_its_observation(run: RunDir) -> None:
    """A limit of the user's is about that observation; a control stays as it was."""
    about = Budget(name="looks", limit=1, unit="", better="lower", because="seen live")
    run.keep(verdict(about, "somebody", 3.0))
    run.keep(verdict(about, "sabotage: somebody", 3.0, expected="broken"))
    *_, live, control = read_run(run.path, Limits({"looks": 5})).verdicts
    assert (live.outcome, live.budget.limit, live.observed) == ("met", 5, 3.0)
    assert (control.outcome, control.budget.limit) == ("broken", 1)


def test_trials_of_a_run_that_was_killed_are_judged(run: RunDir) -> None:
    """It had no time to judge them, and everything that they are judged by lies there."""
    judged = read_run(run.path).verdicts[1:]
    run.file(Verdict).unlink()
    assert today(run).verdicts == tuple(
        v.model_copy(update={"test": "tests/chaos/"}) for v in judged
    )


def test_controls_and_unknown_faults_are_not_judged_as_faults(run: RunDir) -> None:
    """A trial that was bad on purpose changes no verdict, and neither does a fault of before."""
    before = today(run).verdicts
    run.keep(trial(KILL.name, 4, 60.0, START + 400).model_copy(update={"control": True}))
    run.keep(trial("a_fault_of_before", 1, 60.0, START + 500))
    run.keep(trial(KILL.name, 5, 60.0, START + 600).model_copy(update={"verified": False}))
    run.keep(trial(KILL.name, 6, 60.0, START + 700).model_copy(update={"tuning": "another"}))
    assert today(run).verdicts == before


def test_a_promise_of_a_run_of_version_1_is_found_again(run: RunDir) -> None:
    """Its verdicts say what they are about in their sentence alone, their budgets have no key.

    Nobody waited for steady service then, or wrote more than one row: nobody judges that today.
    """
    written = (failover.TORN, failover.LOST_UPDATES, failover.DISPLACED)
    later = {failover.STEADY, *(promise.kind for promise in written)}
    found = [v for v in read_run(run.path).verdicts if v.budget.kind not in later]
    trials = run.file(Trial)
    lines = [json.loads(line) for line in trials.read_text().splitlines()]
    assert all(line.pop("service") for line in lines)
    fields = ("torn", "lost_updates", "displaced")
    assert all(line.pop(field) == 0 for line in lines for field in fields)
    trials.write_text("".join(json.dumps(line) + "\n" for line in lines))
    write(run.file(Clock), Clock(monotonic=START, wall="2026-11-23T20:00:00+00:00"))
    run.file(Verdict).unlink()
    for one in found:
        plain = one.budget.model_copy(update={"key": "", "terms": ()})
        append(run.file(Verdict), Verdict(**one.model_dump() | {"about": {}, "budget": plain}))
    assert [v.observed for v in today(run).verdicts] == [v.observed for v in found]


def test_an_alert_is_judged_by_the_path_that_its_life_keeps(run: RunDir) -> None:
    """Without it, as in older runs, its verdicts stay those of the run."""
    path = AlertPath(
        push=0, scrape=2, evaluation=5, hold=5, memory=0, group_wait=5, group_interval=5
    )
    old, *_ = alerts()
    life = old.model_copy(update={"alert": "PgDown", "path": path, "ended": START + 1000})
    judged = Verdicts(run.file(Verdict), "tests/alerts/test_fires.py::test_down")
    with suppress(BrokenBudgetError):
        alerting.judge(life, judged)
    run.keep(life)
    run.keep(old)
    late = {"condition-to-alert": 9.1}
    found = [v for v in read_run(run.path, Limits(late)).verdicts if v.about.alert]
    assert [v.outcome for v in found] == ["met", "broken", "met"]
    assert today(run).verdicts == read_run(run.path).verdicts
    with pytest.raises(ValueError, match="PostgresDown: its path"):
        alerting.judge(old, judged)


SECONDS = Budget(name="some", limit=5, unit="s", better="lower", because="made up")


def test_a_verdict_is_found_again_by_what_it_is_about_or_by_its_words(tmp_path: Path) -> None:
    """Of a fault or an alert the words may be others; of anything else they are all there is.

    What today's judges say and the run did not is added; a control is never replaced.
    """
    run = RunDir.create(tmp_path / "run")
    fault, alert = About(fault="f", lane="held"), About(alert="a")
    written = [
        *((1.0, "sabotage", fault, "broken"), (1.0, "f, as it was called", fault, "met")),
        *((2.0, "a, as it was called", alert, "met"), (3.0, "x", About(lane="held"), "met")),
        *((4.0, "y", About(lane="held"), "met"), (5.0, "seen live", About(), "met")),
    ]
    for observed, subject, about, expected in written:
        one = verdict(SECONDS, subject, observed, about=about)
        run.keep(one.model_copy(update={"expected": expected, "test": f"of {subject}"}))

    def judge(_: Records, verdicts: Verdicts) -> None:
        verdicts.check(SECONDS, 40, "y", about=About(lane="held"))
        verdicts.check(SECONDS, 3, "x", about=About(lane="held"))
        verdicts.check(SECONDS, 2, "a", about=alert)
        verdicts.check(SECONDS, 1, "f", about=fault)
        verdicts.check(SECONDS, 9, "new")

    found = rejudge(Records(run), {"chaos": [judge, judge]}, NONE, on="today")
    assert [(v.subject, v.observed, v.test) for v in found.verdicts[:6]] == [
        ("sabotage", 1, "of sabotage"),
        ("f", 1, "of f, as it was called"),
        ("a", 2, "of a, as it was called"),
        ("x", 3, "of x"),
        ("y", 40, "of y"),
        ("seen live", 5, "of seen live"),
    ]
    assert {v.test for v in found.verdicts[6:]} == {"tests/chaos/"}
    assert sorted(v.subject for v in found.verdicts[6:]) == ["a", "f", "new", "new", "x", "y"]
    assert [v.subject for v in found.kept] == ["sabotage", "seen live"]
    ((before, now),) = found.changed
    assert (before.observed, before.outcome, now.observed, now.outcome) == (4, "met", 40, "broken")
    assert (found.own, found.on) == ((), "today")


def test_a_users_limit_decides_what_was_seen_live_and_nothing_that_was_not(tmp_path: Path) -> None:
    """Broken today, met today, or as the run wrote it: without evidence, or of a control."""
    run = RunDir.create(tmp_path / "run")
    live = [verdict(SECONDS, "it", observed) for observed in (4.0, 6.0, None, 1.0)]
    live.append(live[0].model_copy(update={"expected": "broken"}))
    for one in live:
        run.keep(one)
    found = rejudge(Records(run), {}, Limits({"some": 3.5, "other": 0.25}), on="today")
    assert [v.outcome for v in found.kept] == ["broken", "broken", "invalid", "met", "met"]
    assert [v.budget.limit for v in found.kept] == [3.5, 3.5, 5, 3.5, 5]
    assert found.verdicts == found.kept
    assert found.own == ("some=3.5", "other=0.25")
    assert [now.observed for _, now in found.changed] == [4]
    slow = live[1].model_copy(update={"outcome": "met"})
    run = RunDir.create(tmp_path / "same")
    run.keep(slow)
    assert rejudge(Records(run), {}, NONE, on="today").kept == (slow,)
