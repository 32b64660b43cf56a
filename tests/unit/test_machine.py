"""A slow machine is told from a slow database by a fixed piece of work."""

import pytest

from pgdrill.judge.machine import SPELL, pace, paces
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


def test_pace_is_of_the_seconds_from_the_first_to_the_last_of_the_load() -> None:
    """Each with its own CPU and its own bad transactions; late ones weigh by their number.

    A second of which the load's log has nothing has none.
    """
    load = bench()
    bad = {0: 1, 2: 3}
    pieces = [s.model_copy(update={"bad": bad.get(s.second, 0)}) for s in load.slices[:3]]
    short = load.model_copy(update={"duration": 4.0, "slices": tuple(pieces)})
    works = {-1: 5, 0: 5, 1: 10, 2: 20, 3: 5, 4: 50}
    seen = [
        MachineSecond(at=short.started_at + at, busy=10 * at + 20, stolen=at + 1, work_ms=work)
        for at, work in works.items()
    ]
    found = pace(short, seen)
    assert found is not None
    assert [(one.second, one.pace, one.busy, one.stolen, one.bad) for one in found.loaded] == [
        (0, 100, 20, 1, 1),
        (1, 50, 30, 2, 0),
        (2, 25, 40, 3, 3),
        (3, 100, 50, 4, 0),
    ]
    assert (found.before, found.during, found.slowest) == (100, 68.75, 68.75)
    assert (found.late, found.otherwise) == ((100 + 3 * 25) / 4, 75)
    assert (found.busy, found.stolen) == (35, 2.5)
    alone = pace(short, seen[1:])
    assert alone is not None
    assert alone.before is None
    all_late = [s.model_copy(update={"bad": 2}) for s in load.slices[:4]]
    late = pace(short.model_copy(update={"slices": tuple(all_late)}), seen)
    assert late is not None
    assert (late.late, late.otherwise) == (68.75, None)


def test_the_slowest_spell_is_of_ten_seconds_in_a_row() -> None:
    """Wherever it lies, at either end too."""
    load = bench()
    for slow, slowest in ((0, 50), (7, 50), (20, 50), (21, 55)):
        seen = [
            MachineSecond(
                at=load.started_at + second,
                busy=0,
                stolen=0,
                work_ms=10 if slow <= second < slow + SPELL else 5,
            )
            for second in range(30)
        ]
        found = pace(load, seen)
        assert found is not None
        assert found.slowest == slowest


def test_the_best_of_a_run_is_its_fastest_tenth() -> None:
    """One second that was faster than all others is no measure; none is above its best."""
    seen = [
        MachineSecond(at=n, busy=0, stolen=0, work_ms=work) for n, work in enumerate([1] + [4] * 10)
    ]
    assert paces(seen) == [100.0] * 11
    two = [MachineSecond(at=n, busy=0, stolen=0, work_ms=work) for n, work in enumerate([4, 5])]
    assert paces(two) == [100.0, pytest.approx(100 * 4.1 / 5)]
