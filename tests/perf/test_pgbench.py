"""Steady load through the read-write address, judged from each transaction's scheduled start."""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from pgdrill.drills.load import Load
from pgdrill.judge import bench as judged
from pgdrill.judge.verdicts import Verdicts
from pgdrill.platforms.base import Cluster
from pgdrill.records import Bench, EarlierLoad
from pgdrill.rundir import Records, RunDir
from pgdrill.workload import dataset, pgbench

VERIFY = 120.0  # seconds to compare the checksums of every member


def test_load_is_real(
    healthy: Cluster, load: Load, benchmark: BenchmarkFixture, verdicts: Verdicts
) -> None:
    """pgbench offers its load to the end: no client is lost and the server answers what is due."""
    assert not load.measured, "measured by an earlier test: pytest-benchmark would time nothing"
    bench = benchmark.pedantic(load.measure, rounds=1)
    benchmark.extra_info |= bench.model_dump(mode="json", exclude={"slices"})
    judged.check(judged.reality(bench), judged.SUBJECT, verdicts)


@pytest.mark.parametrize("script", [script.name for script in pgbench.MIX])
def test_every_script_takes_part(bench: Bench, script: str) -> None:
    """Each script of the mix completed transactions, so the percentiles speak of all."""
    counts = {one.script: one.transactions for one in bench.scripts}
    assert counts.get(script, 0) > 0, f"no transaction of {script}, but {counts}"


def test_p99_objective(bench: Bench, verdicts: Verdicts) -> None:
    """99 % of all transactions are answered within the objective."""
    judged.check([judged.p99(bench)], judged.SUBJECT, verdicts)


def test_bad_transactions_objective(bench: Bench, verdicts: Verdicts) -> None:
    """Late, skipped and failed transactions together stay within the objective."""
    judged.check([judged.bad_transactions(bench)], judged.SUBJECT, verdicts)


def test_capacity_is_above_its_floor(
    bench: Bench, run_directory: RunDir, verdicts: Verdicts
) -> None:
    """Calibration reached its floor: the user's (--budget=capacity=500) or the last green run's."""
    judged.judge_capacity(bench, Records(run_directory).one(EarlierLoad), verdicts)


@pytest.mark.usefixtures("bench")
def test_load_leaves_the_dataset_as_it_was(cluster: Cluster) -> None:
    """After the load every member holds the seeded rows, by checksum."""
    members = {name: cluster.conninfo(at) for name, at in cluster.members.items()}
    found = dataset.verify(cluster.conninfo(), members, within=VERIFY)
    assert found is not None, "the dataset is gone"
    assert set(found.agreeing_members) == set(cluster.members)
