"""A backup is worth what was restored from it: destroyed, restored to an instant, row by row."""

from collections.abc import Callable

import pytest

from pgdrill import process_environment
from pgdrill.drills.failover import DrillContext
from pgdrill.drills.recovery import run_point_in_time, run_rebuild, run_total_loss
from pgdrill.judge import recovery
from pgdrill.judge.bench import check
from pgdrill.judge.verdicts import Verdicts
from pgdrill.platforms.archive import HasArchive
from pgdrill.records import Seed

PROCESSORS = process_environment.processors()


def test_oops(
    require_capability: Callable[[str], None],
    drill_context: DrillContext,
    seeded: Seed,
    verdicts: Verdicts,
) -> None:
    """After a destructive statement the cluster of just before comes back, no row more or less."""
    require_capability("backup")
    _judge(drill_context, verdicts, "oops", failover=False)


@pytest.mark.thorough
def test_oops_after_a_failover(
    require_capability: Callable[[str], None],
    drill_context: DrillContext,
    seeded: Seed,
    verdicts: Verdicts,
) -> None:
    """A backup of before a failover restores to a point after it, no row more or less."""
    require_capability("backup")
    _judge(drill_context, verdicts, "oops after a failover", failover=True)


@pytest.mark.thorough
def test_everything_gone(
    require_capability: Callable[[str], None],
    drill_context: DrillContext,
    seeded: Seed,
    verdicts: Verdicts,
) -> None:
    """When every member and volume is lost, only the promised last seconds do not come back."""
    require_capability("backup")
    context = drill_context
    assert isinstance(context.platform, HasArchive)
    promised = context.platform.archive.promised_loss
    found = [run_total_loss(context, number) for number in _trials(context)]
    claims = recovery.claims_of_loss(context.platform.engine.name, PROCESSORS, promised, found)
    check(claims, "everything gone", verdicts)


def test_new_member_from_the_archive(
    require_capability: Callable[[str], None],
    drill_context: DrillContext,
    seeded: Seed,
    verdicts: Verdicts,
) -> None:
    """A standby that lost its volume comes back from the archive, at no cost to clients."""
    require_capability("rebuild")
    context = drill_context
    found = [run_rebuild(context, number) for number in _trials(context)]
    claims = recovery.claims_of_rebuild(context.platform.engine.name, found)
    check(claims, recovery.REBUILT, verdicts)


def _trials(context: DrillContext) -> range:
    return range(1, context.settings.trials + 1)


def _judge(context: DrillContext, verdicts: Verdicts, subject: str, *, failover: bool) -> None:
    found = [run_point_in_time(context, number, failover=failover) for number in _trials(context)]
    check(recovery.claims(context.platform.engine.name, PROCESSORS, found), subject, verdicts)
