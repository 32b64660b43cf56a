"""A slow machine is told from a slow database by a fixed piece of work."""

import pytest

from pgdrill.judge.machine import pace, paces
from pgdrill.observe.machine import MachineWatch
from pgdrill.records import MachineSecond
from pgdrill.waiting import eventually
from tests.unit.fake_run import START, bench, machine

pytestmark = pytest.mark.unit


def test_this_machine_is_looked_at() -> None:
    """Each second gives one look, whose work takes at most a hundredth of a core."""
    with MachineWatch() as watch:
        eventually("three looks", lambda: watch.seen, lambda seen: len(seen) >= 3, within=10)
    first, second, *_ = watch.seen
    assert 0.9 < second.at - first.at < 5
    for one in watch.seen:
        assert 0 <= one.busy <= 100
        assert 0 <= one.stolen <= 100
    assert 0 < min(one.work_ms for one in watch.seen) <= 10


def test_pace_is_measured_by_the_best_of_the_run() -> None:
    """Work that takes twice as long is half the pace, however fast the machine is."""
    seen = [
        MachineSecond(at=second, busy=50, stolen=0, work_ms=work)
        for second, work in enumerate([7, 7, 7, 7, 14])
    ]
    assert paces(seen) == [100, 100, 100, 100, 50]
    assert paces(seen[:1]) == [100]
    assert paces([]) == []


def test_pace_where_transactions_came_late() -> None:
    """The seconds with bad transactions have a pace of their own, as has the slowest stretch."""
    found = pace(bench(), machine())
    assert found is not None
    assert (found.before, found.late, found.slowest) == (100, 50, 50)
    assert found.otherwise == pytest.approx(100 - 9 * 50 / 299)
    assert found.during == pytest.approx(100 - 10 * 50 / 300)
    assert (found.busy, found.stolen) == (64, 0)


def test_what_is_stolen_after_the_load_is_not_counted() -> None:
    """Stolen time is that of the load, as all else, and not of what is waited for after it."""
    after = [
        MachineSecond(at=START + 20.5 + second, busy=10, stolen=50, work_ms=5)
        for second in range(300, 310)
    ]
    found = pace(bench(), [*machine(), *after])
    assert found is not None
    assert (found.busy, found.stolen) == (64, 0)


def test_nothing_late_has_no_pace() -> None:
    """A load in which all came in time says nothing of the machine where some were late."""
    good = bench().model_copy(
        update={"slices": tuple(s.model_copy(update={"bad": 0}) for s in bench().slices)}
    )
    found = pace(good, machine())
    assert found is not None
    assert (found.late, found.otherwise) == (None, found.during)


def test_nobody_looked() -> None:
    """Looks from before the load are none at it."""
    assert pace(bench(), [one for one in machine() if one.at < START + 20]) is None
