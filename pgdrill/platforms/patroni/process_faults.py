"""Faults of a member's processes, by a shell on its machine."""

from collections.abc import Mapping, Sequence

from pgdrill.engines.base import Member
from pgdrill.engines.patroni_by_rest import PatroniByRest
from pgdrill.faults.base import Fault
from pgdrill.platforms.member_faults import (
    FreezeAgent,
    FreezeMember,
    FreezePostmaster,
    KillBackend,
    KillPostmaster,
    Process,
    ProcessFault,
    is_postmaster,
)
from pgdrill.platforms.patroni.faults import RestFault
from pgdrill.platforms.patroni.machines import Machine


class _ByShell(RestFault, ProcessFault):
    """Hits processes of one member, on its machine."""

    def __init__(
        self, engine: PatroniByRest, name: str, role: str, machines: Mapping[str, Machine]
    ) -> None:
        super().__init__(engine, name, role)
        self._machines = machines

    def _choose(self) -> Member:
        target = super()._choose()
        self._machine = self._machines[target.name]
        self._agent, self._data = self._machine.find()
        return target

    def _all(self) -> list[Process]:
        return self._machine.processes(self._agent, self._data)

    def _signal(self, name: str, pids: Sequence[int]) -> None:
        self._machine.signal(name, pids)


class KillPostmasterByShell(_ByShell, KillPostmaster):
    """SIGKILL the postmaster; Patroni starts another one, or hands over."""

    def heal(self) -> None:
        """End backends that outlived their postmaster: they keep a new one from starting."""
        if self._hit is None:
            return
        left = [p for p in self._all() if p.command == "postgres"]
        if not any(is_postmaster(p.title) for p in left):
            self._signal("KILL", [p.pid for p in left])


class KillBackendByShell(_ByShell, KillBackend):
    """SIGKILL one client's backend."""


class FreezePostmasterByShell(_ByShell, FreezePostmaster):
    """SIGSTOP the postmaster."""


class FreezePatroniByShell(_ByShell, FreezeAgent):
    """SIGSTOP Patroni and leave PostgreSQL running."""

    def _is_meant(self, process: Process) -> bool:
        return process.pid == self._agent


class FreezeMemberByShell(_ByShell, FreezeMember):
    """SIGSTOP Patroni and PostgreSQL."""


def process_faults(engine: PatroniByRest, machines: Mapping[str, Machine]) -> tuple[Fault, ...]:
    """Return the faults of processes; machines is that of each member, by name."""
    return (
        KillPostmasterByShell(engine, "postmaster_kill", "primary", machines),
        KillBackendByShell(engine, "backend_kill", "primary", machines),
        FreezePostmasterByShell(engine, "postmaster_freeze", "primary", machines),
        FreezePatroniByShell(engine, "agent_freeze", "primary", machines),
        FreezeMemberByShell(engine, "primary_freeze", "primary", machines),
        FreezeMemberByShell(engine, "standby_freeze", "standby", machines),
    )
