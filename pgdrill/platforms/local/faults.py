"""Faults of the embedded platform: signals to the processes of one member."""

import os
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import psutil
import requests

from pgdrill.engines.patroni import PatroniEngine
from pgdrill.faults.base import Fault, FaultNotRealError
from pgdrill.platforms.archive_faults import ArchiveFull, ArchiveUnreachable, BackupsMissing
from pgdrill.platforms.local.member_network import MemberNetwork
from pgdrill.platforms.local.processes import GONE, alive, identity, send, state
from pgdrill.platforms.local.volume import DirectoryVolume
from pgdrill.platforms.member_faults import (
    FreezeAgent,
    FreezePostmaster,
    HangVolume,
    KillBackend,
    Process,
    ProcessFault,
)
from pgdrill.platforms.partition import Cut, Partition
from pgdrill.platforms.session_faults import TakeConnections
from pgdrill.platforms.switchover import Switchover
from pgdrill.waiting import eventually

if TYPE_CHECKING:
    from pgdrill.platforms.local import LocalPlatform

STARTED_WITHIN = 10.0  # seconds for a program of supervisor's to answer
HEARD_WITHIN = 10.0  # seconds for every member to read a setting; each looks once a second
KILLED_WITHIN = 2.0  # seconds for a process that was sent SIGKILL to be gone


class _ProcessFault(ProcessFault):
    """Hits the processes of one member."""

    def __init__(self, platform: "LocalPlatform", name: str, role: str) -> None:
        super().__init__(platform.engine, name, role)
        self._platform = platform

    def _now(self) -> str:
        return self._platform.processes(self._target.name).incarnation()

    def _all(self) -> list[Process]:
        found = []
        for one in self._platform.processes(self._target.name).all():
            with suppress(*GONE):
                letter = "T" if one.status() == psutil.STATUS_STOPPED else one.status()[:1].upper()
                title = " ".join(one.cmdline()).strip()
                found.append(Process(one.pid, letter, one.name(), title))
        return found

    def _signal(self, name: str, pids: Sequence[int]) -> None:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.Signals[f"SIG{name}"])


class KillMember(_ProcessFault):
    """SIGKILL a member's whole process tree; supervisor restarts it, or keeps it stopped."""

    def __init__(
        self, platform: "LocalPlatform", name: str, role: str, *, comes_back: bool
    ) -> None:
        super().__init__(platform, name, role)
        self._comes_back = comes_back

    def inject(self) -> str:
        """Kill Patroni and every PostgreSQL process of the member."""
        target = self._choose()
        if not self._comes_back:
            self._platform.supervisor.stop(f"patroni-{target.name}")
        self._platform.processes(target.name).kill()
        return target.name

    def verify_injected(self) -> str:
        """The postmaster is gone, and the program is down where it must stay away."""
        evidence = self._gone_for_good(KILLED_WITHIN)
        if not self._comes_back and self._platform.processes(self._target.name).all():
            raise FaultNotRealError(f"{self._target.name} came back although it must stay away")
        return evidence

    def heal(self) -> None:
        """Let the member come back."""
        if self._hit is not None:
            self._platform.supervisor.start(f"patroni-{self._hit.name}")

    def verify_healed(self) -> str:
        """Patroni runs again."""
        program = f"patroni-{self._target.name}"
        eventually(
            f"{program} runs",
            lambda: self._platform.supervisor.states().get(program),
            lambda seen: seen == "RUNNING",
            within=10,
        )
        return f"{program} runs"


class KillPostmaster(_ProcessFault):
    """SIGKILL the postmaster alone: Patroni survives and must notice; backends may survive."""

    def inject(self) -> str:
        """Kill the one process that accepts connections."""
        target = self._choose()
        postmaster = self._platform.processes(target.name).postmaster()
        if postmaster is None or identity(postmaster) != target.incarnation:
            raise FaultNotRealError(f"the postmaster of {target.name} is not the one that was seen")
        postmaster.kill()
        eventually("the postmaster is gone", lambda: not alive(postmaster), within=5, every=0.02)
        return target.name

    def verify_injected(self) -> str:
        """The postmaster is another process, or none."""
        return self._gone_for_good(KILLED_WITHIN)

    def heal(self) -> None:
        """End backends that outlived their postmaster and block its successor.

        Found by this suite: one idle backend that survives keeps the shared memory
        block, and the member can never start again.
        """
        if self._hit is None:
            return
        processes = self._platform.processes(self._hit.name)
        if processes.postmaster() is None:
            for orphan in processes.postgres():
                send(orphan, signal.SIGKILL)

    def verify_healed(self) -> str:
        """The old postmaster has no process left."""
        return self._gone_for_good(KILLED_WITHIN)


class KillMemberBackend(_ProcessFault, KillBackend):
    """SIGKILL one client's backend."""


class FreezeMemberPostmaster(_ProcessFault, FreezePostmaster):
    """SIGSTOP the postmaster."""


class FreezePatroni(_ProcessFault, FreezeAgent):
    """SIGSTOP Patroni and leave PostgreSQL running."""

    _AGENT = "patroni"


