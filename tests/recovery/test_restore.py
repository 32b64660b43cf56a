"""A backup is worth what was restored from it: destroyed, restored to an instant, row by row."""

from collections.abc import Callable

import pytest

from pgdrill.drills.failover import Bench
from pgdrill.drills.recovery import run_everything, run_oops, run_rebuild
from pgdrill.judge import recovery
from pgdrill.judge.bench import check
from pgdrill.judge.verdicts import Verdicts
from pgdrill.platforms.archive import Archived
from pgdrill.records import Seed


def test_oops(
    require: Callable[[str], None], bench_of_trials: Bench, seeded: Seed, verdicts: Verdicts
) -> None:
    """After a destructive statement the cluster of just before comes back, no row more or less."""
    require("backup")
    _judge(bench_of_trials, verdicts, "oops", failover=False)


@pytest.mark.thorough
def test_oops_after_a_failover(
    require: Callable[[str], None], bench_of_trials: Bench, seeded: Seed, verdicts: Verdicts
) -> None:
    """A backup of before a fail-over restores to a point after it, no row more or less."""
    require("backup")
    _judge(bench_of_trials, verdicts, "oops after a failover", failover=True)


@pytest.mark.thorough
def test_everything_gone(
    require: Callable[[str], None], bench_of_trials: Bench, seeded: Seed, verdicts: Verdicts
) -> None:
    """When every member and volume is lost, only the promised last seconds do not come back."""
    require("backup")
    bench = bench_of_trials
    assert isinstance(bench.platform, Archived)
    promised = bench.platform.archive.promised_loss
    found = [run_everything(bench, number) for number in _trials(bench)]
    claims = recovery.claims_of_loss(bench.platform.engine.name, promised, found)
    check(claims, "everything gone", verdicts)


def test_new_member_from_the_archive(
    require: Callable[[str], None], bench_of_trials: Bench, seeded: Seed, verdicts: Verdicts
) -> None:
    """A standby that lost its volume comes back from the archive, at no cost to clients."""
    require("rebuild")
    bench = bench_of_trials
    found = [run_rebuild(bench, number) for number in _trials(bench)]
    claims = recovery.claims_of_rebuild(bench.platform.engine.name, found)
    check(claims, recovery.REBUILT, verdicts)


def _trials(bench: Bench) -> range:
    return range(1, bench.settings.trials + 1)


def _judge(bench: Bench, verdicts: Verdicts, subject: str, *, failover: bool) -> None:
    found = [run_oops(bench, number, failover=failover) for number in _trials(bench)]
    check(recovery.claims(bench.platform.engine.name, found), subject, verdicts)
