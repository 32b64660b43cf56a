"""Which processes a fault of a member means, and what it takes for evidence."""

from collections.abc import Sequence
from typing import Any, cast

import pytest

from pgdrill.engines.base import Engine, Member
from pgdrill.faults.base import FaultNotRealError
from pgdrill.platforms import member_faults
from pgdrill.platforms.member_faults import (
    FreezeAgent,
    FreezePostmaster,
    KillBackend,
    Process,
    is_postmaster,
    serves_client,
)

POSTMASTER = Process(10, "S", "postgres", "/usr/lib/postgresql/15/bin/postgres -D /data")
AGENT = Process(9, "S", "patroni", "patroni /etc/pg1.yml")
WRITER = Process(11, "S", "postgres", "postgres: pg1: walwriter")
SENDER = Process(12, "S", "postgres", "postgres: pg1: walsender replica 10.0.0.2(5123) streaming")
CLIENT = Process(13, "S", "postgres", "postgres: pg1: pgdrill shop 10.0.0.9(40112) idle")
LOCAL = Process(14, "S", "postgres", "postgres: pg1: postgres postgres [local] idle")
ALL = (AGENT, POSTMASTER, WRITER, SENDER, CLIENT, LOCAL)


@pytest.mark.parametrize(
    ("process", "postmaster", "client"),
    [
        pytest.param(POSTMASTER, True, False, id="postmaster"),
        pytest.param(WRITER, False, False, id="auxiliary"),
        pytest.param(SENDER, False, False, id="walsender"),
        pytest.param(CLIENT, False, True, id="client"),
        pytest.param(LOCAL, False, False, id="local"),
    ],
)
def test_a_title_says_what_a_process_is(process: Process, postmaster: bool, client: bool) -> None:
    """PostgreSQL's titles distinguish the postmaster, its helpers and its clients."""
    assert (is_postmaster(process.title), serves_client(process.title)) == (postmaster, client)


class _Engine:
    """One primary, always there."""

    def members(self) -> tuple[Member, ...]:
        return (Member("pg1", "10@1", "primary", True, 1, True, False, 0),)


class _Host:
    """The processes of a member, as signals change them."""

    _AGENT = "patroni"

    def __init__(self, **changes: Any) -> None:  # noqa: ANN401  # what a signal does, by its name
        super().__init__(cast("Engine", _Engine()), "fault", "primary")  # type: ignore[call-arg]
        self.alive: tuple[Process, ...] = ALL
        self.changes = changes
        self.sent: list[tuple[str, list[int]]] = []

    def _now(self) -> str:
        return "10@1"

    def _all(self) -> Sequence[Process]:
        return self.alive

    def _signal(self, name: str, pids: Sequence[int]) -> None:
        self.sent.append((name, list(pids)))
        change = self.changes.get(name)
        if change:
            self.alive = change(self.alive, pids)


class _Kill(_Host, KillBackend):
    """A killed backend on that host."""


class _FreezeAgent(_Host, FreezeAgent):
    """A frozen agent on that host."""


class _FreezePostmaster(_Host, FreezePostmaster):
    """A frozen postmaster on that host."""


def _stopped(alive: Sequence[Process], pids: Sequence[int]) -> tuple[Process, ...]:
    return tuple(
        Process(p.pid, "T" if p.pid in pids else p.state, p.command, p.title) for p in alive
    )


@pytest.mark.parametrize(
    ("left", "words"),
    [
        pytest.param((AGENT, POSTMASTER), "the postmaster lives", id="recovers-in-place"),
        pytest.param((AGENT,), "the postmaster did, too", id="restart_after_crash-off"),
    ],
)
def test_everybody_is_thrown_out(left: tuple[Process, ...], words: str) -> None:
    """One client's backend is killed; evidence is that no process is left but the postmaster."""
    fault = _Kill(KILL=lambda alive, pids: left)
    assert fault.inject() == "pg1"
    assert fault.sent == [("KILL", [CLIENT.pid])]
    assert words in fault.verify_injected()


def test_a_kill_that_throws_nobody_out_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where other processes survive, the fault is not real; nor is it without a client."""
    monkeypatch.setattr(member_faults, "THROWN_OUT_WITHIN", 0.2)
    fault = _Kill(KILL=lambda alive, pids: tuple(p for p in alive if p.pid not in pids))
    fault.inject()
    with pytest.raises(FaultNotRealError, match="have not ended"):
        fault.verify_injected()
    lonely = _Kill()
    lonely.alive = (AGENT, POSTMASTER, WRITER)
    with pytest.raises(FaultNotRealError, match="no client has a session"):
        lonely.inject()


@pytest.mark.parametrize(
    ("kind", "meant"),
    [
        pytest.param(_FreezeAgent, AGENT, id="agent"),
        pytest.param(_FreezePostmaster, POSTMASTER, id="postmaster"),
    ],
)
def test_one_part_hangs_and_the_rest_does_not(
    kind: type[_FreezeAgent | _FreezePostmaster], meant: Process
) -> None:
    """Evidence names what is stopped and counts what is not; healing lets it run again."""
    fault = kind(STOP=_stopped)
    fault.inject()
    assert f"{meant.command} {meant.pid} in state T, 5 other processes" in fault.verify_injected()
    fault.heal()
    assert fault.sent[-1] == ("CONT", [meant.pid])


def test_a_member_that_hangs_as_a_whole_is_another_fault() -> None:
    """Where everything is stopped, more than one part hangs."""
    fault = _FreezeAgent(STOP=_stopped)
    fault.inject()
    fault.alive = _stopped(ALL, [p.pid for p in ALL])
    with pytest.raises(FaultNotRealError):
        fault.verify_injected()
