"""The members at the start of a trial: no restart back-off, and all can be promoted."""

from dataclasses import replace
from typing import cast

import pytest

from pgdrill.engines.base import Engine, Member
from pgdrill.platforms.base import wait_settled
from pgdrill.waiting import DeadlineError

STANDBY = Member("pg-1", "a", "standby", True, 1, True, True, 0)


class Restarts:
    """An engine two of whose members restarted lately; one of them is the primary."""

    def __init__(self, *, stuck: bool = False, looks_asleep: int = 0) -> None:
        self.now = {
            "pg-1": STANDBY,
            "pg-2": replace(STANDBY, name="pg-2", role="primary"),
            "pg-3": replace(STANDBY, name="pg-3"),
        }
        self.held = {"pg-1", "pg-2"}
        self.done: list[str] = []
        self.stuck = stuck
        self.looks_asleep = looks_asleep

    def members(self) -> tuple[Member, ...]:
        """Every member is healthy all the time."""
        return tuple(self.now.values())

    def synchronous_state_is_expected(self) -> bool:
        """Return that it is healthy."""
        return True

    def not_promotable(self) -> tuple[str, ...]:
        """Report of a member that streams that it could not be promoted yet."""
        self.looks_asleep -= 1
        return ("pg-3",) if self.looks_asleep >= 0 else ()

    def clear_restart_backoff(self) -> str:
        """Replace a standby, or have the primary hand over, which restarts in place and is held."""
        names = sorted(self.held, key=lambda name: (self.now[name].role == "primary", name))
        if not names:
            return ""
        name = names[0]
        if self.now[name].role == "primary":
            self.now["pg-3"] = replace(self.now["pg-3"], role="primary")
        else:
            self.held.discard(name)
        if not self.stuck:
            self.now[name] = replace(
                self.now[name], role="standby", incarnation=self.now[name].incarnation + "+"
            )
        self.done.append(name)
        return name


def test_standbys_are_replaced_and_a_primary_hands_over_first() -> None:
    """Each member that was held back is another one in the end, and the last look is returned."""
    engine = Restarts()
    members = wait_settled(cast("Engine", engine), within=1)
    assert engine.done == ["pg-1", "pg-2", "pg-2"]
    assert {m.name: m.incarnation for m in members} == {"pg-1": "a+", "pg-2": "a++", "pg-3": "a"}
    assert [m.name for m in members if m.role == "primary"] == ["pg-3"]


def test_a_member_that_is_not_replaced_is_no_rest() -> None:
    """The old incarnation in good health is not taken for the new one."""
    with pytest.raises(DeadlineError, match="another pg-1"):
        wait_settled(cast("Engine", Restarts(stuck=True)), within=0.3)


def test_a_member_that_streams_and_cannot_take_over_is_waited_for() -> None:
    """A standby whose fence was lifted streams for 20 s before its manager would promote it."""
    engine = Restarts(looks_asleep=2)
    wait_settled(cast("Engine", engine), within=2)
    assert engine.looks_asleep < 0
    with pytest.raises(DeadlineError, match="pg-3"):
        wait_settled(cast("Engine", Restarts(looks_asleep=1000)), within=0.3)
