"""Judging what must still be there after the faults of a run."""

from pgdrill.judge.verdicts import Verdicts
from pgdrill.records import Budget, Kept
from pgdrill.rundir import Records

LOST_LATER = Budget(
    key="afterwards.rows-lost",
    name="acknowledged writes that are gone after the last fault",
    limit=0,
    unit="rows",
    better="lower",
    because="a later fault must not take away what an earlier one left",
)
OLD_ROWS = Budget(
    key="afterwards.tables-changed",
    name="tables of the dataset that differ",
    limit=0,
    unit="tables",
    better="lower",
    because="nothing wrote to them: each has the checksum of its load, on every member",
)


def rejudge(records: Records, verdicts: Verdicts) -> None:
    """Judge again what was read after the last fault."""
    kept = records.one(Kept)
    if kept:
        judge(kept, verdicts)


def judge(kept: Kept, verdicts: Verdicts) -> None:
    """Judge the ledgers of all trials, and the dataset where one was loaded."""
    subject = f"after {kept.trials} trials"
    with verdicts.together():
        note = f"of {kept.acked} acked" + (f"; first {kept.first_lost}" if kept.lost else "")
        verdicts.check(LOST_LATER, kept.lost if kept.acked else None, subject, note)
        if kept.differing is not None:
            verdicts.check(OLD_ROWS, len(kept.differing), subject, "; ".join(kept.differing[:3]))
