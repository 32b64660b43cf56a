"""Verdicts: kept, broken or without evidence, and always written down first."""

from pathlib import Path

import pytest

from pgdrill.judge.promises import Limits
from pgdrill.judge.verdicts import BrokenBudgetError, Verdicts
from pgdrill.records import About, Budget, Verdict, read_lines

GAP = Budget(name="write gap", limit=10, unit="s", better="lower", because="arithmetic")
LOAD = Budget(name="answered load", limit=95, unit="%", better="higher", because="source")


@pytest.mark.parametrize(
    ("budget", "observed", "outcome"),
    [
        pytest.param(GAP, 10.0, "met", id="on-the-limit"),
        pytest.param(GAP, 10.01, "broken", id="above"),
        pytest.param(LOAD, 94.9, "broken", id="below"),
        pytest.param(LOAD, 95.0, "met", id="enough"),
        pytest.param(GAP, None, "invalid", id="no-evidence"),
        pytest.param(GAP, float("nan"), "invalid", id="not-a-number"),
        pytest.param(GAP, float("inf"), "broken", id="never"),
    ],
)
def test_outcome(tmp_path: Path, budget: Budget, observed: float | None, outcome: str) -> None:
    """Only a number on the right side of the limit is met; all others fail, and are recorded."""
    verdicts = Verdicts(tmp_path / "verdicts.jsonl", "a test")
    if outcome == "met":
        verdicts.check(budget, observed, "subject")
    else:
        with pytest.raises(BrokenBudgetError, match=f"{outcome}: subject"):
            verdicts.check(budget, observed, "subject")
    recorded = list(read_lines(tmp_path / "verdicts.jsonl", Verdict))
    assert [(v.outcome, v.test) for v in recorded] == [(outcome, "a test")]


def test_together_judges_all_before_it_fails(tmp_path: Path) -> None:
    """A block of verdicts names every broken one, not only the first."""
    verdicts = Verdicts(tmp_path / "verdicts.jsonl")

    def judge() -> None:
        with verdicts.together():
            for observed, subject in ((11, "first"), (1, "second"), (None, "third")):
                verdicts.check(GAP, observed, subject)

    with pytest.raises(BrokenBudgetError, match=r"(?s)first.*third") as failed:
        judge()
    assert "second" not in str(failed.value)
    assert len(list(read_lines(tmp_path / "verdicts.jsonl", Verdict))) == 3


@pytest.mark.parametrize(
    ("budget", "observed", "fails"),
    [
        pytest.param(GAP, 19.9, False, id="seconds-within-twice"),
        pytest.param(GAP, 20.0, True, id="seconds-twice"),
        pytest.param(GAP, float("inf"), True, id="never"),
        pytest.param(GAP, None, True, id="no-evidence"),
        pytest.param(LOAD, 94.9, True, id="no-seconds"),
    ],
)
def test_a_slow_machine_excuses_seconds_alone(
    tmp_path: Path, budget: Budget, observed: float | None, fails: bool
) -> None:
    """On a machine said to be slow a limit in seconds fails at twice that, all others at once."""
    verdicts = Verdicts(tmp_path / "verdicts.jsonl", slow=True)

    def judge() -> None:
        with verdicts.together():
            verdicts.check(budget, observed, "subject", "a note")

    if fails:
        with pytest.raises(BrokenBudgetError, match=r": a note$"):
            judge()
    else:
        judge()
    (recorded,) = read_lines(tmp_path / "verdicts.jsonl", Verdict)
    assert recorded.outcome in ("broken", "invalid")
    assert ("does not fail" in recorded.note) is not fails


def test_an_error_inside_a_block_is_not_hidden() -> None:
    """A defect in the middle of a block propagates as itself."""
    verdicts = Verdicts(None)

    def judge() -> None:
        with verdicts.together():
            verdicts.check(GAP, 11, "first")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        judge()


def test_a_verdict_keeps_all_that_it_was_given(tmp_path: Path) -> None:
    """Its test, what was expected, and what it is about; a limit of the user's is its own."""
    file = tmp_path / "verdicts.jsonl"
    verdicts = Verdicts(file, "a test", "broken", limits=Limits({"write-gap": 3}))
    about = About(fault="f", lane="held")
    with pytest.raises(BrokenBudgetError) as failed:
        verdicts.check(GAP, 4, "subject", "a note", about)
    (kept,) = read_lines(file, Verdict)
    assert kept == verdicts.given[0]
    assert (kept.test, kept.expected, kept.note, kept.about) == (
        "a test",
        "broken",
        "a note",
        about,
    )
    assert kept.budget.limit == 3
    assert str(failed.value) == f"broken: {kept.line()}"
    assert verdicts.check(GAP, 3, "it") is verdicts.given[1]
    assert verdicts.given[1].about == About()
    plain = Verdicts(None)
    made = plain.check(GAP, 10, "it")
    assert (made.test, made.expected, made.note, made.about) == ("", "met", "", About())
    with pytest.raises(BrokenBudgetError):
        plain.check(GAP, 10.1, "it")


def test_an_excuse_stands_behind_the_note() -> None:
    """With its factor; a verdict that is excused is returned like any other."""
    slow = Verdicts(None, slow=True)
    excuse = "does not fail the test below 2 times the limit (--slow)"
    assert slow.check(GAP, 11, "it", "a note").note == f"a note; {excuse}"
    assert slow.check(GAP, 11, "it").note == excuse
    assert slow.check(GAP, 9, "it").note == ""
    more = GAP.model_copy(update={"better": "higher"})
    with pytest.raises(BrokenBudgetError):
        slow.check(more, 9, "seconds of which more are better are no delay")


def test_all_that_were_not_met_are_named_a_line_each() -> None:
    """In order, each with its outcome."""
    verdicts = Verdicts(None)

    def judge() -> None:
        with verdicts.together():
            verdicts.check(GAP, 11, "first")
            verdicts.check(GAP, None, "second")

    with pytest.raises(BrokenBudgetError) as failed:
        judge()
    first, second = verdicts.given
    assert str(failed.value) == f"broken: {first.line()}\ninvalid: {second.line()}"
