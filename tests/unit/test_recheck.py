"""What the last look of the chaos suite makes of rows that are gone or changed."""

from contextlib import suppress

import pytest

from pgdrill.judge.recheck import LOST_LATER, OLD_ROWS, judge
from pgdrill.judge.verdicts import BrokenBudgetError, Verdicts
from pgdrill.records import Kept

WHOLE = Kept(trials=4, acked=3000, lost=0, differing=())


@pytest.mark.parametrize(
    ("changes", "rows", "tables"),
    [
        pytest.param({}, "met", "met", id="whole"),
        pytest.param({"lost": 1, "first_lost": "switchover 1"}, "broken", "met", id="lost-later"),
        pytest.param({"differing": ("pg2: orders differs",)}, "met", "broken", id="changed"),
        pytest.param({"acked": 0}, "invalid", "met", id="nothing-acked"),
        pytest.param({"differing": None}, "met", None, id="no-dataset"),
    ],
)
def test_each_loss_is_a_verdict(changes: dict[str, object], rows: str, tables: str | None) -> None:
    """Rows of an earlier trial, or tables that nobody wrote to; without evidence nothing is met."""
    verdicts = Verdicts(None)
    with suppress(BrokenBudgetError):
        judge(WHOLE.model_copy(update=changes), verdicts)
    given = {v.budget.name: v for v in verdicts.given}
    assert given[LOST_LATER.name].outcome == rows
    found = given.get(OLD_ROWS.name)
    assert (found and found.outcome) == tables
    first = "; first switchover 1" if "first_lost" in changes else ""
    assert given[LOST_LATER.name].note == f"of {changes.get('acked', 3000)} acked{first}"
