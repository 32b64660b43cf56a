"""Which earlier run a load's capacity is compared with."""

import os
from pathlib import Path

import pytest

from pgdrill.drills.earlier import SAME, earlier_load
from pgdrill.judge import failover
from pgdrill.records import Bench, EarlierLoad, Fingerprint, Record, RunEnd, Verdict
from pgdrill.rundir import RunDir
from tests.unit import fake_run

pytestmark = pytest.mark.unit

MACHINE = {"cores": "2", "kernel": "6.1"}
MET = fake_run.verdict(failover.LOST, "primary_kill", 0)


def written(path: Path, tps: float, *others: Record, **changes: object) -> RunDir:
    """Write a run with a load, which is older than those written after it."""
    path.mkdir(parents=True)
    run = RunDir(path)
    here = fake_run.fingerprint().model_copy(update={"machine": MACHINE, **changes})
    for record in (here, fake_run.bench().model_copy(update={"calibration_tps": tps}), *others):
        run.keep(record)
    age = len(list(path.parent.iterdir()))
    os.utime(run.file(Bench), (age, age))
    return run


ENDED = RunEnd(exit_status=0)


def test_the_newest_green_run_of_the_same_machine_counts(tmp_path: Path) -> None:
    """Broken runs, those that were cut off, others' settings and machines do not."""
    written(tmp_path / "first", 500, ENDED, MET)
    written(tmp_path / "second", 600, ENDED, MET)
    broken = MET.model_copy(update={"outcome": "broken", "observed": 1})
    control = broken.model_copy(update={"expected": "broken"})
    written(tmp_path / "broken", 1, ENDED, MET, broken)
    written(tmp_path / "invalid", 1, ENDED, MET.model_copy(update={"outcome": "invalid"}))
    written(tmp_path / "cut-off", 1, MET)
    written(tmp_path / "failed", 1, RunEnd(exit_status=1), MET)
    written(tmp_path / "elsewhere", 1, ENDED, MET, machine=MACHINE | {"cores": "8"})
    written(tmp_path / "kind", 1, ENDED, MET, platform="kind")
    for key in SAME:
        settings = fake_run.fingerprint().settings | {key: "other"}
        written(tmp_path / f"other-{key}", 1, ENDED, MET, settings=settings)
    (tmp_path / "no-run.txt").touch()
    now = written(tmp_path / "now", 550)
    assert earlier_load(now) == EarlierLoad(run="second", capacity_tps=600)
    written(tmp_path / "with-controls", 700, ENDED, MET, control)
    assert earlier_load(now) == EarlierLoad(run="with-controls", capacity_tps=700)


def test_without_a_run_before_there_is_nothing_to_compare_with(tmp_path: Path) -> None:
    """The first run, and one of a machine that is not known."""
    now = written(tmp_path / "now", 550)
    assert earlier_load(now) is None
    now.file(Fingerprint).unlink()
    written(tmp_path / "other", 500, ENDED, MET)
    assert earlier_load(now) is None
    assert now.file(Verdict).exists() is False
