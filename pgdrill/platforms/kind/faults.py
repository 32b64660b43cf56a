"""Faults that need the nodes: processes killed or frozen, volumes that hang, nodes stopped."""

from collections.abc import Callable, Sequence

from pgdrill.engines.base import Member, PodEngine, switchover_candidates
from pgdrill.faults.base import Fault, FaultNotRealError
from pgdrill.platforms.kind.nodes import NodeVolume, is_running, processes, signal
from pgdrill.platforms.kind.pod_network import PodNetwork
from pgdrill.platforms.kubernetes.faults import SEEN_WITHIN, PodFault
from pgdrill.platforms.member_faults import (
    STOPPED_WITHIN,
    FreezeAgent,
    FreezePostmaster,
    HangVolume,
    KillBackend,
    Process,
    ProcessFault,
)
from pgdrill.platforms.partition import Cut, Partition
from pgdrill.provision.commands import output
from pgdrill.waiting import eventually


class _NodeFault(PodFault, ProcessFault):
    """Hits the processes of one pod, in its node."""

    def __init__(self, engine: PodEngine, name: str, role: str) -> None:
        super().__init__(engine, name, role)
        self._node = ""

    def _choose(self) -> Member:
        target = super()._choose()
        self._node = self._engine.pods()[target.name].node
        return target

    def _all(self) -> list[Process]:
        return processes(self._node, self._uid)

    def _signal(self, name: str, pids: Sequence[int]) -> None:
        signal(self._node, name, list(pids))


class KillPostgres(_NodeFault):
    """SIGKILL the postmaster in its container; the instance manager survives and must notice."""

    def __init__(self, engine: PodEngine, name: str, role: str) -> None:
        super().__init__(engine, name, role)
        self._killed: Process | None = None

    def inject(self) -> str:
        """Kill the one process that accepts connections."""
        target = self._choose()
        self._killed = self._postmaster()
        signal(self._node, "KILL", [self._killed.pid])
        return target.name

    def _postmaster(self) -> Process:
        """Return the oldest postgres process of the pod: backends are younger."""
        found = [p for p in processes(self._node, self._uid) if p.command == "postgres"]
        if not found:
            raise FaultNotRealError(f"no postgres runs in {self._target.name} on {self._node}")
        return min(found, key=lambda p: p.pid)

    def verify_injected(self) -> str:
        """That process is not there any more."""
        killed = self._killed
        if killed is None:
            raise FaultNotRealError(f"{self.name} was not injected")
        eventually(
            f"pid {killed.pid} on {self._node} is gone",
            lambda: killed.pid not in [p.pid for p in processes(self._node, self._uid)],
            within=5,
            every=0.1,
        )
        return (
            f"{self._target.name}: postmaster {killed.pid} of pod {self._uid}"
            f" on {self._node} was killed"
        )

    def verify_healed(self) -> str:
        """The old postmaster has no process left."""
        return self.verify_injected()


class KillPodBackend(_NodeFault, KillBackend):
    """SIGKILL one client's backend in its pod."""


class FreezePodPostmaster(_NodeFault, FreezePostmaster):
    """SIGSTOP the postmaster in its pod."""


class FreezeInstanceManager(_NodeFault, FreezeAgent):
    """SIGSTOP the instance manager, which answers the probes, and leave PostgreSQL running."""

    _AGENT = "manager"


class HangPodVolume(_NodeFault, HangVolume):
    """Suspend the writes to a pod's volume, on its node.

    volume returns that of a member.
    """

    def __init__(
        self, engine: PodEngine, name: str, role: str, volume: Callable[[str], NodeVolume]
    ) -> None:
        super().__init__(engine, name, role)
        self._volume_of = volume

    def _volume(self) -> NodeVolume:
        return self._volume_of(self._target.name)


class CutOffPod(_NodeFault, Partition):
    """Drop the packets of a pod on its node.

    deciders returns the addresses of those who decide which member is primary.
    """

    def __init__(
        self, engine: PodEngine, name: str, whom: Cut, deciders: Callable[[], Sequence[str]]
    ) -> None:
        super().__init__(engine, name, "primary")
        self.whom = whom
        self._deciders = deciders

    def _network(self) -> PodNetwork:
        addresses = {name: pod.address for name, pod in self._engine.pods().items()}
        own = addresses.pop(self._target.name)
        return PodNetwork(self._node, own, [*addresses.values(), *self._deciders()])


