"""Faults of pods that need their nodes: processes killed or frozen, volumes that hang."""

from collections.abc import Callable, Sequence

from pgdrill.engines.base import Member, PodEngine
from pgdrill.faults.base import Fault
from pgdrill.platforms.kubernetes.faults import PodFault
from pgdrill.platforms.kubernetes.nodes import Node, processes, signal
from pgdrill.platforms.kubernetes.pod_network import PodNetwork
from pgdrill.platforms.member_faults import (
    FreezeAgent,
    FreezeMember,
    FreezePostmaster,
    HangVolume,
    KillBackend,
    KillPostmaster,
    Process,
    ProcessFault,
)
from pgdrill.platforms.partition import Cut, Partition
from pgdrill.platforms.volume_hang import Hangable

NodeNamed = Callable[[str], Node]


class NodeFault(PodFault, ProcessFault):
    """Hits the processes of one pod, in its node."""

    def __init__(self, engine: PodEngine, name: str, role: str, node: NodeNamed) -> None:
        super().__init__(engine, name, role)
        self._node_named = node

    def _choose(self) -> Member:
        target = super()._choose()
        self._node = self._node_named(self._engine.pods()[target.name].node)
        return target

    def _all(self) -> list[Process]:
        return processes(self._node, self._uid)

    def _signal(self, name: str, pids: Sequence[int]) -> None:
        signal(self._node, name, pids)


class KillPostgres(NodeFault, KillPostmaster):
    """SIGKILL the postmaster in its container; the instance manager survives and must notice."""


class KillPodBackend(NodeFault, KillBackend):
    """SIGKILL one client's backend in its pod."""


class FreezePodPostmaster(NodeFault, FreezePostmaster):
    """SIGSTOP the postmaster in its pod."""


class FreezeInstanceManager(NodeFault, FreezeAgent):
    """SIGSTOP the instance manager, which answers the probes, and leave PostgreSQL running."""

    _AGENT = "manager"


class HangPodVolume(NodeFault, HangVolume):
    """Suspend the writes to a pod's volume, on its node.

    volume returns that of a member.
    """

    def __init__(
        self,
        engine: PodEngine,
        name: str,
        role: str,
        node: NodeNamed,
        volume: Callable[[str], Hangable],
    ) -> None:
        super().__init__(engine, name, role, node)
        self._volume_of = volume

    def _volume(self) -> Hangable:
        return self._volume_of(self._target.name)


class CutOffPod(NodeFault, Partition):
    """Drop the packets of a pod on its node.

    deciders returns the addresses of those who decide which member is primary.
    """

    def __init__(
        self,
        engine: PodEngine,
        name: str,
        node: NodeNamed,
        whom: Cut,
        deciders: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        super().__init__(engine, name, "primary", node)
        self.whom = whom
        self._deciders = deciders

    def _network(self) -> PodNetwork:
        addresses = {name: pod.address for name, pod in self._engine.pods().items()}
        own = addresses.pop(self._target.name)
        return PodNetwork(self._node, own, [*addresses.values(), *self._deciders()])


class FreezePod(NodeFault, FreezeMember):
    """SIGSTOP every process of a pod: its instance manager and PostgreSQL."""

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
            self._signal("KILL" if replaced else "CONT", self._stopped())


def node_faults(
    engine: PodEngine,
    node: NodeNamed,
    volume: Callable[[str], Hangable],
    deciders: Callable[[], Sequence[str]] | None = None,
) -> tuple[Fault, ...]:
    """Return the faults of one cluster that need its nodes and leave them running.

    volume returns that of a member; deciders the addresses of API server and operator: without them
    a member cannot be cut off from its peers alone.
    """
    apart = (
        (CutOffPod(engine, "primary_partition_peers", node, "peers", deciders),) if deciders else ()
    )
    return (
        KillPostgres(engine, "postmaster_kill", "primary", node),
        KillPodBackend(engine, "backend_kill", "primary", node),
        FreezePodPostmaster(engine, "postmaster_freeze", "primary", node),
        FreezeInstanceManager(engine, "agent_freeze", "primary", node),
        HangPodVolume(engine, "volume_hang", "primary", node, volume),
        FreezePod(engine, "primary_freeze", "primary", node),
        FreezePod(engine, "standby_freeze", "standby", node),
        CutOffPod(engine, "primary_partition", node, "everybody"),
        CutOffPod(engine, "primary_partition_one_way", node, "inbound"),
        *apart,
    )
