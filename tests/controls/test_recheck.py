"""Rows that vanish or change after their trial are found by the last look."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from psycopg.sql import SQL, Identifier

from pgdrill.drills.experiment import control_of
from pgdrill.drills.failover import DrillContext, run_trial
from pgdrill.drills.recheck import recheck_data
from pgdrill.faults.catalogue import FAULTS
from pgdrill.judge.recheck import LOST_LATER, OLD_ROWS, judge
from pgdrill.platforms.base import Cluster
from pgdrill.rundir import RunDir
from tests.controls.control import Control
from tests.controls.inventory import breaks
from tests.controls.sabotage import ONE_VANISHES

CHANGED = "UPDATE shop.countries SET name = name || %s WHERE id = 1"
PUT_BACK = "UPDATE shop.countries SET name = rtrim(name, %s) WHERE id = 1"
MARK = "!"


@breaks("afterwards.rows-lost", "afterwards.tables-changed")
@pytest.mark.usefixtures("seeded")
def test_rows_that_vanish_later_are_broken(sabotaged: DrillContext, control: Control) -> None:
    """An acknowledged row deleted after its trial, and one of the dataset changed, are found."""
    trial = run_trial(sabotaged, control_of(FAULTS["standby_kill"]), 1)
    scratch = RunDir(sabotaged.run.path / "later")
    scratch.path.mkdir()
    moved = {"control": False, "attempts_file": f"../{trial.attempts_file}"}
    scratch.keep(trial.model_copy(update=moved))
    table = Path(trial.attempts_file).stem
    promised = (LOST_LATER, OLD_ROWS)
    with (
        control.must_be("broken", "rows tampered with later", *promised) as verdicts,
        tampered(sabotaged.cluster, table),
    ):
        judge(recheck_data(sabotaged.cluster, scratch), verdicts)


@contextmanager
def tampered(cluster: Cluster, table: str) -> Iterator[None]:
    """Delete the first row of a ledger; change a country, and change it back at the end."""
    with cluster.connect() as session:
        session.execute(SQL(ONE_VANISHES).format(Identifier(table)))
        session.execute(CHANGED, (MARK,))
    try:
        yield
    finally:
        with cluster.connect() as session:
            session.execute(PUT_BACK, (MARK,))