class FreezePod(_NodeFault):
    """SIGSTOP every process of a pod: a member that hangs but is not dead."""

    def inject(self) -> str:
        """Stop the instance manager and PostgreSQL, and what they fork until they have stopped."""
        target = self._choose()
        eventually(
            f"{target.name} stopped",
            self._stop_running,
            lambda awake: not awake,
            within=STOPPED_WITHIN,
            every=0,
        )
        return target.name

    def _stop_running(self) -> list[Process]:
        """Stop every process that runs; return those that did. The dead (Z) wait for a parent."""
        awake = [p for p in processes(self._node, self._uid) if p.state not in "TZ"]
        signal(self._node, "STOP", [p.pid for p in awake])
        return awake

    def verify_injected(self) -> str:
        """Every process that was there is in state T."""
        found = [p for p in processes(self._node, self._uid) if p.state != "Z"]
        awake = [f"{p.command} {p.pid} is {p.state}" for p in found if p.state != "T"]
        if awake or not found:
            raise FaultNotRealError(f"{self._target.name}: {'; '.join(awake) or 'no process'}")
        return f"{self._target.name}: {len(found)} processes of pod {self._uid} in state T"

    def heal(self) -> None:
        """Resume the remaining processes; kill them where another primary has taken over.

        An old primary that resumes beside its successor streams its shutdown to whichever standby
        was waiting for it. That standby is then ahead of the new timeline, and CloudNativePG
        rewinds old primaries only: it never streams again. kubelet would kill the container too, at
        the end of its liveness probe.
        """
        if self._hit is not None:
            named = self._engine.named()
            replaced = self._role == "primary" and named not in ("", self._hit.name)
            found = processes(self._node, self._uid)
            stopped = [p.pid for p in found if p.state == "T"]
            signal(self._node, "KILL" if replaced else "CONT", stopped)

    def verify_healed(self) -> str:
        """No process of the pod is stopped."""
        left = [p for p in processes(self._node, self._uid) if p.state == "T"]
        if left:
            raise FaultNotRealError(f"{self._target.name}: still stopped: {left}")
        return f"{self._target.name}: no process in state T"


class Fence(_NodeFault):
    """Keep a member's PostgreSQL stopped while its pod runs: a member that stays away."""

    def inject(self) -> str:
        """Fence it, and wait until its PostgreSQL is gone."""
        target = self._choose()
        self._engine.fence(target.name)
        eventually(f"no postgres in {target.name}", self._silent, within=SEEN_WITHIN, every=0.1)
        return target.name

    def _silent(self) -> bool:
        return not [p for p in processes(self._node, self._uid) if p.command == "postgres"]

    def verify_injected(self) -> str:
        """No postgres process is left in the pod."""
        if not self._silent():
            raise FaultNotRealError(f"postgres runs in {self._target.name} on {self._node}")
        return f"{self._target.name}: fenced, no postgres in pod {self._uid}"

    def heal(self) -> None:
        """Let it run again; whether it streams is checked by health()."""
        if self._hit is not None:
            self._engine.fence()

    def verify_healed(self) -> str:
        """It is asked to run."""
        return f"{self._target.name}: no longer fenced"


class StopNode(_NodeFault):
    """Kill the container that is a worker node, with everything on it."""

    def inject(self) -> str:
        """Stop the node of the member; never the control plane, which would stop the view too.

        Raises:
            FaultNotRealError: the member is there.
        """
        target = self._choose()
        if "control-plane" in self._node:
            self._hit = None
            raise FaultNotRealError(f"{target.name} is on {self._node}, where all is watched from")
        output("docker", "kill", self._node)
        return target.name

    def place(self) -> None:
        """Move the primary to a worker, where it is on the control plane.

        The caller then waits for full redundancy. A node that is stopped in the middle of a
        switchover is two faults: both instances were promoted to the same timeline, the operator
        saw nothing to rewind, and at the next fault preferred the one without the writes.

        Raises:
            FaultNotRealError: there is no standby on a worker to move it to.
        """
        pods = self._engine.pods()
        nodes = {name: pod.node for name, pod in pods.items()}
        primary = self._engine.primary().name
        if self._role == "primary" and "control-plane" in nodes[primary]:
            ready = [
                n
                for n in switchover_candidates(self._engine.members())
                if "control-plane" not in nodes[n]
            ]
            if not ready:
                raise FaultNotRealError(
                    f"{primary} cannot leave the control plane: no worker has a synchronous standby"
                )
            self._engine.switchover(ready[0])
            eventually(
                "the primary on a worker",
                lambda: self._engine.primary().name,
                lambda name: name != primary,
                within=60,
                not_yet=(Exception,),
            )

    def verify_injected(self) -> str:
        """The node's container does not run."""
        target = self._target
        if is_running(self._node):
            raise FaultNotRealError(f"the node {self._node} still runs")
        return f"{target.name}: node {self._node} of pod {self._uid} does not run"

    def heal(self) -> None:
        """Start the node again."""
        if self._hit is not None and not is_running(self._node):
            output("docker", "start", self._node)

    def verify_healed(self) -> str:
        """The node runs; whether it is ready is checked by health()."""
        if not is_running(self._node):
            raise FaultNotRealError(f"the node {self._node} does not run")
        return f"the node {self._node} runs"


def node_faults(
    engine: PodEngine, volume: Callable[[str], NodeVolume], deciders: Callable[[], Sequence[str]]
) -> tuple[Fault, ...]:
    """Return the faults of one cluster that need its nodes.

    volume returns that of a member; deciders the addresses of API server and operator.
    """
    return (
        KillPostgres(engine, "postmaster_kill", "primary"),
        KillPodBackend(engine, "backend_kill", "primary"),
        FreezePodPostmaster(engine, "postmaster_freeze", "primary"),
        FreezeInstanceManager(engine, "agent_freeze", "primary"),
        HangPodVolume(engine, "volume_hang", "primary", volume),
        FreezePod(engine, "primary_freeze", "primary"),
        FreezePod(engine, "standby_freeze", "standby"),
        Fence(engine, "standby_away", "standby"),
        StopNode(engine, "primary_away", "primary"),
        CutOffPod(engine, "primary_partition", "everybody", deciders),
        CutOffPod(engine, "primary_partition_peers", "peers", deciders),
        CutOffPod(engine, "primary_partition_one_way", "inbound", deciders),
    )
