"""What a fault costs clients, and that it costs no acknowledged write."""

import pytest

from fixtures.chaos import Drill


def test_primary_kill(drill: Drill) -> None:
    """Clients write again within 10 s of a killed primary that is restarted at once."""
    trials = drill("primary_kill")
    assert all(t.timeline_after > t.timeline_before for t in trials), "no fail-over happened"


@pytest.mark.thorough
def test_primary_away(drill: Drill) -> None:
    """Clients write again within 30 s of a killed primary that stays away: its lease bounds it."""
    trials = drill("primary_away")
    assert all(t.timeline_after > t.timeline_before for t in trials), "no fail-over happened"


def test_primary_freeze(drill: Drill) -> None:
    """Clients write again within 30 s of a primary that hangs, and it wakes up as a standby."""
    trials = drill("primary_freeze")
    assert all(t.timeline_after > t.timeline_before for t in trials), "no fail-over happened"


@pytest.mark.thorough
def test_postmaster_kill(drill: Drill) -> None:
    """Clients write again within 10 s when only the postmaster dies and its backends may live."""
    drill("postmaster_kill")


def test_switchover(drill: Drill) -> None:
    """A planned switchover interrupts writing for at most 6 s."""
    trials = drill("switchover")
    assert all(t.timeline_after > t.timeline_before for t in trials), "no switchover happened"


def test_standby_kill(drill: Drill) -> None:
    """A killed synchronous standby interrupts writing for at most 2 s."""
    drill("standby_kill")


@pytest.mark.thorough
def test_standby_freeze(drill: Drill) -> None:
    """A synchronous standby that hangs interrupts writing for at most 2 s."""
    drill("standby_freeze")
