"""What a fault costs clients, and that it costs no acknowledged write."""

import pytest

from fixtures.chaos import Drill


def test_primary_kill(drill: Drill) -> None:
    """Clients write again in time after the primary is killed and restarted at once."""
    trials = drill("primary_kill")
    assert all(t.timeline_after > t.timeline_before for t in trials), "no fail-over happened"


@pytest.mark.thorough
def test_primary_away(drill: Drill) -> None:
    """Clients write again in time although the primary stays away: its lease bounds it."""
    trials = drill("primary_away")
    assert all(t.timeline_after > t.timeline_before for t in trials), "no fail-over happened"


def test_primary_freeze(drill: Drill) -> None:
    """Clients write again in time although the primary hangs: it is replaced, or restarted."""
    drill("primary_freeze")


@pytest.mark.thorough
def test_postmaster_kill(drill: Drill) -> None:
    """Clients write again in time when only the postmaster dies and its backends may live."""
    drill("postmaster_kill")


def test_switchover(drill: Drill) -> None:
    """A planned switchover interrupts writing for no longer than promised."""
    trials = drill("switchover")
    assert all(t.timeline_after > t.timeline_before for t in trials), "no switchover happened"


def test_standby_kill(drill: Drill) -> None:
    """A killed synchronous standby hardly interrupts writing."""
    drill("standby_kill")


@pytest.mark.thorough
def test_standby_freeze(drill: Drill) -> None:
    """A synchronous standby that hangs hardly interrupts writing."""
    drill("standby_freeze")
