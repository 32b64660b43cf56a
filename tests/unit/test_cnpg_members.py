"""Which instances of CloudNativePG count as streaming."""

import pytest

from pgdrill.engines.cnpg import InstanceState, member

pytestmark = pytest.mark.unit

STANDBY = InstanceState(
    standby=True, timeline=49, streaming=True, position=100, sending_to=[], synchronous=[]
)


def _primary(*sending_to: str) -> InstanceState:
    return InstanceState(
        standby=False,
        timeline=49,
        streaming=False,
        position=120,
        sending_to=list(sending_to),
        synchronous=list(sending_to),
    )


def test_standby_that_the_primary_sends_to_streams() -> None:
    """Both ends report it."""
    seen = member("pgdrill-1", None, STANDBY, [_primary("pgdrill-1", "pgdrill-2")])
    assert (seen.role, seen.streaming, seen.synchronous, seen.lag) == ("standby", True, True, 20)


def test_standby_that_left_the_time_line_does_not_stream() -> None:
    """PostgreSQL 15.20's receiver waits for a primary behind it, and calls that streaming."""
    seen = member("pgdrill-1", None, STANDBY, [_primary("pgdrill-2")])
    assert (seen.running, seen.streaming, seen.synchronous) == (True, False, False)


def test_nobody_streams_without_a_primary() -> None:
    """The last data that a standby received does not prove who sends now."""
    assert not member("pgdrill-1", None, STANDBY, []).streaming