class HangMemberVolume(_ProcessFault, HangVolume):
    """Suspend the writes to a member's loop-mounted file system."""

    def _volume(self) -> DirectoryVolume:
        return DirectoryVolume(self._platform.layout.volume(self._target.name))


class CutOffMember(_ProcessFault, Partition):
    """Drop the packets of a member's machine."""

    def __init__(self, platform: "LocalPlatform", name: str, whom: Cut) -> None:
        super().__init__(platform, name, "primary")
        self.whom = whom

    def _network(self) -> MemberNetwork:
        return self._platform.layout.network(self._target.name)


class FreezeMember(_ProcessFault):
    """SIGSTOP Patroni and PostgreSQL: a member that hangs but is not dead."""

    def __init__(self, platform: "LocalPlatform", name: str, role: str) -> None:
        super().__init__(platform, name, role)
        self._frozen: list[str] = []

    def inject(self) -> str:
        """Stop every process of the member."""
        target = self._choose()
        self._frozen = self._platform.processes(target.name).freeze()
        return target.name

    def verify_injected(self) -> str:
        """Every process that was there is in state T."""
        processes = self._platform.processes(self._target.name).all()
        awake = [f"{identity(p)} is {state(p)}" for p in processes if state(p) != "stopped"]
        if awake or not processes:
            raise FaultNotRealError(f"{self._target.name}: {'; '.join(awake) or 'no process'}")
        return f"{self._target.name}: {len(processes)} processes in state T"

    def heal(self) -> None:
        """Resume the processes."""
        if self._hit is not None:
            self._platform.processes(self._hit.name).thaw()

    def verify_healed(self) -> str:
        """No process of the member is stopped."""
        processes = self._platform.processes(self._target.name)
        eventually(
            f"no process of {self._target.name} is stopped",
            lambda: [identity(p) for p in processes.all() if state(p) == "stopped"],
            lambda stopped: not stopped,
            within=5,
        )
        return f"{self._target.name}: no process in state T"


class FreezeWalSenders(_ProcessFault):
    """SIGSTOP the primary's WAL senders: it works on, and no standby receives anything.

    The standbys drop such a connection after wal_receiver_timeout (5 s) and open a new one.
    """

    def inject(self) -> str:
        """Stop every WAL sender."""
        target = self._choose()
        for sender in self._senders():
            send(sender, signal.SIGSTOP)
        eventually(
            f"every WAL sender of {target.name} is stopped",
            lambda: {state(p) for p in self._senders()},
            lambda seen: seen == {"stopped"},
            within=2,
            every=0.02,
        )
        return target.name

    def verify_injected(self) -> str:
        """There is one WAL sender for each standby, and all are in state T."""
        senders = {identity(p): state(p) for p in self._senders()}
        standbys = len(self._platform.engine.members()) - 1
        if list(senders.values()) != ["stopped"] * standbys:
            raise FaultNotRealError(f"{self._target.name}: WAL senders {senders}")
        return f"{self._target.name}: {standbys} WAL senders in state T"

    def heal(self) -> None:
        """Resume the WAL senders."""
        if self._hit is not None:
            for sender in self._senders():
                send(sender, signal.SIGCONT)

    def verify_healed(self) -> str:
        """No WAL sender is stopped."""
        stopped = [identity(p) for p in self._senders() if state(p) == "stopped"]
        if stopped:
            raise FaultNotRealError(f"{self._target.name}: still stopped: {stopped}")
        return f"{self._target.name}: no WAL sender in state T"

    def _senders(self) -> list[psutil.Process]:
        return self._platform.processes(self._target.name).wal_senders()


class StopConsensus:
    """SIGKILL etcd and keep it away: the lease can be neither taken nor renewed.

    The primary steps down once it has missed etcd for retry_timeout (5 s): no writes until healed.
    """

    name = "operator_away"
    _PROGRAM = "etcd"

    def __init__(self, platform: "LocalPlatform") -> None:
        self._platform = platform
        self._hit = False

    def inject(self) -> str:
        """Stop etcd."""
        self._hit = True
        self._platform.supervisor.stop(self._PROGRAM)
        return self._PROGRAM

    def verify_injected(self) -> str:
        """The program is stopped and its address refuses."""
        state = self._platform.supervisor.states().get(self._PROGRAM)
        health = self._health()
        if state != "STOPPED" or health:
            raise FaultNotRealError(f"etcd is {state} and answers '{health}'")
        return f"etcd is stopped, nothing answers at {self._platform.layout.endpoint('etcd')}"

    def heal(self) -> None:
        """Start it again."""
        if self._hit:
            self._platform.supervisor.start(self._PROGRAM)

    def verify_healed(self) -> str:
        """It has a leader; whether a member holds the lease again is checked by health()."""
        said = eventually(
            "etcd has a leader", self._health, lambda health: '"true"' in health, within=15
        )
        return f"etcd reports {said}"

    def _health(self) -> str:
        try:
            url = f"http://{self._platform.layout.endpoint('etcd')}/health"
            return requests.get(url, timeout=1).text
        except requests.RequestException:
            return ""


