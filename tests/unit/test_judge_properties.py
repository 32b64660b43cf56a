"""What holds of verdicts whatever was seen: no evidence is never enough, and worse never better."""

import math
from contextlib import suppress
from random import Random
from statistics import median_low

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgdrill.faults.catalogue import FAULTS, LOCAL
from pgdrill.judge import failover
from pgdrill.judge.verdicts import SLOW, BrokenBudgetError, Verdicts, worst
from pgdrill.records import Budget, LedgerCount, Trial, Verdict
from tests.unit import fake_run

seconds = st.floats(0, 200)
limits = st.floats(0, 100)
RANK = {"met": 0, "broken": 1, "invalid": 1}


def budget(limit: float) -> Budget:
    """Return some promise."""
    return Budget(name="some", limit=limit, unit="s", better="lower", because="made up")


def judged(found: list[Trial], fault: str = "primary_kill") -> dict[str, Verdict]:
    """Judge trials of a fault, and return each verdict by its promise and lane."""
    verdicts = Verdicts(None)
    with suppress(BrokenBudgetError):
        failover.judge(found, FAULTS[fault], LOCAL, verdicts)
    return {f"{v.about.lane} {v.budget.name}": v for v in verdicts.given}


@st.composite
def trials(draw: st.DrawFn) -> Trial:
    """Return a trial that anything may have happened in."""
    made = fake_run.trial("primary_kill", draw(st.integers(1, 3)), 3.0, 1000.0)
    lanes = {
        name: lane.model_copy(
            update={
                "gap": draw(st.none() | st.floats(0, 60)),
                "silence": draw(st.none() | st.floats(0, 60)),
            }
        )
        for name, lane in made.lanes.items()
    }
    few = st.sampled_from([0, 0, 0, 1, 2])
    counts = {name: draw(few) for name in LedgerCount.model_fields}
    changes: dict[str, object] = {
        "lanes": lanes,
        "ledger": LedgerCount(**counts),
        "redundancy": draw(st.none() | st.floats(0, 200)),
        "two_writers": draw(st.sampled_from([0.0, 0.0, 0.4])),
        "steady": draw(st.none() | st.floats(0, 40)),
        "torn": draw(few),
        "lost_updates": draw(few),
        "displaced": draw(few),
        "diverged": draw(st.sampled_from([(), (), ("pg-2",)])),
        "schedule_error_p99_ms": draw(st.floats(0, 40)),
        "timeline_before": draw(st.integers(0, 3)),
        "timeline_after": draw(st.integers(0, 3)),
    }
    return made.model_copy(update=changes)


@given(st.none() | seconds | st.just(math.nan) | st.just(math.inf), limits, st.booleans())
def test_a_verdict_fails_unless_it_is_met(seen: float | None, limit: float, slow: bool) -> None:
    """No number is invalid; a machine that is slow excuses seconds below twice the limit only."""
    verdicts = Verdicts(None, slow=slow)
    nearly = slow and seen is not None and limit < seen < SLOW * limit
    try:
        verdicts.check(budget(limit), seen, "it")
        failed = False
    except BrokenBudgetError:
        failed = True
    (verdict,) = verdicts.given
    unknown = seen is None or math.isnan(seen)
    assert (verdict.outcome == "invalid") == unknown
    assert (verdict.outcome == "met") == (seen is not None and seen <= limit)
    assert failed == (verdict.outcome != "met" and not nearly)
    assert ("--slow" in verdict.note) == nearly


@given(st.lists(st.none() | seconds, min_size=1))
def test_several_verdicts_fail_together_where_one_of_them_would(seen: list[float | None]) -> None:
    """Each is given, in order, in a block within a block too; the failure names those not met."""
    verdicts = Verdicts(None)
    names = [f"<{place}>" for place in range(len(seen))]
    said = ""
    try:
        with verdicts.together(), verdicts.together():
            for name, one in zip(names, seen, strict=True):
                verdicts.check(budget(100), one, name)
    except BrokenBudgetError as error:
        said = str(error)
    assert [v.subject for v in verdicts.given] == names
    wrong = [v.subject for v in verdicts.given if v.outcome != "met"]
    assert [name for name in names if name in said] == wrong
    with pytest.raises(BrokenBudgetError):
        verdicts.check(budget(1), 2, "after the block it is demanded at once")


@given(st.lists(st.none() | seconds), st.randoms(use_true_random=False))
def test_the_worst_is_one_of_them_and_unknown_where_one_is(
    seen: list[float | None], random: Random
) -> None:
    """In any order; of nothing, nothing is known."""
    found = worst(seen)
    known = [one for one in seen if one is not None]
    if len(known) < len(seen) or not seen:
        assert found is None
    else:
        assert found in known
        assert all(one <= (found or 0) for one in known)
    random.shuffle(seen)
    assert worst(seen) == found


@given(st.lists(trials(), min_size=2, max_size=4), st.randoms(use_true_random=False))
def test_trials_together_are_no_better_than_the_worst_of_them(
    found: list[Trial], random: Random
) -> None:
    """What one trial broke, or left without evidence, no other trial makes good, in any order."""
    whole = judged(found)
    for one in found:
        alone = judged([one])
        assert alone.keys() == whole.keys()
        for name, verdict in alone.items():
            assert RANK[whole[name].outcome] >= RANK[verdict.outcome], name
    random.shuffle(found)
    again = judged(found)
    assert [v.outcome for v in again.values()] == [v.outcome for v in whole.values()]


@given(trials())
def test_a_row_that_is_wrong_is_counted_whatever_else_was_not_seen(found: Trial) -> None:
    """A phantom is one where nothing was acknowledged, too: zero proves nothing, one does."""
    counts = {
        failover.LOST: found.ledger.acked_lost,
        failover.PHANTOM: found.ledger.refused_present,
        failover.DUPLICATE: found.ledger.duplicate,
        failover.DIVERGED: len(found.diverged),
        failover.TWO_WRITERS: found.two_writers,
        failover.TORN: found.torn,
        failover.LOST_UPDATES: found.lost_updates,
        failover.DISPLACED: found.displaced,
    }
    verdicts = judged([found])
    for promise, wrong in counts.items():
        outcome = verdicts[f" {promise.name}"].outcome
        assert outcome == ("broken" if wrong else "met" if found.ledger.acked else "invalid")


@given(trials())
def test_a_timeline_moves_or_stays_as_the_fault_demands(found: Trial) -> None:
    """Where one could not be read nothing is known; the two promises are never both kept."""
    must, must_not = judged([found], "primary_kill"), judged([found], "standby_kill")
    moved = must[f" {failover.NO_FAILOVER.name}"].outcome
    stayed = must_not[f" {failover.NEEDLESS_FAILOVER.name}"].outcome
    unread = not (found.timeline_before and found.timeline_after)
    assert (moved == "invalid") == (stayed == "invalid") == unread
    if not unread:
        assert (moved == "met") == (found.timeline_after > found.timeline_before)
        assert (moved == "met") != (stayed == "met")


@given(st.lists(st.floats(0.1, 9), min_size=2, max_size=7))
def test_the_note_of_several_gaps_names_the_smallest_and_the_p50(gaps: list[float]) -> None:
    """By the same definition as that of latencies; all were seen in a trial."""
    made = [fake_run.trial("primary_kill", number, gap, 1.0) for number, gap in enumerate(gaps, 1)]
    note = judged(made)["fresh write gap"].note
    assert note == f"min {min(gaps):.2f}, p50 {median_low(gaps):.2f} of {len(gaps)} trials"
