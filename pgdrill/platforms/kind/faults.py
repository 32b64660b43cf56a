"""Faults that only a cluster of our own gets: a member that stays away, a node that is stopped."""

from pgdrill.engines.base import switchover_candidates
from pgdrill.faults.base import FaultNotRealError
from pgdrill.platforms.kind.nodes import is_running
from pgdrill.platforms.kubernetes.faults import SEEN_WITHIN
from pgdrill.platforms.kubernetes.node_faults import NodeFault
from pgdrill.platforms.kubernetes.nodes import processes
from pgdrill.provision.commands import output
from pgdrill.waiting import eventually


class Fence(NodeFault):
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
            raise FaultNotRealError(f"postgres runs in {self._target.name} on {self._node.name}")
        return f"{self._target.name}: fenced, no postgres in pod {self._uid}"

    def heal(self) -> None:
        """Let it run again; whether it streams is checked by health()."""
        if self._hit is not None:
            self._engine.fence()

    def verify_healed(self) -> str:
        """It is asked to run."""
        return f"{self._target.name}: no longer fenced"


class StopNode(NodeFault):
    """Kill the container that is a worker node, with everything on it."""

    def inject(self) -> str:
        """Stop the node of the member; never the control plane, which would stop the view too.

        Raises:
            FaultNotRealError: the member is there.
        """
        target = self._choose()
        if "control-plane" in self._node.name:
            self._hit = None
            raise FaultNotRealError(
                f"{target.name} is on {self._node.name}, where all is watched from"
            )
        output("docker", "kill", self._node.name)
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
        if is_running(self._node.name):
            raise FaultNotRealError(f"the node {self._node.name} still runs")
        return f"{target.name}: node {self._node.name} of pod {self._uid} does not run"

    def heal(self) -> None:
        """Start the node again."""
        if self._hit is not None and not is_running(self._node.name):
            output("docker", "start", self._node.name)

    def verify_healed(self) -> str:
        """The node runs; whether it is ready is checked by health()."""
        if not is_running(self._node.name):
            raise FaultNotRealError(f"the node {self._node.name} does not run")
        return f"the node {self._node.name} runs"
