"""The last check of this suite: all data that the faults must not have changed."""

import pytest

from pgdrill.drills.recheck import recheck_data
from pgdrill.judge.recheck import judge
from pgdrill.judge.verdicts import Verdicts
from pgdrill.platforms.base import Cluster
from pgdrill.records import Trial
from pgdrill.rundir import RunDir


def test_what_was_there_is_there(
    healthy: Cluster, run_directory: RunDir, verdicts: Verdicts
) -> None:
    """After the last fault the dataset is whole on every member, and so is every trial's ledger."""
    if not run_directory.file(Trial).exists():
        pytest.skip("no fault was drilled in this run")
    judge(recheck_data(healthy, run_directory), verdicts)