class StopProgram:
    """SIGKILL a program of supervisor's and keep it away.

    port: its listening port; strikes: the member or program that loses by it, by name.
    """

    def __init__(
        self,
        platform: "LocalPlatform",
        name: str,
        program: str,
        port: str,
        strikes: Callable[[], str],
    ) -> None:
        self.name = name
        self._platform = platform
        self._program = program
        self._port = port
        self._strikes = strikes
        self._hit = False

    def inject(self) -> str:
        """Stop it."""
        struck = self._strikes()
        self._hit = True
        self._platform.supervisor.stop(self._program)
        return struck

    def verify_injected(self) -> str:
        """The program is stopped and its address refuses.

        Raises:
            FaultNotRealError: not so.
        """
        state = self._platform.supervisor.states().get(self._program)
        if state != "STOPPED" or self._answers():
            raise FaultNotRealError(f"{self._program} is {state}")
        at = self._platform.layout.endpoint(self._port)
        return f"{self._program} is stopped, nothing answers at {at}"

    def heal(self) -> None:
        """Start it again."""
        if self._hit:
            self._platform.supervisor.start(self._program)

    def verify_healed(self) -> str:
        """It answers."""
        eventually(f"{self._program} answers", self._answers, within=STARTED_WITHIN)
        return f"{self._program} answers"

    def _answers(self) -> bool:
        at = self._platform.layout.endpoint(self._port)
        with suppress(OSError), socket.create_connection((at.host, at.port), timeout=1):
            return True
        return False


class PauseFailover:
    """Switch Patroni to maintenance mode, in which there is no failover."""

    name = "failover_off"

    def __init__(self, engine: PatroniEngine) -> None:
        self._engine = engine
        self._hit = False

    def inject(self) -> str:
        """Ask for it."""
        self._hit = True
        self._engine.configure({"pause": True})
        return "failover"

    def verify_injected(self) -> str:
        """Every member has read the setting."""
        eventually("every member paused", lambda: all(self._paused()), within=HEARD_WITHIN)
        return "every member is in maintenance mode"

    def heal(self) -> None:
        """Ask for failover again."""
        if self._hit:
            self._engine.configure({"pause": None})

    def verify_healed(self) -> str:
        """No member is in maintenance mode."""
        eventually("no member paused", lambda: not any(self._paused()), within=HEARD_WITHIN)
        return "no member is in maintenance mode"

    def _paused(self) -> list[bool]:
        names = (member.name for member in self._engine.members())
        return [bool(self._engine.status(name).get("pause")) for name in names]


class RefuseWal(ArchiveUnreachable):
    """Make the archive's directory inaccessible."""

    def __init__(self, platform: "LocalPlatform") -> None:
        super().__init__(platform.cluster)
        self._directory = platform.layout.repository / "archive"

    def _break(self) -> None:
        self._directory.chmod(0)

    def _restore(self) -> None:
        self._directory.chmod(0o750)


class MoveRepository(BackupsMissing):
    """Move what the repository holds aside: pgBackRest finds neither a backup nor its own files."""

    def __init__(self, platform: "LocalPlatform") -> None:
        super().__init__(platform.cluster, platform.archive.labels)
        self._platform = platform

    def _break(self) -> None:
        for directory, aside in self._platform.archive.places():
            directory.rename(aside)

    def _restore(self) -> None:
        self._platform.archive.repair_store()


def local_faults(platform: "LocalPlatform") -> Mapping[str, Fault]:
    """Return every fault by name."""
    faults: list[Fault] = [
        KillMember(platform, "primary_kill", "primary", comes_back=True),
        KillMember(platform, "primary_away", "primary", comes_back=False),
        KillMember(platform, "standby_kill", "standby", comes_back=True),
        KillMember(platform, "standby_away", "standby", comes_back=False),
        KillPostmaster(platform, "postmaster_kill", "primary"),
        KillMemberBackend(platform, "backend_kill", "primary"),
        KillMemberBackend(platform, "standby_backend_kill", "standby"),
        FreezeMemberPostmaster(platform, "postmaster_freeze", "primary"),
        FreezePatroni(platform, "agent_freeze", "primary"),
        HangMemberVolume(platform, "volume_hang", "primary"),
        CutOffMember(platform, "primary_partition", "everybody"),
        CutOffMember(platform, "primary_partition_peers", "peers"),
        CutOffMember(platform, "primary_partition_one_way", "inbound"),
        FreezeMember(platform, "primary_freeze", "primary"),
        FreezeMember(platform, "standby_freeze", "standby"),
        FreezeWalSenders(platform, "standbys_deaf", "primary"),
        StopConsensus(platform),
        StopProgram(
            platform, "proxy_down", "haproxy", "rw", lambda: platform.engine.primary().name
        ),
        StopProgram(platform, "source_away", "pushgateway", "pushgateway", lambda: "pushgateway"),
        PauseFailover(platform.engine),
        TakeConnections(platform.engine, platform.cluster),
        RefuseWal(platform),
        ArchiveFull(platform.cluster, platform.archive.volume),
        MoveRepository(platform),
        Switchover(platform.engine),
    ]
    return {fault.name: fault for fault in faults}
